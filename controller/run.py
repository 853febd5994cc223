"""Putting a campaign together: directory, journal, lab, science, loop; and taking it apart again, whatever happens."""

from __future__ import annotations

import asyncio
import difflib
import hashlib
import logging
import os
import platform
import signal
import uuid
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from actors.errors import ActorError
from actors.orders import Offer
from actors.pipeline import Pipeline
from controller import events as ev
from controller.approval import Mailbox
from controller.campaign import Campaign, expand_path, load_campaign
from controller.dispatcher import Dispatcher, InstrumentInfo, OnStop, StopTable
from controller.errors import CampaignError, LabNeedsPerson, StorageError
from controller.estop import OPERATOR, latched_message
from controller.hosts import HostSpec, LocalHosts
from controller.journal import Journal
from controller.loop import Loop, Overhead
from controller.optimal import NOT_INSTALLED, solver_version
from controller.rundir import RunDirectory, RunLock
from controller.safety import unknown_names
from controller.science import check_science, make_crew, measured_names, science_spec
from controller.state import State, evolve
from instruments.errors import InstrumentError
from instruments.keys import create_lab_keys
from models.errors import ModelError
from models.quantities import derived_names
from models.spaces.spec import TableSpec

log = logging.getLogger(__name__)

Watch = Callable[[State, "Lab | None"], None]


class Lab:
    """The hosts and the dispatcher of one controller's hold on the lab."""

    def __init__(self, hosts: LocalHosts, dispatcher: Dispatcher) -> None:
        self.hosts, self.dispatcher = hosts, dispatcher

    @property
    def instruments(self) -> dict[str, InstrumentInfo]:
        """What the dispatcher knows now, for the display."""
        return self.dispatcher.instruments


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
    campaign, text = load_campaign(path, seed=seed, budget=budget)
    base_dir = base_dir or path.resolve().parent
    check_science(campaign, base_dir)
    directory.create()
    with RunLock(directory):
        (directory.path / "campaign.yaml").write_text(text, encoding="utf-8")
        _make_keys(directory, campaign)
        journal = Journal(directory.journal, create=True)
        try:
            journal.stage(
                [
                    ev.CampaignStarted(
                        run_id=uuid.uuid4().hex[:12],
                        text=text,
                        base_dir=str(base_dir),
                        seed=campaign.seed,
                        budget=campaign.budget.experiments,
                        data_hashes=_data_hashes(campaign, base_dir),
                        version=_version(),
                    )
                ]
            )
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
            state = State()
            for _, _, event in journal.read():
                state = evolve(state, event)
            if state.finished:
                return state, Overhead()
            if state.started is None:
                raise CampaignError(f"{directory.path}: the journal is empty; begin again in another directory.")
            if state.latched is not None:
                raise LabNeedsPerson(latched_message(state))
            _check_data(state)
            return asyncio.run(_drive(directory, journal, state, watch, science))
        except (ModelError, ActorError) as error:
            raise LabNeedsPerson(str(error)) from error
        except InstrumentError as error:
            raise LabNeedsPerson(str(error)) from error
        finally:
            journal.close()


