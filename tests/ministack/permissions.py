"""Permissions that AWS demands and the emulation does not, from the table in permissions.json.

Three things are added to the emulation's own check: the resource that AWS checks an action on, condition keys that it fills from
the request, and further permissions that a call needs.
"""

import json
import pathlib
import re
import urllib.parse

from ministack.core import iam_actions, iam_evaluator
from ministack.core.responses import get_account_id, get_region
from ministack.core.router import extract_access_key_id
import ministack.app as emulator

import wire

# The role of EKS itself, which the first node group of an account needs; the emulation names it otherwise than AWS.
NODEGROUP_ROLE = "AWSServiceRoleForAmazonEKSNodegroup"
NODEGROUP_ROLE_PATH = "/aws-service-role/eks-nodegroup.amazonaws.com/"
TABLE = json.loads(pathlib.Path(__file__).with_name("permissions.json").read_text(encoding="utf-8"))


def install():
    from ministack.services import iam

    iam._IAM_HANDLERS["SimulatePrincipalPolicy"] = simulate
    name_service_linked_role(iam)
    keep_key_of_template()
    enforce = iam_evaluator.enforce

    def enforced(access_key_id, iam_action, service, region, resource_arn="*", service_context=None):
        call = wire.current.get() or {}
        # A name that an ARN already says is what the emulation's own callers give.
        resource = resource_of(iam_action, call, region) or resource_arn
        context = {**(service_context or {}), **context_of(iam_action, call), **tags_of(resource)}
        denied = enforce(access_key_id, iam_action, service, region, resource_arn=resource, service_context=context)
        denied = denied or denied_by_key(access_key_id, iam_action, region, resource)
        wire.decided(iam_action, wire.principal_of(access_key_id), resource, denied is None)
        return denied

    iam_evaluator.enforce = enforced
    for service in {one["on"].partition(":")[0] for one in TABLE["dependents"]}:
        emulator.SERVICE_HANDLERS[service] = guarded(service, emulator.SERVICE_HANDLERS[service])


def denied_by_key(access_key_id, iam_action, region, resource):
    """A key's policy binds its account's root as it binds everybody; the emulation lets root do everything.

    https://docs.aws.amazon.com/kms/latest/developerguide/key-policies.html
    """
    found = iam_evaluator._resource_policy("kms", resource)
    if found is None or not iam_evaluator.is_root_access_key(access_key_id):
        return None
    root, account = f"arn:aws:iam::{get_account_id()}:root", get_account_id()
    asked = iam_evaluator.EvalContext(
        principal_arn=root, principal_type="Root", principal_account=account, action=iam_action, resource_arn=resource, region=region,
        service_context={})
    decided = iam_evaluator.combine_resource_policy(
        iam_evaluator.EvalResult("Allow", principal_arn=root), asked, *found, required=True)
    decided.principal_arn = root
    return None if decided.decision == "Allow" else decided


def name_service_linked_role(iam):
    """EKS' own role under the name that AWS gives it."""
    create = iam._IAM_HANDLERS["CreateServiceLinkedRole"]

    def named(params):
        answer = create(params)
        for name, role in list(iam._roles.items()):
            if role.get("Path") == NODEGROUP_ROLE_PATH and name != NODEGROUP_ROLE:
                role.update(RoleName=NODEGROUP_ROLE, Arn=f"arn:aws:iam::{get_account_id()}:role{NODEGROUP_ROLE_PATH}{NODEGROUP_ROLE}")
                iam._roles[NODEGROUP_ROLE] = role
                del iam._roles[name]
                answer = (answer[0], answer[1], answer[2].replace(name.encode(), NODEGROUP_ROLE.encode()))
        return answer

    iam._IAM_HANDLERS["CreateServiceLinkedRole"] = named


