"""EKS node groups as they behave: they take their time, one change at a time, and a zone may run short.

A change ends after it has been looked at a number of times, so that tests wait for nothing but their own questions.
"""

import copy
import json
import re
import time
import urllib.parse
import uuid

from ministack.core.responses import get_account_id, get_region
from ministack.services import eks

import permissions

NAME_CHARS_MAX = 63
GROUPS_PER_CLUSTER_MAX = 30
AMI_TYPES = {"AL2023_ARM_64_STANDARD", "AL2023_x86_64_STANDARD", "AL2_ARM_64", "AL2_x86_64", "BOTTLEROCKET_ARM_64", "BOTTLEROCKET_x86_64", "CUSTOM"}
GROUP = re.compile(r"^/clusters/([^/]+)/node-groups(?:/([^/]+))?(?:/(update-config|update-version))?$")
UPDATES = re.compile(r"^/clusters/([^/]+)/updates(?:/([^/]+))?$")

# Looks until a change has ended.
looks = 2
release = "1.34.1-20260301"
_short = set()
# Updates of a configuration that are to end badly, and why.
_failing = {"times": 0, "code": "", "message": ""}
_changing = {}
_updates = {}
_tokens = {}


def install():
    original = eks._handle_request_sync

    def handle(method, path, headers, body, query):
        answer = respond(method, path.rstrip("/"), body, query)
        if answer is None:
            answer = original(method, path, headers, body, query)
            if method == "POST" and path == "/clusters" and answer[0] == 200:
                place(json.loads(body)["name"])
        return answer

    eks._handle_request_sync = handle


def place(cluster):
    """A cluster is in the VPC of its subnets."""
    from ministack.services import ec2

    network = eks._clusters[cluster]["resourcesVpcConfig"]
    subnets = [ec2._subnets[one] for one in network["subnetIds"] if one in ec2._subnets]
    if subnets:
        network["vpcId"] = subnets[0]["VpcId"]


def looks_set(count):
    """How many looks a change that begins from now on takes."""
    global looks
    looks = count


def capacity_set(subnet, available):
    """Makes a zone run short, or have machines again."""
    (_short.discard if available else _short.add)(subnet)


def release_set(name):
    """The newest release of the machine image."""
    global release
    release = name


def upgrade(account, cluster, version):
    """A newer Kubernetes of the control plane; node groups stay where they are.

    https://docs.aws.amazon.com/eks/latest/userguide/update-cluster.html
    """
    found = next(one for (owner, _, key), one in eks._clusters.to_dict().items() if owner == account and key == cluster)
    found["version"] = version


def template_version_add(account, region, template):
    """A newer version of a launch template, which becomes its default; answers its number."""
    from ministack.services import ec2

    (_, _, key), known = next(item for item in ec2._launch_templates.to_dict().items() if item[0] == (account, region, template))
    known["LatestVersionNumber"] += 1
    known["DefaultVersionNumber"] = known["LatestVersionNumber"]
    newest = {**copy.deepcopy(known["Versions"][-1]), "VersionNumber": known["LatestVersionNumber"], "DefaultVersion": True}
    for one in known["Versions"]:
        one["DefaultVersion"] = False
    known["Versions"].append(newest)
    return {"version": str(newest["VersionNumber"]), "template": key}


def updates_fail(times, code="NodeCreationFailure", message="Couldn't proceed with upgrade process as new nodes are not joining the node group"):
    """Lets the next updates of a configuration end badly, with the group as it was before.

    https://docs.aws.amazon.com/eks/latest/APIReference/API_Update.html
    """
    _failing.update(times=times, code=code, message=message)


def drift(account, group, **fields):
    """Changes a group behind everybody's back, as somebody in the console does."""
    found = next(one for (owner, _, key), one in eks._nodegroups.to_dict().items() if owner == account and key == group)
    found.update(fields)


def scoped(*parts):
    return (get_account_id(), get_region(), *parts)


def begin(key, group, ends, update=None):
    _changing[scoped(key)] = [looks, ends, update]
    if looks == 0:
        look(key, group)


def look(key, group):
    """One look at a group: the last one ends its change."""
    change = _changing.get(scoped(key))
    if change is None:
        if group["status"] == "DEGRADED" and not is_short(group):
            group["status"], group["health"] = "ACTIVE", {"issues": []}
        return
    change[0] -= 1
    if change[0] > 0:
        return
    del _changing[scoped(key)]
    _, ends, update = change
    if ends == "GONE":
        eks._nodegroups.pop(key, None)
        eks._tags.pop(group["nodegroupArn"], None)
        return
    if update is not None:
        update["status"] = "Successful"
        if "_before" in update:
            update["status"] = "Failed"
            update["errors"] = [{"errorCode": update["_code"], "errorMessage": update["_message"], "resourceIds": []}]
            group.update(update["_before"])
    group["status"] = ends
    group["modifiedAt"] = time.time()
    why = "Could not launch On-Demand Instances. InsufficientInstanceCapacity" if is_short(group) else permissions.keyless(group)
    if why:
        group["status"] = "CREATE_FAILED" if ends == "ACTIVE" and update is None else "DEGRADED"
        group["health"] = {"issues": [{"code": "AsgInstanceLaunchFailures", "message": why,
                                       "resourceIds": [group["resources"]["autoScalingGroups"][0]["name"]]}]}


