"""A person's end of the stop channel: a question to the living controller, with a key of the lab, and its answer."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

from controller.labdir import LabDirectory
from instruments.errors import LabError, ProtocolError
from instruments.messages import Outbox, Refused, decode

RESEND_S = 0.3
POLL_S = 0.01

Answer = TypeVar("Answer")


def ask(
    lab: LabDirectory, key: str, request: Any, read: Callable[[Any, Any], Answer | None], timeout_s: float
) -> Answer | None:
    """Ask the controller that has the lab.

    Args:
        lab: the lab.
        key: name of the key to show; its role decides what may be asked.
        request: body of the message; sent again until it is answered.
        read: ``read(body, request)`` returns the answer, or None for anything else.
        timeout_s: how long to wait.

    Returns:
        The answer, or None where no controller answers in time.

    Raises:
        LabError: the key is missing or unusable, or the controller says that it may not ask this.
    """
    import zmq

    from instruments.transport import Client, read_endpoints

    context = zmq.Context()
    client = Client(context, keys=lab.keys, name=key)
    outbox = Outbox(uuid.uuid4().hex)
    try:
        deadline, next_send, sent = time.monotonic() + timeout_s, 0.0, False
        while time.monotonic() < deadline and lab.holder() is not None:
            endpoints = read_endpoints(lab.endpoint_file)
            if endpoints and endpoints["stop"] != client.endpoint:
                client.connect(endpoints["stop"])
                next_send, sent = 0.0, False
            if client.socket is not None and time.monotonic() >= next_send:
                sent = client.send(outbox.wrap(request))
                next_send = time.monotonic() + (RESEND_S if sent else 0.0)
            if client.socket is None or not client.socket.poll(20 if sent else 1):  # the handshake takes a moment
                time.sleep(POLL_S if client.socket is None else 0.0)
                continue
            while (frames := client.receive()) is not None:
                try:
                    body = decode(frames).body
                except ProtocolError:
                    continue
                if (answer := read(body, request)) is not None:
                    return answer
                if isinstance(body, Refused):
                    raise LabError(body.reason)
        return None
    finally:
        client.close()
        context.term()