async def _drive(
    directory: RunDirectory, journal: Journal, state: State, watch: Watch, science: Any
) -> tuple[State, Overhead]:
    campaign = state.require()
    base_dir = Path(state.started.base_dir) if state.started else Path()
    epoch = state.epoch + 1
    away_s = journal.silence_s() if campaign.lab.clock == "wall" and state.epoch else 0.0
    begun = ev.ControllerStarted(epoch=epoch, pid=os.getpid(), host=platform.node(), away_s=away_s)
    journal.stage([begun])
    journal.commit()
    state = evolve(state, begun)

    early: list[ev.Event] = []
    loop: Loop | None = None
    loop_over = False

    def post(event: ev.Event) -> None:
        """Events may come before the loop is there: hosts connect while the science starts."""
        if loop is None:
            early.append(event)
        else:
            loop.post(event)

    ended: list[str] = []
    stillborn: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def on_lab_event(kind: str, instrument: str, detail: str) -> None:
        log.info("%s: %s %s", instrument, kind, detail)
        if kind == "host-ended" and loop is None:
            ended.append(instrument)
            if ended.count(instrument) > 1 and not stillborn.done():
                stillborn.set_exception(LabNeedsPerson(f"{instrument} does not start: {detail}"))
        if kind in ("refused", "garbage", "door", "orphan"):
            post(ev.DoorRefused(instrument=instrument, reason=f"{kind}: {detail}"[:500]))

    def on_stop(by: str, reason: str, table: StopTable | None) -> None:
        """The instruments have been told already; now the journal."""
        nonlocal state
        event: ev.Event = ev.StopLatched(by=by, reason=reason)
        if table is not None:
            event = ev.StopAcknowledged(acknowledged_ms={**dict.fromkeys(campaign.lab.instruments), **table})
        if loop is not None and not loop_over:
            loop.post(event)
            return
        try:
            journal.stage([event])
            journal.commit()
        except StorageError as error:
            log.error("the emergency stop is not in the journal: %s", error)
        state = evolve(loop.state if loop is not None else state, event)

    own_science = science is None
    if science is None:
        crew = make_crew(campaign)
        science = Pipeline(
            science_spec(campaign, base_dir), crew, on_restart=lambda why: post(ev.ComputeRestarted(reason=why))
        )
    lab = _make_lab(directory, campaign, base_dir, epoch, on_lab_event, on_stop)
    supervisor: asyncio.Task[None] | None = None
    people: asyncio.Task[None] | None = None
    finished = False
    try:
        await lab.dispatcher.start()
        lab.hosts.start()
        supervisor = asyncio.create_task(_supervise(lab, lambda: loop is not None))
        starting = [lab.dispatcher.wait_for(list(campaign.lab.instruments), campaign.lab.timeout_s)]
        if own_science:
            # The lab and the science take their time to start; let them do it side by side.
            starting.append(science.warm_up())
        await _unless(stillborn, asyncio.gather(*starting))
        _check_lab(campaign, lab)
        if state.resetting is not None and state.latched is None:
            early.append(await _reset_instruments(lab, state.resetting))
        await _stop_if_latched(lab)
        patient = campaign.lab.clock == "wall"
        loop = Loop(state, journal, science, lab.dispatcher, watch=lambda s: watch(s, lab), patient=patient)
        loop.append([*early, *_announcements(state, lab)])
        if unknown := unknown_names(campaign.safety, loop.state.offers()):
            raise CampaignError(f"safety: no instrument offers what {', '.join(unknown)} names; correct the name.")
        people = asyncio.create_task(_hear_people(loop, Mailbox(directory)))
        _listen_for_signals(loop, lab)
        await loop.run()
        finished = True
        return loop.state, loop.overhead
    finally:
        loop_over = True
        for task in filter(None, (supervisor, people)):
            task.cancel()
        await lab.dispatcher.close(release=True)
        await asyncio.to_thread(lab.hosts.terminate, grace_s=0.0 if finished else 10.0)
        if own_science:
            await science.close()
        log.info("controller ends, campaign %s", "finished" if finished else "not finished")


def _make_lab(
    directory: RunDirectory,
    campaign: Campaign,
    base_dir: Path,
    epoch: int,
    on_event: Callable[[str, str, str], None],
    on_stop: OnStop,
) -> Lab:
    keys = _make_keys(directory, campaign)
    endpoint_file = directory.lab / "endpoint.json"
    specs = [
        HostSpec(name, instrument.driver, host_settings(campaign, name, base_dir, directory))
        for name, instrument in campaign.lab.instruments.items()
    ]
    hosts = LocalHosts(directory.lab, specs, keys=keys, endpoint_file=endpoint_file, on_event=on_event)
    dispatcher = Dispatcher(
        keys=keys,
        epoch=epoch,
        endpoint_file=endpoint_file,
        loss_timeout_s=campaign.lab.timeout_s,
        on_event=on_event,
        on_stop=on_stop,
    )
    return Lab(hosts, dispatcher)


def _make_keys(directory: RunDirectory, campaign: Campaign) -> Path:
    """The run's keys, made where they are missing: the controller's, the hosts', and the operator's for a stop."""
    keys = directory.lab / "keys"
    create_lab_keys(keys, list(campaign.lab.instruments), operators=[OPERATOR])
    return keys


def host_settings(campaign: Campaign, name: str, base_dir: Path, directory: RunDirectory) -> dict[str, Any]:
    """The settings that a driver is given: the file's own, with paths resolved and the obvious filled in."""
    instrument = campaign.lab.instruments[name]
    settings = dict(instrument.settings)
    if instrument.driver.startswith("simulated."):
        settings.setdefault("world", str((directory.lab / "world").resolve()))
    if instrument.driver == "table" and isinstance(campaign.space, TableSpec):
        settings.setdefault("file", campaign.space.file)
        settings.setdefault("quantities", list(measured_names(campaign)))
        if isinstance(campaign.space.parameters, list):
            columns = [*campaign.space.parameters, *filter(None, [campaign.space.composition])]
            settings.setdefault("parameters", list(dict.fromkeys(columns)))
    if "file" in settings:
        settings["file"] = str(expand_path(settings["file"], base_dir).resolve())
    if instrument.driver == "function":
        settings.setdefault("quantities", list(measured_names(campaign)))
    if instrument.driver == "function" and ":" in str(settings.get("function", "")):
        where, _, attribute = settings["function"].rpartition(":")
        if where.endswith(".py"):
            settings["function"] = f"{expand_path(where, base_dir).resolve()}:{attribute}"
    return settings


