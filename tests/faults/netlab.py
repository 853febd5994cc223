"""The toy lab with hosts at the far end of a network that can fail: a proxy, or a network namespace with a cable."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from controller.hosts import HostSpec, LocalHosts
from tests.controller import toy_lab
from tests.faults.evidence import book, ledger
from tests.faults.proxy import CALM, Network, Weather, network


class FarLab(toy_lab.Lab):
    """``far`` is behind the network, ``near`` is not. ``part`` and ``heal`` are the network's."""

    part: Callable[[], object]
    heal: Callable[[], object]
    network: Network | None = None

    def __init__(self, folder: Path, *, shown: Path, lease_s: float, python: str, address: str) -> None:
        super().__init__(folder, ("far", "near"), lease_s)
        self.address = address

        def hosts(name: str, endpoint_file: Path, interpreter: str) -> LocalHosts:
            return LocalHosts(
                folder,
                [HostSpec(name, f"{toy_lab.__name__}:Toy")],
                keys=self.keys,
                endpoint_file=endpoint_file,
                heartbeat_s=self.heartbeat_s,
                lease_s=lease_s,
                linger_s=60.0,
                python=interpreter,
            )

        self.far = hosts("far", shown, python)
        self.hosts = hosts("near", self.endpoint_file, sys.executable)
        self.dispatcher = self.new_dispatcher()

    def new_dispatcher(self, epoch: int = 1, **settings: Any) -> Any:
        address = getattr(self, "address", "tcp://127.0.0.1:*")
        return super().new_dispatcher(epoch, **{"loss_timeout_s": 60.0, "address": address, **settings})

    def acts(self, name: str = "far") -> list[str]:
        """From the instrument's own book."""
        return book(self.folder / "hosts" / name / "acts.log")

    def entries(self, name: str = "far") -> dict[str, dict[str, Any]]:
        """From the host's ledger."""
        return ledger(self.folder / "hosts" / name / "ledger.sqlite")

    def log(self, name: str = "far") -> str:
        """The host's log."""
        return (self.folder / "hosts" / f"{name}.log").read_text()


async def until(true: Callable[[], object], seconds: float = 120) -> None:
    """Wait for something that must come true."""
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.02)


@asynccontextmanager
async def far_lab(
    folder: Path, *, how: str = "proxy", weather: Weather = CALM, seed: int = 0, lease_s: float = 30.0
) -> AsyncIterator[FarLab]:
    """A running lab; ``how``: ``proxy`` or ``namespace``. No process, namespace or cable is left behind."""
    real, shown = folder / "endpoints.json", folder / "shown.json"
    if how == "namespace":
        with namespace(folder) as (python, address, cable):
            one = FarLab(folder, shown=real, lease_s=lease_s, python=python, address=f"tcp://{address}:*")
            one.part, one.heal = lambda: ip(f"link set {cable} down"), lambda: ip(f"link set {cable} up")
            async with _running(one):
                yield one
        return
    one = FarLab(folder, shown=shown, lease_s=lease_s, python=sys.executable, address="tcp://127.0.0.1:*")
    async with network(real, shown, weather, seed) as net:
        one.network, one.part, one.heal = net, net.part, net.heal
        async with _running(one):
            yield one


@asynccontextmanager
async def _running(one: FarLab) -> AsyncIterator[None]:
    try:
        await one.dispatcher.start()
        one.far.start()
        one.hosts.start()
        await one.dispatcher.wait_for(one.names, 60)
        yield
    finally:
        one.heal()
        await one.dispatcher.close(release=True)
        for hosts in (one.far, one.hosts):
            await asyncio.to_thread(hosts.terminate, grace_s=1.0, timeout_s=3.0)


def ip(arguments: str) -> None:
    """Run iproute2's ``ip``."""
    subprocess.run(["ip", *arguments.split()], check=True, capture_output=True)


class namespace:
    """A network namespace with a cable to it; gives (interpreter within, our end's address, our end of the cable)."""

    def __init__(self, folder: Path) -> None:
        number = os.getpid() % 60_000
        self.name, self.cable, self.plug = f"athanor{number}", f"ath{number}a", f"ath{number}b"
        self.ours, self.theirs = f"10.{200 + number // 16384}.{number // 64 % 256}.{4 * (number % 64) + 1}", ""
        self.theirs = f"{self.ours.rpartition('.')[0]}.{int(self.ours.rpartition('.')[2]) + 1}"
        self.wrapper = folder / "python-in-namespace"

    def __enter__(self) -> tuple[str, str, str]:
        ip(f"netns add {self.name}")
        try:
            ip(f"link add {self.cable} type veth peer name {self.plug} netns {self.name}")
            ip(f"addr add {self.ours}/30 dev {self.cable}")
            ip(f"link set {self.cable} up")
            ip(f"-n {self.name} addr add {self.theirs}/30 dev {self.plug}")
            ip(f"-n {self.name} link set {self.plug} up")
            ip(f"-n {self.name} link set lo up")
        except BaseException:
            self.__exit__()
            raise
        self.wrapper.write_text(f'#!/bin/sh\nexec ip netns exec {self.name} {sys.executable} "$@"\n')
        self.wrapper.chmod(0o755)
        return str(self.wrapper), self.ours, self.cable

    def __exit__(self, *_: object) -> None:
        for command in (f"link del {self.cable}", f"netns del {self.name}"):
            subprocess.run(["ip", *command.split()], check=False, capture_output=True)


def why_no_namespace(folder: Path) -> str:
    """``""`` where this machine lets us make network namespaces, else why not."""
    if shutil.which("ip") is None:
        return "iproute2 is not installed"
    try:
        with namespace(folder):
            return ""
    except subprocess.CalledProcessError as error:
        return f"network namespaces are not allowed here: {error.stderr.decode(errors='replace').strip()}"
