"""The live view of a terminal: one screen, from 80 x 24 upwards."""

from __future__ import annotations

import itertools
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from actors.orders import StageReport
from controller.rundir import RunDirectory
from controller.state import State
from controller.view_lines import LogLines
from controller.view_progress import OUTCOMES, Result, clean, counted, duration, label, number
from controller.view_summary import activity, leaders, spread
from models.observation import Objective, Observation

if TYPE_CHECKING:
    from controller.hold import Hold
    from controller.loop import Overhead

FRAMES_PER_S = 6
SPARKS = "▁▂▃▄▅▆▇█"
TITLE, DIM, GOOD, BAD, NUMBER = "bold cyan", "dim", "green", "red", "bold"


@dataclass(frozen=True)
class InstrumentLine:
    """What one instrument does, for the screen."""

    name: str
    doing: str
    since: float
    share: float
    faults: int
    trouble: str


@dataclass(frozen=True)
class Snapshot:
    """Everything that a frame shows, copied from the state: frames are drawn by another thread than the loop's."""

    taken_at: float
    budget: int
    finished: int
    counts: tuple[tuple[str, int], ...]
    infeasible: int
    waiting: int
    lab_s: float
    stages: tuple[StageReport, ...]
    choosing: int
    choose_s: float
    stopping: str
    unknown: int
    instruments: tuple[InstrumentLine, ...]
    objectives: tuple[Objective, ...]
    leaders: tuple[Observation, ...]
    front_size: int
    last: tuple[Result, ...]
    trend: tuple[float, ...]
    left_s: float | None


