"""Beginning a run and carrying it on: directory, journal, the lab's lease; ``controller.drive`` does the rest."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from actors.errors import ActorError
from controller import events as ev
from controller.campaign import Campaign, expand_path, lab_path, load_campaign, parse_campaign
from controller.drive import Drive, Watch
from controller.errors import CampaignError, LabNeedsPerson
from controller.estop import lab_latched_message, latched_message
from controller.journal import Journal
from controller.lab import OPERATOR, load_lab
from controller.labdir import LabDirectory, hold_lab
from controller.loop import Overhead
from controller.rundir import RunDirectory, RunLock
from controller.science import check_science
from controller.snapshot import fold
from controller.source import Source
from controller.state import State, evolve
from instruments.errors import InstrumentError
from instruments.keys import create_lab_keys
from models.errors import ModelError
from models.spaces.spec import TableSpec


def begin(
    path: Path, directory: RunDirectory, *, seed: int | None, budget: int | None, base_dir: Path | None = None
) -> None:
    """Check a campaign and lay down a new run: its directory and the first event.

    Args:
        path: the campaign file.
        directory: the new run.
        seed, budget: instead of the file's.
        base_dir: where the file's relative paths start, if not in its own folder.

    Raises:
        CampaignError: the file, or what it points to, is wrong.
        RunStateError, StorageError: the directory is taken or cannot be written.
    """
    base_dir = base_dir or path.resolve().parent
    campaign, text = load_campaign(path, seed=seed, budget=budget, base_dir=base_dir)
    source = Source(text, str(path))
    check_science(campaign, base_dir, source)
    lab_file = lab_path(source.data, base_dir)
    lab_text = load_lab(lab_file)[1].text if lab_file else ""
    directory.create()
    with RunLock(directory):
        (directory.path / "campaign.yaml").write_text(text, encoding="utf-8")
        if lab_file is None:
            create_lab_keys(directory.path / "lab" / "keys", list(campaign.lab.instruments), operators=[OPERATOR])
        started = ev.CampaignStarted(
            run_id=uuid.uuid4().hex[:12],
            text=text,
            base_dir=str(base_dir),
            seed=campaign.seed,
            budget=campaign.budget.experiments,
            data_hashes=_data_hashes(campaign, base_dir, lab_file.parent if lab_file else base_dir),
            version=_version(),
            lab_file=str(lab_file or ""),
            lab_text=lab_text,
        )
        journal = Journal(directory.journal, create=True)
        try:
            journal.stage([started])
            journal.commit()
        finally:
            journal.close()


def go_on(
    directory: RunDirectory, watch: Watch = lambda state, lab: None, *, science: Any = None
) -> tuple[State, Overhead]:
    """Carry a run to its end, from wherever it is.

    Args:
        directory: the run.
        watch: called after every turn of the loop.
        science: instead of the campaign's own (tests).

    Returns:
        The final state and what the controller itself cost.

    Raises:
        AthanorError: see ``controller.errors``; each has an exit code.
    """
    directory.require()
    with RunLock(directory):
        journal = Journal(directory.journal)
        try:
            state = fold(directory.path, journal)
            if state.finished:
                return state, Overhead()
            if state.started is None:
                raise CampaignError(f"{directory.path}: the journal is empty; begin again in another directory.")
            lab = LabDirectory(directory.lab.resolve())
            with hold_lab(lab, run=directory.path, campaign=state.require().name, at_least=state.epoch) as mine:
                if state.latched is not None:
                    raise LabNeedsPerson(latched_message(state))
                if (stop := lab.stop()) is not None and not stop.reset_by:
                    raise LabNeedsPerson(lab_latched_message(lab, stop))
                _check_data(state)
                state = _read_lab_again(state, journal)
                return asyncio.run(Drive(directory, journal, state, lab, mine, watch, science).run())
        except (ModelError, ActorError, InstrumentError) as error:
            raise LabNeedsPerson(str(error)) from error
        finally:
            journal.close()


def _read_lab_again(state: State, journal: Journal) -> State:
    """What the lab file says now counts from now on; it is noted where it has changed since the last controller."""
    started = state.started
    if started is None or not started.lab_file:
        return state
    text = load_lab(Path(started.lab_file))[1].text
    if text == state.lab_text:
        return state
    where = str(Path(started.base_dir) / "campaign.yaml")
    parse_campaign(started.text, where, lab_text=text, lab_where=started.lab_file)  # a mistake is not for the journal
    changed = ev.LabChanged(lab_text=text)
    journal.stage([changed])
    journal.commit()
    return evolve(state, changed)


def _data_hashes(campaign: Campaign, base_dir: Path, lab_dir: Path) -> dict[str, str]:
    """SHA-256 of every file that the campaign reads; those of a lab elsewhere by their whole path."""
    files: dict[str, Path] = {}
    if isinstance(campaign.space, TableSpec):
        files[campaign.space.file] = expand_path(campaign.space.file, base_dir)
    for instrument in campaign.lab.instruments.values():
        if "file" in instrument.settings:
            path = expand_path(instrument.settings["file"], lab_dir)
            files[instrument.settings["file"] if lab_dir == base_dir else str(path)] = path
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}


def _check_data(state: State) -> None:
    if state.started is None:
        return
    for name, digest in state.started.data_hashes.items():
        path = expand_path(name, Path(state.started.base_dir))
        try:
            now = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise CampaignError(f"{path}: {error.strerror}. The run began with this file; put it back.") from error
        if now != digest:
            raise CampaignError(
                f"{path}: changed since the run began. Put the old file back, or begin a new run with the new one."
            )


def _version() -> str:
    try:
        return version("athanor")
    except PackageNotFoundError:
        return "0+source"
