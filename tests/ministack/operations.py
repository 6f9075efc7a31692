"""Prints which operations of AWS the Rust source of a folder calls, as JSON: ["eks:CreateNodegroup", ...].

The SDK's methods are the operations' names in snake case; the names come from the service models that the emulation uses itself.
A call that is signed without an SDK is named by its file: `const CALL: &str = "lambda:Invoke";`.
"""

import json
import pathlib
import re
import sys

import botocore.session

SERVICES = ("dynamodb", "eks", "iam", "kms", "s3", "sqs", "sts")
# Which clients a file of the adapters calls: `sdk.eks()` and the like, or the field that holds a store's client.
CLIENTS = {service: re.compile(rf"\.{service}\(\)|aws_sdk_{service}|: {service.capitalize()}\b|&S3\b|&Iam\b") for service in SERVICES}


def main():
    session = botocore.session.get_session()
    models = {service: {name.lower(): name for name in session.get_service_model(service).operation_names} for service in SERVICES}
    found = set()
    for path in sorted(pathlib.Path(sys.argv[1]).rglob("*.rs")):
        source = path.read_text(encoding="utf-8").split("#[cfg(test)]\nmod tests")[0]
        found.update(re.findall(r'const CALL: &str = "([a-z0-9]+:[A-Za-z]+)";', source))
        clients = [service for service in SERVICES if CLIENTS[service].search(source)]
        # A method that is sent takes no argument of its own: `client.put_item()`.
        for method in re.findall(r"\.([a-z][a-z0-9_]+)\(\)", source):
            for service in clients:
                name = models[service].get(method.replace("_", ""))
                if name:
                    found.add(f"{service}:{name}")
    print(json.dumps(sorted(found)))


if __name__ == "__main__":
    main()
