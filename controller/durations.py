"""How long a step is expected to take: what steps of its kind took, else what its parameters say, else a guess."""

from __future__ import annotations

from statistics import median

from actors.orders import Step
from controller.records import State
from controller.safety import stated_hours

REMEMBERED = 15
GUESS_S = 1800.0
"""For a step that nobody has seen and whose parameters do not say."""


def kind_of(state: State, step: Step) -> str:
    """The kind of a step: its capability and its programme, or else the hours that its parameters state."""
    offer = state.filing.offered.get(step.capability)
    programme = offer.programme if offer is not None else ()
    values = [step.parameters.get(name) for name in programme] if programme else [stated_hours(step)]
    return f"{step.capability} {values}"


def expected_s(state: State, step: Step) -> float:
    """Seconds that a step is expected to take."""
    seen = state.durations_s.get(kind_of(state, step))
    if seen:
        return median(seen)
    return 3600 * stated_hours(step) or GUESS_S


def note_duration(state: State, step: Step, seconds: float) -> None:
    """Learn from a step that went well; for ``controller.fold``."""
    seen = state.durations_s.setdefault(kind_of(state, step), [])
    seen.append(seconds)
    del seen[:-REMEMBERED]
