"""`athanor lab status`: who has the lab and how its instruments are; from the living controller, else the files."""

from __future__ import annotations

import time
import uuid
from dataclasses import asdict
from typing import Any

from controller.errors import CampaignError, LabNeedsPerson
from controller.lab import OPERATOR, load_lab
from controller.labdir import LabDirectory
from controller.locks import in_words
from controller.people import ask
from instruments.errors import LabError
from instruments.keys import load_registry
from instruments.last_word import read_last_word
from instruments.ledger import lock_path
from instruments.messages import Look, Picture
from instruments.process import living_holder

ANSWER_S = 5.0


def look_at_lab(lab: LabDirectory, *, key: str | None = None) -> dict[str, Any]:
    """The picture of a lab.

    Args:
        lab: the lab.
        key: whose key to show to a living controller; by default the operator's, else any observer's that is here.

    Returns:
        ``holder`` (pid, host, since, run, campaign, epoch; or None), ``source`` (``controller`` or ``files``),
        ``emergency_stop`` (or None), and ``instruments``: name -> ``connected``, ``busy``, ``stopped``, ``driver``,
        ``facts``; from a controller also ``host``, ``silent_s``, ``capabilities``; from files ``host_lives``,
        ``facts_age_s``.

    Raises:
        CampaignError: no usable key, or no lab.
        LabNeedsPerson: a controller has the lab and does not answer.
    """
    holder, stop = lab.holder(), lab.stop()
    found: dict[str, Any] = {"holder": holder, "emergency_stop": asdict(stop) if stop else None}
    if holder is None:
        return {**found, "source": "files", "instruments": _from_files(lab)}
    try:
        key = key or _some_key(lab)
        if (role := load_registry(lab.keys).named(key).role) not in ("operator", "observer"):
            raise CampaignError(f"the key of {key} is a {role}'s: it may not look; name an operator's or observer's.")
        picture = ask(lab, key, Look(look_id=uuid.uuid4().hex), _picture_of, ANSWER_S)
    except LabError as error:
        raise CampaignError(str(error)) from error
    if picture is None and lab.holder() is None:  # it has just ended
        return look_at_lab(lab, key=key)
    if picture is None:
        raise LabNeedsPerson(f"{lab.path}: the controller ({in_words(holder)}) does not answer; is it stopped or busy?")
    return {**found, "source": "controller", "stopping": picture["stopping"], "instruments": picture["instruments"]}


def status_lines(lab: LabDirectory, found: dict[str, Any]) -> list[str]:
    """The picture for people."""
    who = f"held by {in_words(found['holder'])}" if found["holder"] else f"free; the last epoch was {lab.epoch()}"
    lines = [f"{lab.path}: {who}"]
    if stop := found["emergency_stop"]:
        ended = f"; reset by {stop['reset_by']}, the instruments wait to be told" if stop["reset_by"] else ""
        lines.append(f"EMERGENCY STOP by {stop['by']}, {stop['reason']}, {stop['at']}{ended}")
    for name, one in found["instruments"].items():
        state = "stopped" if one["stopped"] else (f"busy with {one['busy']}" if one["busy"] else "free")
        if found["source"] == "files" and not one["host_lives"]:
            state = f"no host alive{', stopped' if one['stopped'] else ''}"
        elif found["source"] == "controller" and not one["connected"]:
            state = f"not connected{', stopped' if one['stopped'] else ''}"
        facts = ", ".join(f"{k} = {v}" for k, v in one["facts"].items()) if isinstance(one["facts"], dict) else ""
        lines.append(f"  {name:<16} {state:<28} {one['driver']}  {facts}".rstrip())
    return lines


def _picture_of(body: Any, request: Any) -> dict[str, Any] | None:
    return body.lab if isinstance(body, Picture) and body.look_id == request.look_id else None


def _some_key(lab: LabDirectory) -> str:
    """A key that may look, of those that are here."""
    if (lab.keys / f"{OPERATOR}.key").exists():
        return OPERATOR
    for entry in load_registry(lab.keys).keys:
        if entry.role in ("operator", "observer") and (lab.keys / f"{entry.name}.key").exists():
            return entry.name
    raise CampaignError(f"{lab.keys}: no key of an operator or observer is here; `athanor lab init` makes them.")


def _from_files(lab: LabDirectory) -> dict[str, Any]:
    """What the hosts' files tell: a host that lives without a controller finishes what it was doing."""
    drivers = {}
    if lab.file.exists():
        drivers = {name: instrument.driver for name, instrument in load_lab(lab.file)[0].instruments.items()}
    stopped, ledgers = lab.latched_in_hosts(), lab.ledgers()
    found = {}
    for name in sorted({*drivers, *ledgers}):
        said = read_last_word(ledgers[name].parent) if name in ledgers else {}
        facts = said.get("facts") or {}
        lives = name in ledgers and living_holder(lock_path(ledgers[name])) is not None
        found[name] = {
            "connected": False,
            "host_lives": lives,
            "busy": lab.started_in_ledger(name),
            "stopped": name in stopped,
            "driver": drivers.get(name, ""),
            "facts": facts.get("values") or {},
            "facts_age_s": round(time.time() - facts["at_s"], 1) if "at_s" in facts else None,
        }
    return found
