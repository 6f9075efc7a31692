"""MiniStack on one local port, with what it lacks of AWS and a record of every call.

Started by `tests/src/ministack.rs`, which gives the port in GATEWAY_PORT and keeps a pipe on standard input: when that ends,
so does this process. KIVEN_WIRE names the file of the record.
"""

import asyncio
import json
import os
import sys
import threading

os.environ.setdefault("AUTH", "true")
os.environ.setdefault("BIND_HOST", "127.0.0.1")
os.environ.setdefault("IOT_MTLS_ENABLED", "0")
os.environ.setdefault("SFTP_ENABLED", "0")
os.environ.setdefault("LOG_LEVEL", "WARNING")

import ministack.app as emulator  # noqa: E402

import census  # noqa: E402
import corrections  # noqa: E402
import faults  # noqa: E402
import node_groups  # noqa: E402
import permissions  # noqa: E402
import wire  # noqa: E402

# The paths of the tests' own switches; no AWS service has them.
ADMIN = "/_kiven/"


# Policies see the suites' plain connections as TLS, as AWS' own endpoints would have them; `transport` shows what happens without.
secure = True


def transport_set(tls):
    """Whether calls count as made over TLS."""
    global secure
    secure = tls


def end_with_parent():
    """Ends this process as soon as the pipe from the test that started it is closed."""
    while sys.stdin.buffer.read(4096):
        pass
    os._exit(0)


async def body_of(receive):
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


def client(service, region, access_key_id, secret="test", token=None):
    import botocore.session

    return botocore.session.get_session().create_client(
        service, region_name=region, endpoint_url=f"http://{os.environ['BIND_HOST']}:{os.environ['GATEWAY_PORT']}",
        aws_access_key_id=access_key_id, aws_secret_access_key=secret, aws_session_token=token)


def assume(id, secret, token, role, external_id, tags):
    """A session of a role with tags and without a session policy."""
    given = client("sts", "eu-west-1", id, secret, token).assume_role(
        RoleArn=role, ExternalId=external_id, RoleSessionName="suite", Tags=[{"Key": key, "Value": value} for key, value in tags.items()])
    return {name: given["Credentials"][name] for name in ("AccessKeyId", "SecretAccessKey", "SessionToken")}


def customer_make(account, region, zones, cluster):
    """What a customer has before Kiven: a network with a subnet in each zone, an EKS cluster, and a launch template."""
    ec2, iam, eks = (client(service, region, account) for service in ("ec2", "iam", "eks"))
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = {}
    for number, zone in enumerate(zones):
        made = ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{number}.0/24", AvailabilityZone=zone)
        subnets[zone] = made["Subnet"]["SubnetId"]
    template = ec2.create_launch_template(LaunchTemplateName=f"kiven-nodes-{vpc}", LaunchTemplateData={"EbsOptimized": True})
    trust = {"Effect": "Allow", "Principal": {"Service": "eks.amazonaws.com"}, "Action": "sts:AssumeRole"}
    role = iam.create_role(RoleName=f"cluster-{cluster}",
                           AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]}))["Role"]["Arn"]
    if not any(one["Path"] == permissions.NODEGROUP_ROLE_PATH for one in iam.list_roles()["Roles"]):
        iam.create_service_linked_role(AWSServiceName="eks-nodegroup.amazonaws.com")
    made = eks.create_cluster(name=cluster, roleArn=role, version="1.34", resourcesVpcConfig={"subnetIds": list(subnets.values())})
    return {"vpc": vpc, "subnets": subnets, "launch_template": template["LaunchTemplate"]["LaunchTemplateId"],
            "issuer": made["cluster"]["identity"]["oidc"]["issuer"]}


def issuer_set(account, region, cluster, issuer):
    """Lets a cluster's tokens be issued by the one that plays its API server."""
    from ministack.core.responses import set_request_account_id, set_request_region
    from ministack.services import eks

    set_request_account_id(account)
    set_request_region(region)
    eks._clusters[cluster]["identity"]["oidc"]["issuer"] = issuer