def is_short(group):
    return group["scalingConfig"]["desiredSize"] > 0 and any(subnet in _short for subnet in group["subnets"])


def invalid(message):
    return eks._error(400, "InvalidParameterException", message)


def sizes_error(sizes):
    if not 0 <= sizes.get("minSize", 0) <= sizes.get("desiredSize", 0) <= sizes.get("maxSize", 0) or sizes.get("maxSize", 0) < 1:
        return invalid("Minimum capacity, desired capacity and maximum capacity are inconsistent")
    return None


def respond(method, path, body, query):
    """The answer to a call about node groups, or None for the emulation's own."""
    data = json.loads(body or b"{}") if method == "POST" else {}
    found = GROUP.match(path)
    if found:
        cluster, name, change = (part and urllib.parse.unquote(part) for part in found.groups())
        if method == "POST" and not name:
            return create(cluster, data)
        if name is None:
            return None
        return one(method, cluster, name, change, data)
    found = UPDATES.match(path)
    if found and method == "GET":
        group = (query.get("nodegroupName") or [""])[0]
        return updates(found.group(1), group, found.group(2)) if group else None
    if method == "DELETE" and re.match(r"^/clusters/[^/]+$", path):
        prefix = path.split("/")[2] + "/"
        if any(key.startswith(prefix) for key in eks._nodegroups):
            return eks._error(409, "ResourceInUseException", "Cluster has nodegroups attached")
    return None


def creation_error(cluster, data):
    name = data.get("nodegroupName", "")
    if len(name) > NAME_CHARS_MAX:
        return invalid(f"nodegroupName is longer than {NAME_CHARS_MAX} characters")
    if data.get("amiType") and data["amiType"] not in AMI_TYPES:
        return invalid(f"Invalid amiType {data['amiType']}")
    if len(data.get("subnets") or []) == 0:
        return invalid("Subnets are required")
    from ministack.core.iam_evaluator import validate_role_arn
    from ministack.services import ec2

    unknown = [subnet for subnet in data["subnets"] if subnet not in ec2._subnets]
    if unknown:
        return invalid(f"The subnet ID '{unknown[0]}' does not exist")
    if data.get("launchTemplate") and template_of(data["launchTemplate"]) is None:
        return invalid("The launch template does not exist")
    why = validate_role_arn(data.get("nodeRole", ""))
    if why:
        return invalid(why)
    if sum(1 for key in eks._nodegroups if key.startswith(f"{cluster}/")) >= GROUPS_PER_CLUSTER_MAX:
        return eks._error(400, "ResourceLimitExceededException", f"{GROUPS_PER_CLUSTER_MAX} node groups are the most of a cluster")
    return sizes_error(data.get("scalingConfig") or {"minSize": 1, "maxSize": 2, "desiredSize": 1})


def template_of(asked):
    """A launch template with the version that a group gets: the default one when none is said.

    https://docs.aws.amazon.com/eks/latest/APIReference/API_LaunchTemplateSpecification.html
    """
    from ministack.services import ec2

    known = ec2._launch_templates.get(permissions.template_id(asked))
    if known is None:
        return None
    return {"id": known["LaunchTemplateId"], "name": known["LaunchTemplateName"], "version": asked.get("version") or str(known["DefaultVersionNumber"])}


def newest(version):
    """The newest release of a Kubernetes: the named one, or another of the same date."""
    return release if release.startswith(f"{version}.") else f"{version}.0-{release.partition('-')[2]}"


def number(version):
    return [int(part) for part in version.split(".")]


def create(cluster, data):
    key = f"{cluster}/{data.get('nodegroupName')}"
    token = scoped("create", data.get("clientRequestToken"))
    if data.get("clientRequestToken") and _tokens.get(token) == data and key in eks._nodegroups:
        return eks._json_resp(200, {"nodegroup": eks._nodegroups[key]})
    if cluster in eks._clusters and key not in eks._nodegroups:
        error = creation_error(cluster, data)
        if error:
            return error
    answer = eks._create_nodegroup(cluster, data)
    if answer[0] != 200:
        return answer
    group = eks._nodegroups[key]
    group.update(status="CREATING", releaseVersion=newest(group["version"]), launchTemplate=template_of(data.get("launchTemplate") or {}) or {},
                 nodegroupArn=f"arn:aws:eks:{get_region()}:{get_account_id()}:nodegroup/{key}/{uuid.uuid4()}",
                 updateConfig=data.get("updateConfig", {"maxUnavailable": 1}))
    _tokens[token] = data
    first = copy.deepcopy(group)
    begin(key, group, "ACTIVE")
    return eks._json_resp(200, {"nodegroup": first})


