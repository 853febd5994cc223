"""What every actor needs to build its role: the scientific part of a campaign, as plain data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from models.fidelity import Fidelity
from models.observation import Constraint, Objective
from models.registry import resolve
from models.retraining import Retraining
from models.screening import ScreeningSpec
from models.spaces import Space, build_space
from models.spaces.spec import SpaceSpec


class Component(BaseModel):
    """A plug-in by name, with its keyword settings."""

    model_config = ConfigDict(frozen=True)

    name: str
    settings: dict[str, Any] = Field(default_factory=dict)

    def build(self, group: str, **given: Any) -> Any:
        """Make it. Raises UnknownNameError where no plug-in has the name, TypeError where a setting is unknown."""
        return resolve(group, self.name)(**given, **self.settings)


def _planner(fidelity: Fidelity) -> Component:
    given: dict[str, Any] = dict(fidelity.planner or {"name": "direct", "capability": fidelity.name})
    name = str(given.pop("name", "direct"))
    if name == "direct":
        given.setdefault("quantities", [fidelity.reading])
    return Component(name=name, settings=given)


class StageSpec(BaseModel):
    """Resources of one stage: what Ray reserves and how many threads its libraries may use."""

    model_config = ConfigDict(frozen=True)

    cpus: float = 0.25
    gpus: float = 0.0
    threads: int = 1


class ScienceSpec(BaseModel):
    """The scientific part of a campaign.

    Attributes:
        base_dir: where relative paths of the space start.
        pool_size: how many candidates a continuous space proposes for each decision.
        looks_ahead: say with each choice what there is to gain (``models.acquisition.look_ahead``).
        measure_at_most: how often one candidate may be measured; 1: never repeat.
        fidelities: cheaper ways to learn about an objective, each with a planner.
        trainer: retrains the predictor beside the campaign.
        versions_dir: where versions of the predictor are kept, on a machine that has it; empty: nowhere.
    """

    model_config = ConfigDict(frozen=True)

    seed: int
    space: SpaceSpec
    base_dir: str
    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...] = ()
    screening: ScreeningSpec = Field(default_factory=ScreeningSpec)
    generator: Component | None = None
    predictor: Component | None = None
    acquisition: Component = Component(name="pareto")
    planner: Component = Component(name="direct")
    pool_size: int = 4096
    looks_ahead: bool = False
    measure_at_most: int = 1
    fidelities: tuple[Fidelity, ...] = ()
    trainer: Retraining | None = None
    versions_dir: str = ""
    stages: dict[str, StageSpec] = Field(default_factory=dict)

    def build_space(self) -> Space:
        """Make the design space. Raises ModelError subclasses that name the field to change."""
        names = tuple(dict.fromkeys([o.name for o in self.objectives] + [c.name for c in self.constraints]))
        return build_space(self.space, Path(self.base_dir), names)

    def build_acquisition(self) -> Any:
        """Make the acquisition. Raises what its settings make it raise, as ``Component.build`` does."""
        given: dict[str, Any] = {"objectives": list(self.objectives), "constraints": list(self.constraints)}
        if self.fidelities:
            given["fidelities"] = list(self.fidelities)
        if "prior" in self.acquisition.settings:
            given["base_dir"] = self.base_dir
        return self.acquisition.build("acquisitions", **given)

    def build_planners(self) -> dict[str, Any]:
        """Make the planner of every fidelity, by name; ``""`` is the campaign's."""
        return {"": self.planner.build("planners"), **{f.name: _planner(f).build("planners") for f in self.fidelities}}

    def build_predictor(self, space: Space) -> Any:
        """Make the predictor that screens, or ``None`` where the campaign names none."""
        if self.predictor is None:
            return None
        return self.predictor.build("predictors", space=space, objectives=self.objectives, constraints=self.constraints)

    def stage(self, name: str) -> StageSpec:
        """Resources of a stage; the default where nothing is said."""
        return self.stages.get(name, StageSpec())
