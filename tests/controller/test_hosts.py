"""Host processes: found again, started once, none left behind."""

from __future__ import annotations

import os
import signal
import time

import pytest

from controller.hosts import HostSpec, LocalHosts
from instruments.keys import create_lab_keys
from instruments.process import ProcessIdentity


@pytest.fixture
def make(tmp_path):
    create_lab_keys(tmp_path / "keys", ["a", "b"])
    made = []

    def hosts(names=("a", "b"), process="", driver="tests.controller.toy_lab:Toy", **settings):
        one = LocalHosts(
            tmp_path,
            [HostSpec(name, driver, process=process) for name in names],
            keys=tmp_path / "keys",
            endpoint_file=tmp_path / "endpoints.json",
            **settings,
        )
        made.append(one)
        return one

    yield hosts
    for one in made:
        one.terminate(timeout_s=3)


def wait(hosts, wanted=lambda pids: all(pids.values())):
    deadline = time.monotonic() + 60
    while not wanted(hosts.pids()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return hosts.pids()


def alive(pid) -> bool:
    return ProcessIdentity.of(pid) is not None


def test_each_instrument_is_its_own_process_in_its_own_session(make):
    hosts = make()
    assert hosts.start() == {"a": "started", "b": "started"}
    pids = wait(hosts)
    assert len({os.getpid(), *pids.values()}) == 3
    assert all(os.getsid(pid) != os.getsid(0) for pid in pids.values())


def test_instruments_may_share_a_process_and_then_end_together(make):
    hosts = make(process="pc")
    hosts.start()
    pids = wait(hosts)
    assert pids["a"] == pids["b"]
    os.kill(pids["a"], signal.SIGKILL)
    wait(hosts, lambda pids: not any(pids.values()))
    restarted = []
    while not restarted:
        restarted = hosts.supervise()
        time.sleep(0.02)
    again = wait(hosts)
    assert again["a"] == again["b"] != pids["a"]
    hosts.terminate()
    assert hosts.pids() == {"a": None, "b": None}


def test_a_driver_that_does_not_load_ends_the_process_that_it_shares(make):
    hosts = make(process="pc", driver="no.such:Driver")
    hosts.start()
    deadline = time.monotonic() + 60
    while (process := next(iter(hosts._hosts.values())).process) is None or process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert process.returncode == 4


def test_a_living_host_is_attached_to_not_started_twice(make):
    first = make()
    first.start()
    pids = wait(first)
    second = make()
    assert second.start() == {"a": "attached", "b": "attached"}
    assert second.pids() == pids
    second.terminate()
    assert second.pids() == {"a": None, "b": None}


def test_a_host_is_not_started_twice_while_it_is_still_coming_up(make):
    hosts = make(names=("a",))
    hosts.start()
    hosts.start()
    assert hosts.supervise() == []
    wait(hosts)


def test_a_dead_host_is_started_again_after_a_pause_that_grows(make):
    events, killed = [], []
    hosts = make(names=("a",), on_event=lambda *event: events.append((time.monotonic(), *event)))
    hosts.start()
    for _ in range(2):
        pid = wait(hosts)["a"]
        killed.append(time.monotonic())
        os.kill(pid, signal.SIGKILL)
        wait(hosts, lambda pids, pid=pid: pids["a"] != pid)
        while hosts.supervise() != ["a"]:
            time.sleep(0.02)
    wait(hosts)
    assert [kind for _, kind, *_ in events].count("host-ended") == 2
    started = [at for at, kind, *_ in events if kind == "host-started"][1:]
    pauses = [b - a for a, b in zip(killed, started, strict=True)]
    assert pauses[0] >= 0.5
    assert pauses[1] >= 1.0


def test_terminate_leaves_nobody_even_when_a_host_does_not_listen(make):
    hosts = make()
    hosts.start()
    pids = wait(hosts)
    os.kill(pids["a"], signal.SIGSTOP)
    hosts.terminate(timeout_s=0.3)
    assert not any(alive(pid) for pid in pids.values())


def test_hosts_left_on_purpose_live_on_and_are_found_by_the_next_controller(make):
    first = make(names=("a",))
    first.start()
    pid = wait(first)["a"]
    first.leave()
    assert alive(pid)
    second = make(names=("a",))
    assert second.start() == {"a": "attached"}


def test_a_host_without_a_controller_ends_by_itself(make):
    hosts = make(names=("a",), lease_s=0.1, linger_s=0.3, heartbeat_s=0.05)
    hosts.start()
    log = hosts.folder / "a.log"
    wait(hosts, lambda pids: pids["a"] is None and "no controller" in log.read_text())