def one(method, cluster, name, change, data):
    key = f"{cluster}/{name}"
    group = eks._nodegroups.get(key)
    if group is not None:
        look(key, group)
        group = eks._nodegroups.get(key)
    if group is None:
        return eks._error(404, "ResourceNotFoundException", f"No node group found for name: {name}.")
    if method == "GET":
        return eks._json_resp(200, {"nodegroup": group})
    if method == "DELETE":
        if scoped(key) in _changing:
            return in_use(group)
        group["status"] = "DELETING"
        begin(key, group, "GONE")
        return eks._json_resp(200, {"nodegroup": {**group, "status": "DELETING"}})
    return update(cluster, name, group, change, data)


def in_use(group):
    return eks._error(409, "ResourceInUseException", f"Nodegroup is in {group['status']} state and another operation is in progress on it")


def update(cluster, name, group, change, data):
    key = f"{cluster}/{name}"
    token = scoped(key, change, data.get("clientRequestToken"))
    if data.get("clientRequestToken") and token in _tokens:
        return eks._json_resp(200, {"update": shown(_updates[_tokens[token]])})
    if scoped(key) in _changing:
        return in_use(group)
    before = copy.deepcopy({name: group[name] for name in ("scalingConfig", "labels", "taints", "updateConfig")})
    if change == "update-version":
        error = change_version(cluster, name, group, data)
        if error:
            return error
    else:
        sizes = {**group["scalingConfig"], **(data.get("scalingConfig") or {})}
        error = sizes_error(sizes)
        if error:
            return error
        group["scalingConfig"] = sizes
        change_labels(group, data.get("labels") or {})
        change_taints(group, data.get("taints") or {})
        group["updateConfig"] = data.get("updateConfig", group["updateConfig"])
    made = {"id": str(uuid.uuid4()), "status": "InProgress", "type": "VersionUpdate" if change == "update-version" else "ConfigUpdate",
            "params": [], "createdAt": time.time(), "errors": [], "_key": scoped(key)}
    if change != "update-version" and _failing["times"] > 0:
        _failing["times"] -= 1
        made.update(_before=before, _code=_failing["code"], _message=_failing["message"])
    _updates[made["id"]] = made
    if data.get("clientRequestToken"):
        _tokens[token] = made["id"]
    group["status"] = "UPDATING"
    first = shown(made)
    begin(key, group, "ACTIVE", made)
    return eks._json_resp(200, {"update": first})


def change_version(cluster, name, group, data):
    """The nodes' Kubernetes, release and launch template. Without a version the group keeps its own.

    https://docs.aws.amazon.com/eks/latest/APIReference/API_UpdateNodegroupVersion.html
    """
    version = data.get("version") or group["version"]
    if number(version) > number(eks._clusters[cluster]["version"]):
        return invalid(f"Nodegroup version {version} is newer than the cluster's")
    if number(version) < number(group["version"]):
        return invalid(f"Nodegroup {name} cannot go back from {group['version']} to {version}")
    wanted, template = data.get("releaseVersion") or newest(version), group["launchTemplate"]
    if data.get("launchTemplate"):
        template = template_of(data["launchTemplate"])
        if template is None or template["id"] != group["launchTemplate"].get("id"):
            return invalid("The launch template is not the one that the node group was made with")
    if (wanted, template) == (group["releaseVersion"], group["launchTemplate"]):
        return invalid(f"Nodegroup {name} is already at the release {wanted}")
    group.update(version=version, releaseVersion=wanted, launchTemplate=template)
    return None


def change_labels(group, change):
    group["labels"].update(change.get("addOrUpdateLabels") or {})
    for name in change.get("removeLabels") or []:
        group["labels"].pop(name, None)


def change_taints(group, change):
    added = change.get("addOrUpdateTaints") or []
    gone = {(taint["key"], taint["effect"]) for taint in added + (change.get("removeTaints") or [])}
    group["taints"] = [taint for taint in group["taints"] if (taint["key"], taint["effect"]) not in gone] + added


def shown(update):
    return {name: value for name, value in update.items() if not name.startswith("_")}


def updates(cluster, name, update):
    key = f"{cluster}/{name}"
    group = eks._nodegroups.get(key)
    if group is None:
        return eks._error(404, "ResourceNotFoundException", f"No node group found for name: {name}.")
    if update is None:
        newest = [one["id"] for one in reversed(_updates.values()) if one["_key"] == scoped(key)]
        return eks._json_resp(200, {"updateIds": newest})
    found = _updates.get(update)
    if found is None or found["_key"] != scoped(key):
        return eks._error(404, "ResourceNotFoundException", f"No update found for ID: {update}")
    look(key, group)
    return eks._json_resp(200, {"update": shown(found)})
