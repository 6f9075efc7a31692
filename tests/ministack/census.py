"""What an account holds, by kind: for suites that show that nothing is left."""

import os

# Kind, service, call, the list in its answer, and what names one of it.
KINDS = [
    ("alarm", "cloudwatch", "describe_alarms", "MetricAlarms", "AlarmName"),
    ("api", "apigatewayv2", "get_apis", "Items", "ApiId"),
    ("bucket", "s3", "list_buckets", "Buckets", "Name"),
    ("cluster", "ecs", "list_clusters", "clusterArns", None),
    ("event source", "lambda", "list_event_source_mappings", "EventSourceMappings", "UUID"),
    ("function", "lambda", "list_functions", "Functions", "FunctionName"),
    ("gateway", "ec2", "describe_internet_gateways", "InternetGateways", "InternetGatewayId"),
    ("key alias", "kms", "list_aliases", "Aliases", "AliasName"),
    ("load balancer", "elbv2", "describe_load_balancers", "LoadBalancers", "LoadBalancerName"),
    ("log group", "logs", "describe_log_groups", "logGroups", "logGroupName"),
    ("network", "ec2", "describe_vpcs", "Vpcs", "VpcId"),
    ("network endpoint", "ec2", "describe_vpc_endpoints", "VpcEndpoints", "VpcEndpointId"),
    ("queue", "sqs", "list_queues", "QueueUrls", None),
    ("role", "iam", "list_roles", "Roles", "RoleName"),
    ("route table", "ec2", "describe_route_tables", "RouteTables", "RouteTableId"),
    ("schedule", "scheduler", "list_schedules", "Schedules", "Name"),
    ("security group", "ec2", "describe_security_groups", "SecurityGroups", "GroupId"),
    ("subnet", "ec2", "describe_subnets", "Subnets", "SubnetId"),
    ("table", "dynamodb", "list_tables", "TableNames", None),
    ("target group", "elbv2", "describe_target_groups", "TargetGroups", "TargetGroupName"),
    ("task definition", "ecs", "list_task_definitions", "taskDefinitionArns", None),
]


def take(account, region):
    """Every thing of every kind, as `kind name`. A key that only waits for its deletion counts as gone, as it cannot be used."""
    import botocore.session

    session = botocore.session.get_session()

    def client(service):
        return session.create_client(
            service, region_name=region, endpoint_url=f"http://{os.environ['BIND_HOST']}:{os.environ['GATEWAY_PORT']}",
            aws_access_key_id=account, aws_secret_access_key="test")

    found = []
    for kind, service, call, listed, name in KINDS:
        answer = getattr(client(service), call)()
        found += [f"{kind} {one[name] if name else one}" for one in answer.get(listed) or []]
    ecs, kms = client("ecs"), client("kms")
    for cluster in ecs.list_clusters()["clusterArns"]:
        found += [f"service {one}" for one in ecs.list_services(cluster=cluster)["serviceArns"]]
    for key in kms.list_keys()["Keys"]:
        if kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]["KeyState"] != "PendingDeletion":
            found.append(f"key {key['KeyId']}")
    return {"found": sorted(found)}


def logs(account, region):
    """What every log group of functions says, oldest first."""
    import botocore.session

    client = botocore.session.get_session().create_client(
        "logs", region_name=region, endpoint_url=f"http://{os.environ['BIND_HOST']}:{os.environ['GATEWAY_PORT']}",
        aws_access_key_id=account, aws_secret_access_key="test")
    said = {}
    for group in client.describe_log_groups(logGroupNamePrefix="/aws/lambda/")["logGroups"]:
        events = client.filter_log_events(logGroupName=group["logGroupName"], limit=10000)["events"]
        said[group["logGroupName"]] = "\n".join(event["message"].rstrip("\n") for event in events)
    return said
