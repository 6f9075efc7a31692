"""The record: one line for each AWS call, as it came over the wire and as it was answered."""

import contextvars
import json
import threading

from ministack.core import iam_actions, iam_evaluator

# Most calls that are kept in memory for the tests to count.
KEPT_MAX = 100_000

# The call that is being answered: a dictionary that the hooks fill.
current = contextvars.ContextVar("kiven_call", default=None)

_calls = []
_labels = {}
_lock = threading.Lock()
_file = None


def install(path):
    """Begins to record, into a file too when there is one."""
    global _file
    _file = open(path, "a", encoding="utf-8") if path else None
    extract = iam_actions.extract_iam_action

    def extracted(service, method, path, headers, body, query_params):
        action = extract(service, method, path, headers, body, query_params)
        call = current.get()
        if call is not None:
            call.update(service=service, action=action, operation=operation_of(service, method, path, query_params, action), method=method,
                        path=path, body=body, query=query_params, decisions=[])
        return action

    iam_actions.extract_iam_action = extracted


# What the tables of IAM actions of S3 call otherwise than the SDKs do; a HEAD or GET of a bucket is more than one operation.
_S3_OPERATIONS = {
    ("HEAD", "s3:ListBucket"): "HeadBucket",
    ("GET", "s3:ListBucket"): "ListObjectsV2",
    ("GET", "s3:ListAllMyBuckets"): "ListBuckets",
    ("HEAD", "s3:GetObject"): "HeadObject",
    ("PUT", "s3:PutEncryptionConfiguration"): "PutBucketEncryption",
    ("GET", "s3:GetEncryptionConfiguration"): "GetBucketEncryption",
    ("PUT", "s3:PutLifecycleConfiguration"): "PutBucketLifecycleConfiguration",
    ("GET", "s3:GetLifecycleConfiguration"): "GetBucketLifecycleConfiguration",
    ("PUT", "s3:PutBucketPublicAccessBlock"): "PutPublicAccessBlock",
    ("GET", "s3:GetBucketPublicAccessBlock"): "GetPublicAccessBlock",
}


def operation_of(service, method, path, query, action):
    """The SDK's name of an operation, which is not always its IAM action's."""
    if service == "s3":
        word = (action or "").partition(":")[2]
        return _S3_OPERATIONS.get((method, action), word)
    # The one call of Lambda whose action has another name.
    if action == "lambda:InvokeFunction":
        return "Invoke"
    if action:
        return action.partition(":")[2]
    return iam_actions._match_rest_action(service, method, path, query) or f"{method} {path}"


def watch(send):
    """Wraps a response: once it begins, the call is known and recorded."""
    call = {}
    current.set(call)

    async def watched(message):
        if message["type"] == "http.response.start" and "service" in call:
            record(call, message["status"])
        await send(message)

    return watched


def record(call, status):
    decisions = call.pop("decisions", [])
    denied = [one for one in decisions if not one["allowed"]]
    principal = next((one["principal"] for one in decisions if one["principal"]), "")
    account = principal.split(":")[4] if principal.count(":") >= 5 else ""
    line = {
        "service": call["service"],
        "operation": call["operation"],
        "action": call["action"],
        "principal": principal,
        "session": principal.rpartition("/")[2] if ":assumed-role/" in principal else "",
        "outcome": "denied" if denied else "allowed",
        "denied": denied[0]["action"] if denied else "",
        "checked": sorted({one["action"] for one in decisions if one["allowed"]}),
        "fault": call.get("fault", ""),
        "status": status,
        "test": _labels.get(account) or _labels.get("") or "",
    }
    with _lock:
        if len(_calls) < KEPT_MAX:
            _calls.append(line)
        if _file is not None:
            _file.write(json.dumps(line) + "\n")
            _file.flush()


def decided(action, principal, resource, allowed):
    """Notes one decision about the current call."""
    call = current.get()
    if call is not None and "decisions" in call:
        call["decisions"].append({"action": action, "principal": principal, "resource": resource, "allowed": allowed})


def label_set(test, account=""):
    """Names the test that an account's calls belong to."""
    _labels[account] = test


def since(index=0):
    """The calls from an index on."""
    with _lock:
        return {"calls": _calls[index:], "next": len(_calls)}


def principal_of(access_key_id):
    """Who calls, as ARN."""
    found = iam_evaluator.resolve_caller_identity(access_key_id or "")
    return (found or {}).get("userArn", "")
