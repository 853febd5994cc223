"""Locks that name their holder."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from instruments.errors import LabError
from instruments.process import ProcessIdentity, ProcessLock, living_holder, read_holder


def test_a_held_lock_names_its_holder_and_a_free_one_nobody(tmp_path):
    path = tmp_path / "lock"
    assert living_holder(path) is None
    lock = ProcessLock(path)
    lock.acquire()
    holder = living_holder(path)
    assert holder is not None
    assert holder.pid == os.getpid()
    lock.release()
    assert living_holder(path) is None


def test_a_held_lock_cannot_be_taken(tmp_path):
    first, second = ProcessLock(tmp_path / "lock"), ProcessLock(tmp_path / "lock")
    first.acquire()
    with pytest.raises(LabError, match=f"held by process {os.getpid()}"):
        second.acquire(timeout_s=0.1)
    first.release()
    second.acquire()
    second.release()


def test_a_recycled_process_id_is_not_mistaken_for_the_old_process(tmp_path):
    me = ProcessIdentity.of(os.getpid())
    assert me is not None
    assert me.alive()
    assert not ProcessIdentity(me.pid, "another time").alive()
    (tmp_path / "lock").write_text(json.dumps({"pid": me.pid, "started": "another time"}))
    assert read_holder(tmp_path / "lock") is None


def test_a_dead_process_has_no_identity():
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    assert ProcessIdentity.of(child.pid) is None


def test_a_process_that_ended_but_was_not_waited_for_is_not_alive():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    identity = ProcessIdentity.of(child.pid)
    assert identity is not None
    assert identity.alive()
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not identity.alive()
    child.communicate()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"pid": "x", "started": ""}', "\x00"])
def test_a_garbled_lock_file_names_nobody(tmp_path, text):
    (tmp_path / "lock").write_text(text)
    assert read_holder(tmp_path / "lock") is None
