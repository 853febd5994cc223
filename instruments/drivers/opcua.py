"""A device behind an OPC UA server."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from instruments.driver import Progress
from instruments.drivers.base import Silent, need
from instruments.drivers.mapped import MappedInstrument
from instruments.errors import LabError, Refused

REFUSALS = ("BadUserAccessDenied", "BadNotWritable", "BadOutOfRange", "BadTypeMismatch", "BadInvalidArgument",
            "BadNodeIdUnknown", "BadNodeIdInvalid", "BadMethodInvalid", "BadArgumentsMissing")  # fmt: skip


class OpcUaInstrument(MappedInstrument):
    """Capabilities mapped onto nodes and methods; see ``MappedInstrument``.

    Addresses are node ids (``ns=2;s=Furnace.SP``). A method is ``OBJECT -> METHOD``, two node ids; its arguments are a
    list. What a method returns is a list, so ``results`` are positions.

    Settings beside those of ``MappedInstrument``:
        url: ``opc.tcp://host:4840/``.
        security: ``Basic256Sha256,SignAndEncrypt,certificate.pem,key.pem``; without it nothing is encrypted.
        user: and ``password_variable``, the name of the environment variable that holds the password; both only with
            security, since the password would travel in clear.
        timeout_s: of one exchange.
    """

    name = "OPC UA device"

    def __init__(
        self,
        *,
        workdir: Path,
        url: str,
        capabilities: Mapping[str, Mapping[str, Any]],
        stop: Mapping[str, Any] | None = None,
        tag: str = "",
        security: str = "",
        user: str = "",
        password_variable: str = "",
        timeout_s: float = 2.0,
    ) -> None:
        super().__init__(workdir=workdir, capabilities=capabilities, stop=stop, tag=tag)
        if user and not security:
            raise LabError("a user without security would send the password in clear; give security")
        self._library, self._ua = need("asyncua.sync", "opcua"), need("asyncua.ua", "opcua")
        self.url, self.timeout_s = url, timeout_s
        self._security, self._user, self._password_variable = security, user, password_variable
        self._client: Any = None
        self._types: dict[str, Any] = {}

    def read_value(self, address: str) -> Any:
        """Value of a node."""
        return self._try(lambda client: client.get_node(address).read_value())

    def write_value(self, address: str, value: Any) -> None:
        """Write in the node's own type: a server refuses an integer for a double."""

        def write(client: Any) -> None:
            node = client.get_node(address)
            if address not in self._types:
                self._types[address] = node.read_data_type_as_variant_type()
            kind = self._types[address]
            whole = kind.name.startswith(("Int", "UInt", "SByte", "Byte")) and isinstance(value, float)
            node.write_value(self._ua.DataValue(self._ua.Variant(int(value) if whole else value, kind)))

        self._try(write)

    def invoke(self, address: str, arguments: Any, progress: Progress) -> Any:
        """Call ``OBJECT -> METHOD``."""
        parent, arrow, method = (part.strip() for part in address.partition("->"))
        if not arrow:
            raise Refused(f"{address!r}: write a method as 'OBJECT -> METHOD'")
        answer = self._try(
            lambda client: client.get_node(parent).call_method(client.get_node(method).nodeid, *arguments)
        )
        return answer if isinstance(answer, list | tuple) else [answer]

    def close(self) -> None:
        """Close the session; the next exchange opens another."""
        client, self._client = self._client, None
        if client is not None:
            try:
                client.disconnect()
            except Exception as error:  # the other end may be gone, and then asyncua fails in many ways
                self.last_error = f"closing {self.url}: {type(error).__name__}: {error}"

    def _try(self, call: Any) -> Any:
        with self.wire:
            try:
                if self._client is None:
                    self._client = self._connect()
                return call(self._client)
            except (OSError, TimeoutError, self._ua.UaError) as error:
                name = type(error).__name__
                if name in REFUSALS:
                    raise Refused(f"{self.url}: {name}: {error}") from None
                self.close()
                raise Silent(f"{self.url}: {name}: {error}; look at the server and the network") from None

    def _connect(self) -> Any:
        client = self._library.Client(self.url, timeout=self.timeout_s)
        try:
            if self._security:
                client.set_security_string(self._security)
            if self._user:
                client.set_user(self._user)
                client.set_password(os.environ.get(self._password_variable, ""))
            client.connect()
        except BaseException:
            with contextlib.suppress(Exception):  # it ends its thread, and fails since it was never connected
                client.disconnect()
            raise
        return client
