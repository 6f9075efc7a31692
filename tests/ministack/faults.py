"""Faults on request: an error instead of an effect, or an effect whose answer is lost."""

import ministack.app as emulator
from ministack.core import iam_actions
from ministack.core.responses import get_account_id

import wire

_faults = []


def add(service, operation, times=1, after=0, code="InternalError", status=500, message="a fault of the test", effect=False, account=""):
    """The next `times` calls, `after` so many, fail; with `effect` only after they have had their effect."""
    _faults.append({"service": service, "operation": operation, "times": times, "after": after, "code": code, "status": status,
                    "message": message, "effect": effect, "account": account})


def clear():
    _faults.clear()


def due(service, operation):
    account = get_account_id()
    for fault in _faults:
        if fault["service"] != service or fault["operation"] not in (operation, "*") or fault["account"] not in ("", account):
            continue
        if fault["after"] > 0:
            fault["after"] -= 1
        elif fault["times"] > 0:
            fault["times"] -= 1
            return fault
    return None


def install():
    for service in ("dynamodb", "eks", "iam", "kms", "s3", "sqs", "sts"):
        emulator.SERVICE_HANDLERS[service] = faulty(service, emulator.SERVICE_HANDLERS[service])


def faulty(service, handler):
    async def handle(method, path, headers, body, query_params):
        call = wire.current.get() or {}
        fault = due(service, call.get("operation", ""))
        if fault is None:
            return await handler(method, path, headers, body, query_params)
        if fault["effect"]:
            await handler(method, path, headers, body, query_params)
        call["fault"] = fault["code"]
        answer = iam_actions.access_denied_response(service, call.get("action") or service, "", "kiven", headers=headers,
                                                    error_code=fault["code"], message=fault["message"])
        return (fault["status"], *answer[1:])

    return handle