def function_make(account, region, name, code):
    """A function in Python whose `handle` answers."""
    import io
    import zipfile

    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("index.py", code)
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    role = client("iam", region, account).create_role(
        RoleName=f"function-{name}", AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]}))["Role"]["Arn"]
    client("lambda", region, account).create_function(
        FunctionName=name, Runtime="python3.12", Role=role, Handler="index.handle", Code={"ZipFile": packed.getvalue()})


def encrypted_template_make(account, region, granted):
    """A launch template whose root volumes have a key of the customer's, and the key with or without Auto Scaling's grant."""
    kms, ec2 = client("kms", region, account), client("ec2", region, account)
    key = kms.create_key()["KeyMetadata"]["Arn"]
    if granted:
        rule = next(one for one in permissions.TABLE["grants"] if one["on"] == "eks:CreateNodegroup")
        grantee = rule["grantee"].replace("{account}", account)
        kms.create_grant(KeyId=key, GranteePrincipal=grantee, Operations=["CreateGrant", "Decrypt", "GenerateDataKeyWithoutPlaintext"])
    root = {"DeviceName": "/dev/xvda", "Ebs": {"Encrypted": True, "KmsKeyId": key}}
    made = ec2.create_launch_template(LaunchTemplateName=f"kiven-encrypted-{granted}", LaunchTemplateData={"BlockDeviceMappings": [root]})
    return {"launch_template": made["LaunchTemplate"]["LaunchTemplateId"]}


async def administer(path, data):
    """One switch; answers what it says, or None for an unknown one."""
    switches = {
        "faults": faults.add,
        "faults/clear": faults.clear,
        "census": census.take,
        "customer": customer_make,
        "issuer": issuer_set,
        "assume": assume,
        "function": function_make,
        "encrypted-template": encrypted_template_make,
        "transport": transport_set,
        "looks": node_groups.looks_set,
        "capacity": node_groups.capacity_set,
        "drift": node_groups.drift,
        "upgrade": node_groups.upgrade,
        "template-version": node_groups.template_version_add,
        "updates-fail": node_groups.updates_fail,
        "release": node_groups.release_set,
        "label": wire.label_set,
        "logs": census.logs,
        "wire": wire.since,
    }
    switch = switches.get(path.removeprefix(ADMIN))
    if switch is None:
        return None
    # A switch may call this very server.
    return await asyncio.to_thread(switch, **data) or {}


async def app(scope, receive, send):
    if scope["type"] != "http" or not scope["path"].startswith(ADMIN):
        if scope["type"] == "http":
            send = wire.watch(send)
        await emulator.app(scope, receive, send)
        return
    try:
        answer = await administer(scope["path"], json.loads(await body_of(receive) or b"{}"))
        status = 404 if answer is None else 200
    except Exception as error:  # whatever it is, the test is to say it
        status, answer = 400, {"error": repr(error)}
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": json.dumps(answer).encode()})


def main():
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    pin_origin = emulator.pin_request_origin
    emulator.pin_request_origin = lambda address, _: pin_origin(address, secure)
    threading.Thread(target=end_with_parent, daemon=True).start()
    wire.install(os.environ.get("KIVEN_WIRE"))
    permissions.install()
    corrections.install()
    node_groups.install()
    faults.install()
    # Where functions find AWS, which is here.
    os.environ["AWS_ENDPOINT_URL"] = f"http://{os.environ['BIND_HOST']}:{os.environ['GATEWAY_PORT']}"
    config = Config()
    config.bind = [f"{os.environ['BIND_HOST']}:{os.environ['GATEWAY_PORT']}"]
    config.keep_alive_timeout = 75
    config.loglevel = os.environ["LOG_LEVEL"]
    asyncio.run(serve(app, config))


if __name__ == "__main__":
    main()
