"""The laboratory as a choice sees it."""

from __future__ import annotations

from controller.durations import expected_s
from controller.records import InstrumentState, State
from models.outlook import Bench, Outlook


def outlook(state: State) -> Outlook | None:
    """Which instruments are free when, and what is left; ``None`` where the acquisition does not ask.

    Expectations come from what has ended, never from reports that are still to be judged: in simulated time these
    arrive in any order.
    """
    campaign = state.require()
    if not campaign.acquisition.settings.get("effort"):
        return None
    budget = campaign.budget
    shares = [1 - len(state.experiments) / budget.experiments]
    hours_left = None
    if budget.hours is not None:
        hours_left = max(0.0, budget.hours - state.now_s / 3600)
        shares.append(hours_left / budget.hours)
    benches = {
        name: Bench(capabilities=tuple(sorted(one.offers)), free_in_h=round(_free_in_s(state, one) / 3600, 6))
        for name, one in sorted(state.instruments.items())
        if one.in_service
    }
    return Outlook(instruments=benches, budget_left=round(min(max(min(shares), 0.0), 1.0), 9), hours_left=hours_left)


def _free_in_s(state: State, instrument: InstrumentState) -> float:
    """Until what it does has ended, and its share of the samples that have begun and wait for what it can do."""
    ends_s = [0.0]
    for name in instrument.running:
        order = state.commands[name].order
        step = state.experiments[order.experiment].next_step
        if step is not None:
            ends_s.append(order.start_s + expected_s(state, step) - state.now_s)
    waiting_s = 0.0
    for one in state.active.values():
        step = one.next_step
        if step is not None and one.records and not one.command_id and step.capability in instrument.offers:
            able = sum(step.capability in other.offers for other in state.instruments.values() if other.in_service)
            waiting_s += expected_s(state, step) / max(1, able)
    return max(ends_s) + waiting_s


def hours_taken(state: State, experiment: str) -> dict[str, float]:
    """Capability -> lab hours of the steps that an experiment has had."""
    one, found = state.experiments[experiment], dict[str, float]()
    steps = one.recipe.steps if one.recipe else ()
    for record in one.records:
        capability = steps[record.step].capability
        found[capability] = found.get(capability, 0.0) + (record.finish_s - record.start_s) / 3600
    return {name: round(hours, 9) for name, hours in found.items()}
