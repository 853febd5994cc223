"""Every listening socket of a running campaign, and a stranger at each."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.faults.doors import (
    RPC_KNOCKS,
    Listener,
    http_answers,
    listeners,
    processes,
    raw_answer,
    rpc_answers,
    zmtp_answers,
)
from tests.faults.lab import Bench
from tests.faults.test_estop import fired
from tests.faults.test_signals import athanor, wait_until
from tests.faults.victim import host_pid


def doors_of(bench: Bench, controller: int) -> list[Listener]:
    hosts = [pid for name in ("kiln", "gauge") if (pid := host_pid(bench.run.path, name))]
    assert len(hosts) == 2
    return listeners(controller, *hosts)


def test_a_running_campaign_listens_at_two_doors_on_loopback_and_answers_no_stranger(tmp_path):
    bench = Bench(tmp_path, seconds=1.0)
    controller = athanor("resume", bench.run.path, "--quiet", "--no-report")
    wait_until(lambda: fired(bench))
    found = doors_of(bench, controller.pid)
    assert len(found) == 2, f"the work and the stop socket, and nothing else: {found}"
    assert all(door.on_loopback for door in found), found
    for door in found:
        assert http_answers(door.port) == []
        assert rpc_answers(door.port) == {}
        assert zmtp_answers(door.port) == []
        assert raw_answer(door.port, b"\x16\x03\x01" + bytes(200)) in (b"", raw_answer(door.port, b"")), (
            "junk is told what silence is told: the greeting of ZMTP at most"
        )
    _, err = controller.communicate(timeout=180)
    assert controller.returncode == 0, err
    assert len(bench.run.load().observations) == 3, "the strangers disturbed nothing"


@pytest.mark.slow
def test_the_doors_of_ray_are_on_loopback_and_ask_for_a_token(tmp_path):
    """Without it Ray's control store, raylet, object store and workers refuse; with it they answer (the control)."""
    bench = Bench(tmp_path, seconds=4.0, compute="ray")
    before = set(Path("/tmp").glob("athanor-ray-*"))
    controller = athanor("resume", bench.run.path, "--quiet", "--no-report")
    wait_until(lambda: fired(bench), 180)
    (folder,) = set(Path("/tmp").glob("athanor-ray-*")) - before
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700, "Ray's local sockets lie in a folder of ours"
    assert stat.S_IMODE((folder / "token").stat().st_mode) == 0o600
    token = (folder / "token").read_text()
    assert all(token not in " ".join(p.cmdline()) for p in processes(controller.pid)), "ps shows everybody"

    found = doors_of(bench, controller.pid)
    assert len(found) > 5, "Ray is there"
    assert [door for door in found if not door.on_loopback] == []
    refused: dict[str, set[str]] = {}
    for door in found:
        assert http_answers(door.port) == [], door
        for wrong in ("", "0" * 64):
            codes = rpc_answers(door.port, wrong)
            assert set(codes.values()) <= {"UNAUTHENTICATED"}, (door, codes)
            for method in codes:
                refused.setdefault(method.split("/")[1], set()).add(door.process)
    assert set(refused) == {
        "ray.rpc.NodeInfoGcsService",
        "ray.rpc.InternalKVGcsService",
        "ray.rpc.JobInfoGcsService",
        "ray.rpc.ActorInfoGcsService",
        "ray.rpc.NodeManagerService",
        "ray.rpc.ObjectManagerService",
        "ray.rpc.CoreWorkerService",
    }, "every service was found and knocked at"
    harmless = RPC_KNOCKS[:1]
    assert any("OK" in rpc_answers(door.port, token, harmless).values() for door in found), "the token opens"
    _, err = controller.communicate(timeout=180)
    assert controller.returncode == 0, err
    assert not folder.exists()
    assert not os.path.exists("/tmp/pwned")
