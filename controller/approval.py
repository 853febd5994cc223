"""`athanor approve` and `athanor reject`: people between a recipe and the lab; and how their word reaches the journal.

The journal has one writer. Where a controller holds the run, a decision is left for it in the run's ``decisions``
folder, which it reads twice a second; otherwise it is written to the journal here.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from controller import events as ev
from controller.errors import CampaignError, RunStateError
from controller.journal import Journal
from controller.rundir import RunDirectory, RunLock
from controller.safety import person
from controller.state import Experiment, State
from instruments.files import write_whole

TAKEN_S = 10.0
POLL_S = 0.1

Decided = ev.Approved | ev.Rejected | ev.Reconciled


def decide_on(directory: RunDirectory, experiment: str, *, approve: bool, by: str, reason: str = "") -> str:
    """Approve or reject an experiment that waits for people, in somebody's name.

    Returns:
        What came of it, in words.

    Raises:
        CampaignError: no name.
        RunStateError: no such experiment, it does not wait, or this person has approved it already.
    """
    if not by.strip():
        raise CampaignError("give --by NAME: a person answers for it.")
    directory.require()
    state = directory.load()
    waiting = _waiting(state, experiment)
    if approve and waiting.approval is not None and person(by) in map(person, waiting.approval.given):
        raise RunStateError(f"{experiment}: {by} has approved it already; it needs another person.")
    event: Decided
    if approve:
        event = ev.Approved(experiment=experiment, by=by, reason=reason)
    else:
        event = ev.Rejected(experiment=experiment, by=by, reason=reason)
    return leave_or_write(directory, event, f"{experiment} by {by}")


def leave_or_write(directory: RunDirectory, event: Decided, words: str) -> str:
    """Bring a person's decision into the journal, through the controller where one holds the run.

    Returns:
        What came of it, in words that end with ``words``.
    """
    if directory.holder() is None:
        with RunLock(directory):
            journal = Journal(directory.journal)
            try:
                journal.stage([event])
                journal.commit()
            finally:
                journal.close()
        return f"{event.kind}: {words}. Next: athanor resume {directory.path}"
    path = Mailbox(directory).leave(event)
    deadline = time.monotonic() + TAKEN_S
    while time.monotonic() < deadline:
        if is_noted(directory.load(), event):
            path.unlink(missing_ok=True)
            return f"{event.kind}: {words}"
        time.sleep(POLL_S)
    return f"left for the controller: {event.kind} {words}. It is taken when the controller next looks."


def waiting_lines(state: State) -> list[str]:
    """Who waits for whom: one line an experiment."""
    lines = []
    for experiment in state.active.values():
        if experiment.waits_for_people and experiment.approval is not None:
            asked = experiment.approval
            so_far = f", approved by {', '.join(asked.given)}" if asked.given else ""
            lines.append(
                f"{experiment.id} {experiment.candidate.id} waits for {asked.people - len(asked.given)} "
                f"approval(s): {asked.why}{so_far}"
            )
    return lines


def is_noted(state: State, event: Decided) -> bool:
    """True where the state has taken the decision in, or it no longer matters."""
    if isinstance(event, ev.Reconciled):
        return event.command_id not in {command.order.command_id for command in state.unknown()}
    experiment = state.experiments.get(event.experiment)
    if experiment is None or experiment.approval is None or not experiment.waits_for_people:
        return True
    return isinstance(event, ev.Approved) and person(event.by) in map(person, experiment.approval.given)


class Mailbox:
    """Decisions that people leave for the controller that holds the run: small files, written whole."""

    def __init__(self, directory: RunDirectory) -> None:
        self.folder = directory.path / "decisions"
        self._seen: set[str] = set()

    def leave(self, event: Decided) -> Path:
        """Leave a decision; returns its file."""
        self.folder.mkdir(exist_ok=True)
        path = self.folder / f"{uuid.uuid4().hex}.json"
        write_whole(path, event.model_dump_json())
        return path

    def read(self, state: State, refused: Callable[[str], None] = lambda text: None) -> list[ev.Event]:
        """Decisions that were not read before. Files that the state has taken in are removed."""
        found: list[ev.Event] = []
        for path in sorted(self.folder.glob("*.json")) if self.folder.exists() else []:
            if path.name in self._seen:
                continue
            self._seen.add(path.name)
            try:
                kind = json.loads(path.read_text())["kind"]
                model = {"approved": ev.Approved, "rejected": ev.Rejected, "reconciled": ev.Reconciled}[kind]
                event = model.model_validate_json(path.read_text())
            except FileNotFoundError:
                continue
            except (ValueError, KeyError, TypeError, OSError) as error:
                refused(f"{path.name} is no decision ({type(error).__name__}); remove it")
                continue
            if is_noted(state, event):
                path.unlink(missing_ok=True)
            else:
                found.append(event)
        return found


def _waiting(state: State, name: str) -> Experiment:
    experiment = state.experiments.get(name)
    if experiment is None or not experiment.waits_for_people:
        waiting = ", ".join(e.id for e in state.active.values() if e.waits_for_people) or "none"
        raise RunStateError(f"{name}: it does not wait for approval. Waiting in this run: {waiting}.")
    return experiment
