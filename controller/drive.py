"""One controller's time at a run: lab, science and loop around one journal, and taking it all apart again."""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from actors.pipeline import Pipeline
from controller import events as ev
from controller.approval import Mailbox
from controller.errors import LabNeedsPerson, LabTaken, StorageError
from controller.hold import Hold
from controller.journal import Journal
from controller.labdir import LabDirectory
from controller.locks import Holder, in_words
from controller.loop import Loop, Overhead
from controller.rundir import RunDirectory
from controller.science import make_crew, science_spec
from controller.snapshot import Snapshots
from controller.state import State, evolve
from controller.stopper import StopTable

log = logging.getLogger(__name__)

Watch = Callable[[State, "Hold | None"], None]


class Drive:
    """Carries a run on from where it is.

    Args:
        directory: the run, held.
        journal: its journal, which has one writer.
        state: the fold of the journal.
        lab: the lab's directory, held.
        mine: who we are and our epoch, as the lease says.
        watch: called after every turn of the loop.
        science: instead of the campaign's own (tests).
    """

    def __init__(
        self,
        directory: RunDirectory,
        journal: Journal,
        state: State,
        lab: LabDirectory,
        mine: Holder,
        watch: Watch,
        science: Any = None,
    ) -> None:
        self._directory, self._journal, self._state, self._lab = directory, journal, state, lab
        self._mine, self._watch, self._science = mine, watch, science
        self._loop: Loop | None = None
        self._loop_is_over = False
        self._early: list[ev.Event] = []
        self._ended: list[str] = []
        self._fenced = False
        self._trouble: asyncio.Future[None]

    async def run(self) -> tuple[State, Overhead]:
        """Run to the end of the campaign. Raises AthanorError, and what the lab or the science raise."""
        campaign = self._state.require()
        started = self._state.started
        base_dir = Path(started.base_dir) if started else Path()
        lab_dir = Path(started.lab_file).parent if started and started.lab_file else base_dir
        self._trouble = asyncio.get_running_loop().create_future()
        away_s = self._journal.silence_s() if campaign.lab.clock == "wall" and self._state.epoch else 0.0
        epoch = self._mine["epoch"]
        self._write(ev.ControllerStarted(epoch=epoch, pid=os.getpid(), host=platform.node(), away_s=away_s))
        own_science = self._science is None
        science = self._science
        if science is None:
            science = Pipeline(
                science_spec(campaign, base_dir, self._directory.path.resolve()),
                make_crew(campaign),
                on_restart=lambda why: self._post(ev.ComputeRestarted(reason=why)),
            )
        hold = Hold(
            self._lab,
            campaign,
            base_dir,
            lab_dir,
            self._mine,
            on_event=self._on_lab_event,
            on_stop=self._on_stop,
        )
        helpers: list[asyncio.Task[None]] = []
        finished = False
        try:
            await hold.start()
            helpers.append(asyncio.create_task(self._keep_snapshots()))
            helpers.append(asyncio.create_task(hold.supervise(lambda: self._loop is not None, self._look_at_the_lease)))
            starting = [hold.connected()]
            if own_science:
                # The lab and the science take their time to start; let them do it side by side.
                starting.append(science.warm_up())
            await self._unless_trouble(asyncio.gather(*starting))
            hold.check()
            await self._tell_of_a_reset(hold)
            await hold.stop_if_latched()
            patient = campaign.lab.clock == "wall"
            loop = Loop(
                self._state,
                self._journal,
                science,
                hold.dispatcher,
                watch=lambda state: self._watch(state, hold),
                patient=patient,
            )
            self._loop = loop
            loop.append([*self._early, *hold.announcements(self._state)])
            helpers.append(asyncio.create_task(hear_people(loop, Mailbox(self._directory))))
            _listen_for_signals(loop, hold)
            await loop.run()
            finished = True
            return loop.state, loop.overhead
        finally:
            self._loop_is_over = True
            for task in helpers:
                task.cancel()
            await hold.close(finished=finished, fenced=self._fenced)
            if own_science:
                await science.close()
            log.info("controller ends, campaign %s", "finished" if finished else "not finished")

    async def _keep_snapshots(self) -> None:
        snapshots = Snapshots(self._directory.path, self._journal)
        try:
            while True:
                await asyncio.sleep(5.0)
                snapshots.look()
        finally:
            snapshots.close()

    def _write(self, event: ev.Event) -> None:
        self._journal.stage([event])
        self._journal.commit()
        self._state = evolve(self._loop.state if self._loop else self._state, event)

    def _post(self, event: ev.Event) -> None:
        """Events may come before the loop is there: hosts connect while the science starts."""
        if self._loop is None:
            self._early.append(event)
        else:
            self._loop.post(event)

    def _fail(self, error: Exception) -> None:
        """End, whatever the loop is doing; once the loop is over there is nothing to end."""
        if self._loop is not None:
            self._loop.fail(error)
        elif not self._trouble.done():
            self._trouble.set_exception(error)

    async def _unless_trouble(self, work: asyncio.Future[Any]) -> None:
        """Wait for the work; where trouble comes first, give up and raise it."""
        await asyncio.wait({self._trouble, work}, return_when=asyncio.FIRST_COMPLETED)
        if self._trouble.done():
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            self._trouble.result()
        await work

    def _on_lab_event(self, kind: str, instrument: str, detail: str) -> None:
        log.info("%s: %s %s", instrument, kind, detail)
        if kind == "host-ended" and self._loop is None:
            self._ended.append(instrument)
            if self._ended.count(instrument) > 1:
                self._fail(LabNeedsPerson(f"{instrument} does not start: {detail}"))
        if kind == "fenced":
            self._lab_is_taken(detail)
        if kind in ("refused", "garbage", "door", "orphan"):
            self._post(ev.DoorRefused(instrument=instrument, reason=f"{kind}: {detail}"[:500]))

    def _look_at_the_lease(self) -> None:
        """A controller on another machine, or one that has taken the lab by force, shows in the lease first."""
        last = self._lab.last_holder()
        if last is not None and int(last.get("epoch", 0)) > self._mine["epoch"]:
            self._lab_is_taken(in_words(last))

    def _lab_is_taken(self, by: str) -> None:
        if not self._fenced:
            self._fenced = True
            last = self._lab.last_holder() or {}
            who = in_words(last) if int(last.get("epoch", 0)) > self._mine["epoch"] else by
            self._fail(
                LabTaken(
                    f"{self._lab.path}: another controller has taken the lab ({who}); ours had epoch "
                    f"{self._mine['epoch']}. Every instrument refuses our commands from now on; what was under way is "
                    f"safe in its ledger. `athanor resume {self._directory.path}` goes on when the lab is free."
                )
            )

    def _on_stop(self, by: str, reason: str, table: StopTable | None) -> None:
        """The instruments have been told already; now the lab and the journal."""
        event: ev.Event
        if table is None:
            event = ev.StopLatched(by=by, reason=reason)
            try:
                self._lab.latch(by, reason)
            except OSError as error:
                log.error("the emergency stop is not latched in the lab's directory: %s", error)
        else:
            names = self._state.require().lab.instruments
            event = ev.StopAcknowledged(acknowledged_ms={**dict.fromkeys(names), **table})
        if self._loop is not None and not self._loop_is_over:
            self._loop.post(event)
            return
        try:
            self._write(event)
        except StorageError as error:
            log.error("the emergency stop is not in the journal: %s", error)

    async def _tell_of_a_reset(self, hold: Hold) -> None:
        """Tell the instruments of a reset that a person has given, in this run or for the lab."""
        stop, resetting = self._lab.stop(), self._state.resetting
        if self._state.latched is not None:
            return
        if stop is not None and stop.reset_by:
            told = await hold.reset(stop.reset_by, stop.reset_reason)
            self._lab.unlatch()
        elif resetting is not None:
            told = await hold.reset(resetting.by, resetting.reason)
        else:
            return
        if resetting is not None:
            self._early.append(ev.InstrumentsReset(instruments=told))


async def hear_people(loop: Loop, mailbox: Mailbox) -> None:
    """Hand what people leave to the loop, for ever."""
    while True:
        if events := mailbox.read(loop.state, log.warning):
            loop.post(*events)
        await asyncio.sleep(0.5)


def _listen_for_signals(loop: Loop, hold: Hold) -> None:
    """First Ctrl-C or SIGTERM: an orderly stop. Ctrl-C again: stop every instrument now, and latch it."""
    stops: list[asyncio.Task[Any]] = []
    pressed = 0

    def on_signal(name: str) -> None:
        nonlocal pressed
        pressed += 1
        if pressed == 1:
            loop.post(ev.StopRequested(by=name))
        elif name == "SIGINT":  # a service manager may send SIGTERM as often as it likes
            stops.append(asyncio.create_task(hold.dispatcher.stop_all("Ctrl-C twice", by=name)))

    running = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            running.add_signal_handler(number, on_signal, signal.Signals(number).name)
        except (NotImplementedError, RuntimeError, ValueError):
            log.warning("signals cannot be caught here; use `athanor status` and kill the process")