def _announcements(state: State, lab: Lab) -> list[ev.Event]:
    """What instruments offer, as events, where it is new."""
    events: list[ev.Event] = []
    for name, info in sorted(lab.instruments.items()):
        offers = tuple(
            Offer(
                capability=c.name,
                idempotent=c.idempotent,
                batch=c.batch,
                programme=c.programme,
                limits={key: _bounds(limit) for key, limit in c.limits.items()},
                quantities={key: _bounds(limit) for key, limit in c.quantities.items()},
            )
            for c in sorted(info.capabilities.values(), key=lambda c: c.name)
        )
        known = state.instruments.get(name)
        if known is None or tuple(known.offers.values()) != offers:
            events.append(ev.InstrumentAnnounced(instrument=name, driver=info.driver, offers=offers))
    return events


def _bounds(limit: Any) -> tuple[float | None, float | None]:
    low = limit.low if limit.low > float("-inf") else None
    return low, (limit.high if limit.high < float("inf") else None)


async def _reset_instruments(lab: Lab, reset: ev.StopReset) -> ev.InstrumentsReset:
    """Tell the instruments that are still latched what a person has said."""
    latched = sorted(name for name, info in lab.instruments.items() if info.stopped)
    for name in latched:
        await lab.dispatcher.reset(name, who=reset.by[:200], reason=reset.reason, timeout_s=30.0)
    return ev.InstrumentsReset(instruments=tuple(latched))


async def _unless(trouble: asyncio.Future[None], work: asyncio.Future[Any]) -> None:
    """Wait for the work; where the trouble comes first, give up and raise it."""
    await asyncio.wait({trouble, work}, return_when=asyncio.FIRST_COMPLETED)
    if trouble.done():
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        trouble.result()
    trouble.cancel()
    await work


def _check_lab(campaign: Campaign, lab: Lab) -> None:
    """A quantity that no instrument reports would cost the whole budget: say so before the first command."""
    if campaign.lab.scheduler == "optimal" and not solver_version():
        raise CampaignError(f"lab.scheduler: optimal. {NOT_INSTALLED}; or say auto or plain.")
    capabilities = [c for info in lab.instruments.values() for c in info.capabilities.values()]
    if not all(c.quantities for c in capabilities):
        return  # somebody does not say what it reports
    offered = sorted({name for c in capabilities for name in c.quantities})
    for name in measured_names(campaign):
        if name not in offered and name not in derived_names():
            near = difflib.get_close_matches(name, offered, n=1)
            fix = f"Did you mean {near[0]!r}?" if near else f"They report: {', '.join(offered)}."
            raise CampaignError(f"{campaign.name}: no instrument reports {name!r}. {fix}")


async def _supervise(lab: Lab, ready: Callable[[], bool]) -> None:
    """Keep the hosts alive, and notice a stop that is not our doing."""
    while True:
        await asyncio.sleep(0.25)
        lab.hosts.supervise()
        if ready():
            await _stop_if_latched(lab)


async def _hear_people(loop: Loop, mailbox: Mailbox) -> None:
    """Hand approvals to the loop."""
    while True:
        if events := mailbox.read(loop.state, log.warning):
            loop.post(*events)
        await asyncio.sleep(0.5)


async def _stop_if_latched(lab: Lab) -> None:
    """One instrument that is latched in a stop of which the journal does not know stops the whole lab."""
    latched = [name for name, info in lab.instruments.items() if info.stopped]
    if latched and not lab.dispatcher.stopping:
        await lab.dispatcher.stop_all("its host says that an emergency stop is latched", by=latched[0])


def _listen_for_signals(loop: Loop, lab: Lab) -> None:
    """First Ctrl-C or SIGTERM: an orderly stop. Ctrl-C again: stop every instrument now, and latch it."""
    stops: list[asyncio.Task[Any]] = []
    pressed = 0

    def on_signal(name: str) -> None:
        nonlocal pressed
        pressed += 1
        if pressed == 1:
            loop.post(ev.StopRequested(by=name))
        elif name == "SIGINT":  # a service manager may send SIGTERM as often as it likes
            stops.append(asyncio.create_task(lab.dispatcher.stop_all("Ctrl-C twice", by=name)))

    running = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            running.add_signal_handler(number, on_signal, signal.Signals(number).name)
        except (NotImplementedError, RuntimeError, ValueError):
            log.warning("signals cannot be caught here; use `athanor status` and kill the process")


def _data_hashes(campaign: Campaign, base_dir: Path) -> dict[str, str]:
    """SHA-256 of every file that the campaign reads."""
    files: list[str] = []
    if isinstance(campaign.space, TableSpec):
        files.append(campaign.space.file)
    files += [i.settings["file"] for i in campaign.lab.instruments.values() if "file" in i.settings]
    return {name: hashlib.sha256(expand_path(name, base_dir).read_bytes()).hexdigest() for name in dict.fromkeys(files)}


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
