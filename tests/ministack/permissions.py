"""Permissions that AWS demands and the emulation does not, from the table in permissions.json.

Three things are added to the emulation's own check: the resource that AWS checks an action on, condition keys that it fills from
the request, and further permissions that a call needs.
"""

import json
import pathlib
import urllib.parse

from ministack.core import iam_actions, iam_evaluator
from ministack.core.responses import get_account_id, get_region
from ministack.core.router import extract_access_key_id
import ministack.app as emulator

import wire

# Where the role of EKS itself is, which the first node group of an account needs; the emulation names it otherwise than AWS.
NODEGROUP_ROLE_PATH = "/aws-service-role/eks-nodegroup.amazonaws.com/"
TABLE = json.loads(pathlib.Path(__file__).with_name("permissions.json").read_text(encoding="utf-8"))


def install():
    enforce = iam_evaluator.enforce

    def enforced(access_key_id, iam_action, service, region, resource_arn="*", service_context=None):
        call = wire.current.get() or {}
        # A name that an ARN already says is what the emulation's own callers give.
        resource = resource_of(iam_action, call, region) or resource_arn
        context = {**(service_context or {}), **context_of(iam_action, call)}
        denied = enforce(access_key_id, iam_action, service, region, resource_arn=resource, service_context=context)
        wire.decided(iam_action, wire.principal_of(access_key_id), resource, denied is None)
        return denied

    iam_evaluator.enforce = enforced
    for service in {one["on"].partition(":")[0] for one in TABLE["dependents"]}:
        emulator.SERVICE_HANDLERS[service] = guarded(service, emulator.SERVICE_HANDLERS[service])


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
        values.setdefault("nodegroup", values.get("nodegroupName", ""))
        values["group_id"] = group_id(values["cluster"], values["nodegroup"])
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
    if any(name.startswith("Tags.member.1") for name in values):
        values["has_tags"] = "yes"
    if values.get("Url"):
        values["issuer"] = values["Url"].partition("://")[2] or values["Url"]
    if call.get("action") == "eks:CreateNodegroup" and not has_role(NODEGROUP_ROLE_PATH):
        values["no_nodegroup_role"] = "yes"
    values["boundary"] = values.get("PermissionsBoundary") or boundary_of(values.get("RoleName", ""))
    return values


def has_role(path):
    from ministack.services import iam

    return any(role.get("Path") == path for role in iam._roles.values())


def group_id(cluster, name):
    from ministack.services import eks

    group = eks._nodegroups.get(f"{cluster}/{name}")
    return group["nodegroupArn"].rpartition("/")[2] if group else "*"


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
            context = {name: filled(value, values) for name, value in rule.get("context", {}).items()}
            denied = iam_evaluator.enforce(key, rule["action"], rule["action"].partition(":")[0], get_region(),
                                           resource_arn=resource or "*", service_context=context)
            if denied:
                return iam_actions.access_denied_response(service, rule["action"], denied.principal_arn, "kiven", headers=headers,
                                                          explicit_deny=denied.decision == "Deny")
        return await handler(method, path, headers, body, query_params)

    return handle