class LiveView(LogLines):
    """A full-screen display, redrawn a few times a second; what it leaves behind is the closing summary."""

    def __init__(self, directory: RunDirectory, console: Console | None = None) -> None:
        super().__init__(directory)
        self.console = console or Console(highlight=False)
        self._name, self._note = "", ""
        self._snapshot: Snapshot | None = None
        self._last: deque[Result] = deque(maxlen=40)
        self._ends: deque[float] = deque(maxlen=30)
        self._trend: list[float] = []
        self._seen_since: dict[str, tuple[str, float]] = {}
        self._live = Live(
            console=self.console,
            screen=True,
            refresh_per_second=FRAMES_PER_S,
            get_renderable=self.frame,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        """Take the screen."""
        super().__enter__()
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the screen back, whatever happened."""
        self._live.stop()
        super().__exit__(kind, error, trace)

    def started(self, state: State, known: int) -> None:
        """Keep what the header needs."""
        if state.campaign is not None:
            self._name = state.campaign.name

    def note(self, text: str) -> None:
        """Shown in the last line of the screen."""
        self._note = text

    def result(self, state: State, result: Result) -> None:
        """Keep the result for the screen."""
        self._last.appendleft(result)
        self._ends.append(time.monotonic())
        if result.best is not None:
            self._trend.append(result.best.values[state.require().objectives[0].name])

    def update(self, state: State, lab: Hold | None) -> None:
        """Copy what the next frames show."""
        super().update(state, lab)
        self._snapshot = self._copy(state, lab)

    def failed(self, error: BaseException) -> None:
        """Leave the screen and say what is safe."""
        self._live.stop()
        super().failed(error)

    def done(self, state: State, overhead: Overhead, report: Path | None) -> None:
        """Leave the screen and sum up."""
        self._live.stop()
        super().done(state, overhead, report)

    def frame(self) -> Text:
        """The screen as it should look now."""
        width, height = self.console.size
        now = time.monotonic()
        where = str(self.directory.path)
        return compose(self._name, where, self._snapshot, now, now - self.begun, width, height, self._note)

    def _copy(self, state: State, lab: Hold | None) -> Snapshot:
        campaign, progress, now = state.require(), self.progress, time.monotonic()
        shown = leaders(campaign.objectives, progress, 20)
        return Snapshot(
            taken_at=now,
            budget=campaign.budget.experiments,
            finished=progress.seen,
            counts=tuple(progress.counts.items()),
            infeasible=progress.infeasible,
            waiting=sum(experiment.waiting_to_start for experiment in state.active.values()),
            lab_s=state.now_s,
            stages=state.stages,
            choosing=state.choosing.q if state.choosing else 0,
            choose_s=state.choose_seconds[-1] if state.choose_seconds else 0.0,
            stopping=state.stopping,
            unknown=len(state.unknown()),
            instruments=tuple(self._instrument(state, lab, name, now) for name in sorted(state.instruments)),
            objectives=campaign.objectives,
            leaders=tuple(shown),
            front_size=len(progress.front),
            last=tuple(self._last),
            trend=tuple(self._trend[-400:]),
            left_s=self._time_left(campaign.budget.experiments - progress.seen),
        )

    def _instrument(self, state: State, lab: Hold | None, name: str, now: float) -> InstrumentLine:
        instrument = state.instruments[name]
        doing, _ = activity(state, name)
        before = self._seen_since.get(name)
        if before is None or before[0] != doing:
            before = self._seen_since[name] = (doing, now)
        info = lab.instruments.get(name) if lab is not None else None
        trouble = instrument.retired or instrument.absent
        trouble = f"out of service: {trouble}" if trouble else ""
        if info is not None and not trouble:
            trouble = "stopped" if info.stopped else ("" if info.connected else "not connected")
        share = instrument.busy_s / state.now_s if state.now_s else 0.0
        return InstrumentLine(name, doing, before[1], share, instrument.faults, trouble)

    def _time_left(self, experiments: int) -> float | None:
        """From the pace of the last results; nothing where there are too few to tell."""
        if len(self._ends) < 4 or experiments <= 0:
            return None
        return experiments * (time.monotonic() - self._ends[0]) / (len(self._ends) - 1)


def compose(
    name: str, where: str, shot: Snapshot | None, now: float, wall_s: float, width: int, height: int, note: str = ""
) -> Text:
    """Lay out one frame: the fixed parts first, then as many best and last results as there are lines."""
    lines = _header(name, where, shot, now, wall_s, width)
    if shot is None:
        lines += [Text(), Text("   starting the instruments and the science", style=DIM)]
        return _fit(lines, _footer(None, note), width, height)
    gap = [Text()] if height >= 30 else []
    lines += [*gap, *_stages(shot, width), *gap, *_instruments(shot, now, width), *gap, _samples(shot), *gap]
    free = height - 1 - len(lines)
    wanted = max(1, len(shot.leaders))
    lines += _leaders(shot, min(wanted, max(1, free // 2 - 1 if shot.last else free - 1)), width) + gap
    free = height - 1 - len(lines)
    if free >= 2 and shot.last:
        lines += _last(shot, free - 1, width)
    return _fit(lines, _footer(shot, note), width, height)


def _fit(lines: list[Text], foot: Text, width: int, height: int) -> Text:
    body = lines[: max(0, height - 1)]
    body += [Text()] * (height - 1 - len(body))
    for line in (cut := [*body, foot]):
        if line.cell_len > width:
            line.truncate(width, overflow="ellipsis")
    return Text("\n").join(cut)


def _header(name: str, where: str, shot: Snapshot | None, now: float, wall_s: float, width: int) -> list[Text]:
    title = Text.assemble((" athanor ", "bold reverse cyan"), (f" {clean(name)}  ", "bold"))
    room = max(0, width - title.cell_len - 1)
    title.append(_shorten(clean(where), room).rjust(room), style=DIM)
    if shot is None:
        return [title, Text(f" wall {duration(wall_s)}", style=DIM)]
    left = "" if shot.left_s is None else f"  about {duration(max(0.0, shot.left_s - (now - shot.taken_at)))} left"
    facts = f" {shot.finished}/{shot.budget}  lab {duration(shot.lab_s)}  wall {duration(wall_s)}{left}"
    bar = max(10, width - len(facts) - 2)
    full = min(bar, round(bar * shot.finished / max(1, shot.budget)))
    return [title, Text.assemble(" ", ("━" * full, "cyan"), ("─" * (bar - full), DIM), facts)]


def _shorten(text: str, room: int) -> str:
    """The end of a path says more than its beginning."""
    return text if len(text) <= room else "…" + text[len(text) - room + 1 :] if room > 1 else ""


def _title(text: str, width: int, right: str = "") -> Text:
    rest = max(1, width - len(text) - len(right) - (5 if right else 4))
    return Text.assemble((f" {text} ", TITLE), ("─" * rest, DIM), (f" {right}" if right else "", DIM))


def _stages(shot: Snapshot, width: int) -> list[Text]:
    told = f"choosing {shot.choosing} more" if shot.choosing else ""
    told = told or (f"last choice took {shot.choose_s:.1f} s" if shot.stages else "")
    lines = [_title("Science", width, told)]
    if not shot.stages:
        return [*lines, Text("   making and screening the first candidates", style=DIM)]
    for stage in shot.stages:
        rate = f"{stage.taken / stage.seconds:>11,.0f} /s" if stage.seconds > 0 else ""
        line = Text.assemble(f"   {clean(stage.stage):<14.14}", f"{stage.taken:>12,}", (" → ", DIM))
        line.append(f"{stage.passed:<12,}", style=NUMBER)
        line.append(f"{stage.seconds:>8.2f} s{rate}" if stage.seconds else "", style=DIM)
        missed = stage.detail.get("false_negative_rate")
        lines.append(line.append(f" misses {missed:.0%}" if missed is not None else "", style=DIM))
    return lines


def _instruments(shot: Snapshot, now: float, width: int) -> list[Text]:
    lines = [_title("Instruments", width, "busy")]
    names = min(20, max((len(i.name) for i in shot.instruments), default=0))
    for i in shot.instruments:
        mark, style = ("✕", BAD) if i.trouble else (("●", GOOD) if i.doing else ("○", DIM))
        tail = (f"  {i.faults} faults" if i.faults else "") + f"{i.share:>6.0%} "
        line = Text.assemble((f" {mark} ", style), f"{clean(i.name):<{names}.{names}}  ")
        room = max(0, width - line.cell_len - len(tail))
        style = BAD if i.trouble else ("" if i.doing else DIM)
        what = Text(clean(i.trouble or i.doing or "idle"), style=style)
        if i.doing:
            what.append(f"  {duration(now - i.since)}", style=DIM)
        what.truncate(room, overflow="ellipsis", pad=True)
        lines.append(line.append_text(what).append(tail, style=BAD if i.faults else DIM))
    return lines


def _samples(shot: Snapshot) -> Text:
    line = Text.assemble((" Samples ", TITLE))
    for outcome, count in shot.counts:
        style = "" if outcome == "measured" else (BAD if count and outcome == "failed_measurement" else DIM)
        line.append(f" {counted(outcome, count)} ", style=style)
    line.append(f" {shot.waiting} waiting", style=DIM)
    return line.append(f"  {shot.unknown} outcome unknown", style=BAD) if shot.unknown else line


def _columns(shot: Snapshot, width: int) -> list[tuple[Objective, int]]:
    """The objectives that fit beside the candidate's name, each with the width of its column."""
    left, columns = width - 34, []
    for objective in shot.objectives:
        wide = min(30, max(9, len(objective.name) + 2))
        if wide > left:
            break
        columns.append((objective, wide))
        left -= wide
    return columns


def _leaders(shot: Snapshot, rows: int, width: int) -> list[Text]:
    several = len(shot.objectives) > 1
    columns = _columns(shot, width)
    heads = "".join(f"{'↑' if o.sign > 0 else '↓'} {o.name:.28}".rjust(wide) for o, wide in columns)
    lines = [_title(f"Pareto front, {shot.front_size}" if several else "Best so far", width, heads.strip())]
    if not shot.leaders:
        return [*lines, Text("   nothing feasible yet", style=DIM)]
    chosen = spread(shot.leaders, rows) if several else shot.leaders[:rows]
    return [*lines, *(_row(o, "", True, columns, width) for o in chosen)]


def _last(shot: Snapshot, rows: int, width: int) -> list[Text]:
    columns, chosen = _columns(shot, width), itertools.islice(shot.last, rows)
    lines = [_title("Last results", width, _spark(shot, 24))]
    return lines + [_row(r.observation, r.reason, r.feasible, columns, width) for r in chosen]


def _row(
    observation: Observation, reason: str, feasible: bool, columns: list[tuple[Objective, int]], width: int
) -> Text:
    line = Text.assemble((f"   {observation.experiment} ", DIM), label(observation.candidate))
    room = width - 1 - sum(wide for _, wide in columns)
    if observation.outcome != "measured":
        line.truncate(min(room, 34), overflow="ellipsis", pad=True)
        return line.append(f" {OUTCOMES[observation.outcome]} ", style=BAD).append(clean(reason), style=DIM)
    line.append(f"  {clean(reason)}" if reason else "", style="yellow").truncate(room, overflow="ellipsis", pad=True)
    for objective, wide in columns:
        value = observation.values.get(objective.name)
        line.append(("-" if value is None else number(value)).rjust(wide), style=NUMBER if feasible else DIM)
    return line


def _spark(shot: Snapshot, width: int) -> str:
    """Best so far, experiment by experiment, as a row of bars."""
    values = [shot.objectives[0].sign * value for value in shot.trend]
    if len(values) < 2 or values[-1] <= values[0]:
        return ""
    picked = [values[round(i * (len(values) - 1) / (width - 1))] for i in range(width)]
    low, high = picked[0], picked[-1]
    return "best " + "".join(SPARKS[round((v - low) / (high - low) * (len(SPARKS) - 1))] for v in picked)


def _footer(shot: Snapshot | None, note: str) -> Text:
    if note:
        return Text(f" {clean(note)}", style="yellow")
    if shot is not None and shot.stopping:
        told = f" stopping ({clean(shot.stopping)}): steps under way end first; Ctrl-C again stops all now"
        return Text(told, style="yellow")
    return Text(" Ctrl-C stops in order, twice stops every instrument at once", style=DIM)
