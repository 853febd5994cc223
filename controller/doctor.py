"""`athanor doctor`: tests this machine and says what to do about what is wrong."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


@dataclass(frozen=True)
class Finding:
    """One test: ``ok``, ``warn`` (works, but not well) or ``fail`` (a campaign would not run)."""

    name: str
    level: str
    found: str
    advice: str = ""


def examine(*, as_json: bool = False) -> int:
    """Run every test, print the findings, return 0 where nothing failed and 5 otherwise."""
    tests: list[Callable[[], Finding]] = [
        _python,
        _packages,
        _processors,
        _memory,
        _disk_space,
        _durable_commit,
        _curve,
        _threads,
        _physics,
        _ray,
        _data,
    ]
    findings = []
    for test in tests:
        try:
            finding = test()
        except Exception as error:  # a doctor reports whatever is wrong with the patient
            finding = Finding(test.__name__.strip("_"), "fail", f"{type(error).__name__}: {error}", "see the message")
        findings.append(finding)
        if not as_json:
            mark = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}[finding.level]
            print(
                f"{mark}  {finding.name:<16} {finding.found}"
                + (f"\n      -> {finding.advice}" if finding.advice else ""),
                flush=True,
            )
    failed = sum(f.level == "fail" for f in findings)
    if as_json:
        print(json.dumps({"ok": not failed, "findings": [asdict(f) for f in findings]}))
    else:
        print(f"\n{failed} of {len(findings)} tests failed." if failed else "\nEverything a campaign needs is here.")
    return 5 if failed else 0


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= (3, 11)
    return Finding("python", "ok" if good else "fail", found, "" if good else "install Python 3.11 or later")


def _packages() -> Finding:
    needed = ("torch", "botorch", "ray", "pymatgen", "chgnet", "pyzmq", "pydantic", "scikit-learn", "rich")
    found, missing = [], []
    for name in needed:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        return Finding(
            "packages", "fail", f"missing: {', '.join(missing)}", "run `make setup`, or pip install 'athanor[lab]'"
        )
    return Finding("packages", "ok", ", ".join(found[:4]))


def _processors() -> Finding:
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    busy = load > count
    return Finding(
        "processors",
        "warn" if busy else "ok",
        f"{count}, load {load:.1f}",
        "other programs use them: runs will be slow" if busy else "",
    )


def _memory() -> Finding:
    pages, size = os.sysconf("SC_AVPHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    free = pages * size / 1e9
    return Finding(
        "memory",
        "ok" if free > 4 else "warn",
        f"{free:.1f} GB free",
        "" if free > 4 else "the main job takes up to 4 GB; close something",
    )


def _disk_space() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    return Finding(
        "disk space",
        "ok" if free > 1 else "fail",
        f"{free:.1f} GB free here",
        "" if free > 1 else "free some space, or work in another directory",
    )


def _durable_commit() -> Finding:
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        db = sqlite3.connect(Path(folder) / "test.sqlite")
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("CREATE TABLE t (x)")
        times = []
        for _ in range(20):
            begin = time.perf_counter()
            with db:
                db.execute("INSERT INTO t VALUES (1)")
            times.append(time.perf_counter() - begin)
        db.close()
    median = statistics.median(times) * 1e3
    slow = median > 50
    return Finding(
        "durable commit",
        "warn" if slow else "ok",
        f"{median:.1f} ms (SQLite {sqlite3.sqlite_version})",
        "slow disk: put runs on a local one with --dir" if slow else "",
    )


def _curve() -> Finding:
    import zmq

    good = zmq.has("curve")
    return Finding(
        "encryption",
        "ok" if good else "fail",
        f"libzmq {zmq.zmq_version()}, CURVE {'yes' if good else 'no'}",
        "" if good else "install a pyzmq wheel with libsodium",
    )


def _threads() -> Finding:
    import torch

    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "no GPU (none is needed)"
    return Finding("torch", "ok", f"{torch.__version__}, {torch.get_num_threads()} threads, {gpu}")


def _physics() -> Finding:
    from instruments.simulated.oracle import Oracle

    begin = time.perf_counter()
    fcc = {"lattice_A": [[0, 2.93, 2.93], [2.93, 0, 2.93], [2.93, 2.93, 0]], "species": ["Mn", "Co", "Si", "Co"]}
    fcc["formula"] = "Co2MnSi"
    fcc["frac_coords"] = [[0.0] * 3, [0.25] * 3, [0.5] * 3, [0.75] * 3]
    with tempfile.TemporaryDirectory() as folder:
        material = Oracle(Path(folder)).material(fcc)
    a = material.lattice_parameter_A
    good = abs(a / 5.65 - 1) < 0.02
    return Finding(
        "physics",
        "ok" if good else "fail",
        f"CHGNet: Co2MnSi a = {a:.3f} A (experiment 5.65) in {time.perf_counter() - begin:.1f} s",
        "" if good else "reinstall chgnet: its weights give another lattice",
    )


def _ray() -> Finding:
    from actors.ray_crew import knock

    begin = time.perf_counter()
    found = knock()
    return Finding("ray", "ok", f"{found}, an answer after {time.perf_counter() - begin:.1f} s")


def _data() -> Finding:
    folder = os.environ.get("ATHANOR_DATA")
    if not folder:
        return Finding("data", "ok", "ATHANOR_DATA is not set (only benchmarks and the table examples need it)")
    good = Path(folder, "campaigns").is_dir()
    return Finding(
        "data", "ok" if good else "warn", folder, "" if good else "no folder `campaigns` in it; see docs/data.md"
    )
