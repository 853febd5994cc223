"""The planner's actor: from a candidate to a recipe that this lab can carry out."""

from __future__ import annotations

from actors.orders import Offer, Recipe, compile_recipe
from actors.spec import ScienceSpec
from models.candidate import Candidate
from models.synthesis.trial import Trial


class PlannerRole:
    """Plans routes and compiles the best feasible one."""

    def __init__(self, spec: ScienceSpec) -> None:
        self._planners = spec.build_planners()

    def plan(self, candidate: Candidate, offers: tuple[Offer, ...], trials: tuple[Trial, ...] = ()) -> Recipe:
        """Return the recipe; without steps where the lab cannot carry out any route, with the reason."""
        planner = self._planners[candidate.fidelity]
        if hasattr(planner, "learn"):
            planner.learn(trials)
        return compile_recipe(planner.plan(candidate), offers)