def simulate(params):
    """SimulatePrincipalPolicy with the request's condition keys and the role's boundary, which the emulation leaves out."""
    from ministack.services import iam

    first = {name: value[0] if isinstance(value, list) else value for name, value in params.items()}
    role = first["PolicySourceArn"].rpartition("/")[2]
    account = get_account_id()
    if iam._roles.get(role) is None:
        return iam._error(404, "NoSuchEntity", f"The role with name {role} cannot be found.", ns="iam")
    context, number = {}, 1
    while f"ContextEntries.member.{number}.ContextKeyName" in first:
        entry = f"ContextEntries.member.{number}."
        context[first[f"{entry}ContextKeyName"].lower()] = first[f"{entry}ContextKeyValues.member.1"]
        number += 1
    members = ""
    for number in range(1, 1 + sum(1 for name in first if name.startswith("ActionNames.member."))):
        action = first[f"ActionNames.member.{number}"]
        asked = iam_evaluator.EvalContext(
            principal_arn=first["PolicySourceArn"], principal_type="AssumedRole", principal_account=account, action=action,
            resource_arn=first.get("ResourceArns.member.1", "*"), region=get_region(), service_context=context)
        limits = iam_evaluator._permissions_boundary(iam._roles, role, account)
        decision = iam_evaluator.evaluate(asked, iam_evaluator._gather_role_policies(role, account), *limits).decision
        word = {"Allow": "allowed", "Deny": "explicitDeny"}.get(decision, "implicitDeny")
        members += (f"<member><EvalActionName>{action}</EvalActionName><EvalResourceName>{asked.resource_arn}</EvalResourceName>"
                    f"<EvalDecision>{word}</EvalDecision><MatchedStatements/><MissingContextValues/></member>")
    return iam._xml(200, "SimulatePrincipalPolicyResponse", "<SimulatePrincipalPolicyResult><EvaluationResults>" + members +
                    "</EvaluationResults><IsTruncated>false</IsTruncated></SimulatePrincipalPolicyResult>", ns="iam")


def tags_of(resource):
    """The tags of node groups and roles as condition keys."""
    from ministack.services import eks, iam

    if ":nodegroup/" in resource:
        group = next((one for one in eks._nodegroups.values() if one["nodegroupArn"] == resource), None)
        tags = dict((group or {}).get("tags") or {})
    elif ":iam:" in resource and ":role/" in resource:
        role = iam._roles.get(resource.rpartition("/")[2])
        tags = {tag["Key"]: tag["Value"] for tag in (role or {}).get("Tags") or []}
    else:
        tags = {}
    return {f"aws:ResourceTag/{name}": value for name, value in tags.items()}


def fields(call, region=None):
    """What a template of the table may name."""
    values = {"region": region or get_region(), "account": get_account_id()}
    for name, value in (call.get("query") or {}).items():
        values[name] = value[0] if isinstance(value, list) and value else value
    parts = [urllib.parse.unquote(part) for part in call.get("path", "").split("/") if part]
    if call.get("service") == "eks" and len(parts) > 1:
        values["cluster"] = parts[1]
        if len(parts) > 3 and parts[2] == "node-groups":
            values["nodegroup"] = parts[3]
    if call.get("service") == "s3" and parts:
        values["bucket"] = parts[0]
    body = call.get("body") or b""
    if body[:1] == b"{":
        data = json.loads(body)
        values.update({key: value for key, value in data.items() if isinstance(value, str)})
        template = data.get("launchTemplate") or {}
        if template:
            values["launch_template"] = template_id(template)
        if isinstance(data.get("subnets"), list) and data["subnets"]:
            values["subnet"] = data["subnets"][0]
        values["has_tags"] = "yes" if data.get("tags") else ""
    elif b"<Tag>" in body:
        values["has_tags"] = "yes"
    if "cluster" in values:
        values["nodegroup"] = values.get("nodegroup") or values.get("nodegroupName", "")
        values["group_id"] = group_id(values["cluster"], values["nodegroup"])
    if any(name.startswith("Tags.member.1") for name in values):
        values["has_tags"] = "yes"
    if values.get("Url"):
        values["issuer"] = values["Url"].partition("://")[2] or values["Url"]
    if call.get("action") == "eks:CreateNodegroup" and not has_role(NODEGROUP_ROLE_PATH):
        values["no_nodegroup_role"] = "yes"
    if call.get("service") == "iam":
        values["role_arn"] = role_arn(values.get("RoleName", ""))
        source = values.get("PolicySourceArn")
        values["principal"] = source or ""
    values["boundary"] = values.get("PermissionsBoundary") or boundary_of(values.get("RoleName", ""))
    return values


