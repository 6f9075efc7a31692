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

import faults  # noqa: E402
import node_groups  # noqa: E402
import permissions  # noqa: E402
import wire  # noqa: E402

# The paths of the tests' own switches; no AWS service has them.
ADMIN = "/_kiven/"


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


def administer(path, data):
    """One switch; answers what it says, or None for an unknown one."""
    switches = {
        "faults": faults.add,
        "faults/clear": faults.clear,
        "looks": node_groups.looks_set,
        "capacity": node_groups.capacity_set,
        "release": node_groups.release_set,
        "label": wire.label_set,
        "wire": wire.since,
    }
    switch = switches.get(path.removeprefix(ADMIN))
    return None if switch is None else (switch(**data) or {})


async def app(scope, receive, send):
    if scope["type"] != "http" or not scope["path"].startswith(ADMIN):
        if scope["type"] == "http":
            send = wire.watch(send)
        await emulator.app(scope, receive, send)
        return
    try:
        answer = administer(scope["path"], json.loads(await body_of(receive) or b"{}"))
        status = 404 if answer is None else 200
    except (TypeError, ValueError, KeyError) as error:
        status, answer = 400, {"error": str(error)}
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": json.dumps(answer).encode()})


def main():
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    threading.Thread(target=end_with_parent, daemon=True).start()
    wire.install(os.environ.get("KIVEN_WIRE"))
    permissions.install()
    node_groups.install()
    faults.install()
    config = Config()
    config.bind = [f"{os.environ['BIND_HOST']}:{os.environ['GATEWAY_PORT']}"]
    config.keep_alive_timeout = 75
    config.loglevel = os.environ["LOG_LEVEL"]
    asyncio.run(serve(app, config))


if __name__ == "__main__":
    main()