def has_role(path):
    from ministack.services import iam

    return any(role.get("Path") == path for role in iam._roles.values())


def role_arn(name):
    from ministack.services import iam

    role = iam._roles.get(name) if name else None
    return role["Arn"] if role else f"arn:aws:iam::{get_account_id()}:role/{name}"


def group_id(cluster, name):
    from ministack.services import eks

    group = eks._nodegroups.get(f"{cluster}/{name}")
    return group["nodegroupArn"].rpartition("/")[2] if group else "*"


def keep_key_of_template():
    """Launch templates with the key of their root volumes, which the emulation forgets."""
    from ministack.services import ec2

    parse = ec2._parse_lt_data

    def parsed(params, *prefix):
        data = parse(params, *prefix)
        for name, value in params.items():
            if name.endswith(".Ebs.KmsKeyId"):
                data["KmsKeyId"] = value[0] if isinstance(value, list) else value
        return data

    ec2._parse_lt_data = parsed


def keyless(group):
    """Why a group's nodes cannot start: Auto Scaling has no grant for the key of their root volumes."""
    from ministack.services import ec2, kms

    template = ec2._launch_templates.get(template_id(group.get("launchTemplate") or {})) or {}
    key = re.search(r'"KmsKeyId": "([^"]+)"', json.dumps(template))
    rule = next(one for one in TABLE["grants"] if one["on"] == "eks:CreateNodegroup")
    if key is None or group["scalingConfig"]["desiredSize"] == 0:
        return None
    grantee = filled(rule["grantee"], {"account": get_account_id()})
    granted = any(grant["GranteePrincipal"] == grantee and grant["KeyId"].endswith(key.group(1).rpartition("/")[2])
                  for grant in kms._grants.values() if rule["action"].partition(":")[2] in grant["Operations"])
    return None if granted else "Instance became unhealthy while waiting for instance to be in InService state. Client.InvalidKMSKey.InvalidState"


def template_id(template):
    if template.get("id"):
        return template["id"]
    from ministack.services import ec2

    named = [key for key, one in ec2._launch_templates.items() if one.get("LaunchTemplateName") == template.get("name")]
    return named[0] if named else ""


def boundary_of(role):
    if not role:
        return ""
    from ministack.services import iam

    return (iam._roles.get(role) or {}).get("PermissionsBoundary") or ""


def filled(template, values):
    """A template with its names replaced; None when one is missing."""
    try:
        return template.format_map(values)
    except KeyError:
        return None


def resource_of(action, call, region):
    for rule in TABLE["resources"]:
        if action in rule["actions"] and action == call.get("action"):
            return filled(rule["resource"], fields(call, region))
    return None


def context_of(action, call):
    found = {}
    if action == call.get("action"):
        for rule in TABLE["context"]:
            value = filled(rule["value"], fields(call)) if action in rule["actions"] else None
            if value:
                found[rule["key"]] = value
    return found


def holds(rule, values):
    wanted = rule.get("when")
    return wanted is None or bool(values.get(wanted))


def guarded(service, handler):
    """A handler that demands the further permissions first."""

    async def handle(method, path, headers, body, query_params):
        call = wire.current.get() or {}
        action = call.get("action")
        rules = [rule for rule in TABLE["dependents"] if rule["on"] == action]
        values = fields(call) if rules else {}
        key = extract_access_key_id(headers, query_params)
        for rule in rules:
            if not holds(rule, values):
                continue
            resource = filled(rule["resource"], values)
            # What is tagged in the same call is tagged with the call's tags.
            context = iam_actions.request_tag_context(service, action, body, query_params | (call.get("query") or {}))
            context |= {name: filled(value, values) for name, value in rule.get("context", {}).items()}
            denied = iam_evaluator.enforce(key, rule["action"], rule["action"].partition(":")[0], get_region(),
                                           resource_arn=resource or "*", service_context=context)
            if denied:
                said = rule.get("says", {})
                answer = iam_actions.access_denied_response(
                    service, rule["action"], denied.principal_arn, "kiven", headers=headers, explicit_deny=denied.decision == "Deny",
                    error_code=said.get("code", ""), message=said.get("message", ""))
                return (said.get("status", answer[0]), *answer[1:])
        return await handler(method, path, headers, body, query_params)

    return handle
