"""The campaign file: what to search, what to want, which lab, which compute. Errors name the line and the fix."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from controller.lab import FILE, Instrument, Lab, load_lab, parse_lab
from controller.safety import Safety
from controller.source import Source, expand_path
from controller.stopping import Replicates, Stop, needs_one_measured
from models.fidelity import Fidelity
from models.observation import Constraint, Objective
from models.retraining import Retraining
from models.screening import ScreeningSpec
from models.spaces.spec import SpaceSpec

__all__ = ["Campaign", "Instrument", "Lab", "expand_path", "lab_path", "load_campaign", "parse_campaign"]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Plugin(BaseModel):
    """A component by name (built in, entry point or ``module:Class``); every other key is its setting."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str

    @property
    def settings(self) -> dict[str, Any]:
        """Keyword settings of the component."""
        return dict(self.__pydantic_extra__ or {})


class Budget(_Section):
    """When to stop: after this many finished experiments, or hours of lab time."""

    experiments: int = Field(gt=0, le=1_000_000)
    hours: float | None = Field(default=None, gt=0)


class Stage(_Section):
    """What one actor asks Ray for, and how many threads its libraries may use."""

    cpus: float = Field(default=0.25, ge=0)
    gpus: float = Field(default=0.0, ge=0)
    threads: int = Field(default=1, ge=1)


Role = Literal["generator", "predictor", "acquisition", "planner", "trainer"]


class Compute(_Section):
    """Where the science runs: ``ray`` (one actor a stage) or ``local`` (in the controller: small campaigns start at
    once)."""

    backend: Literal["ray", "local"] = "ray"
    address: str | None = None
    stages: dict[Role, Stage] = Field(default_factory=dict)

    def stage(self, name: str) -> Stage:
        """The request of a stage; the default where the file says nothing."""
        return self.stages.get(name, Stage())  # type: ignore[call-overload]


class Campaign(_Section):
    """The whole file. See ``docs/campaign.md`` for every key with an example."""

    athanor: Literal[1] = 1
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64)
    description: str = ""
    seed: int = Field(default=0, ge=0)
    budget: Budget
    space: SpaceSpec
    objectives: tuple[Objective, ...] = Field(min_length=1)
    constraints: tuple[Constraint, ...] = ()
    fidelities: tuple[Fidelity, ...] = ()
    screening: ScreeningSpec = Field(default_factory=ScreeningSpec)
    generator: Plugin | None = None
    predictor: Plugin | None = None
    trainer: Retraining | None = None
    pool_size: int = Field(default=4096, ge=2, le=1_000_000)
    acquisition: Plugin = Plugin(name="pareto")
    batch: int = Field(default=1, ge=1, le=256)
    planner: Plugin = Plugin(name="direct")
    lab: Lab  # or, in the file, the path of a lab file
    safety: Safety = Safety()
    compute: Compute = Compute()
    baseline: Literal["random"] | None = None
    stop: Stop = Stop()
    replicates: Replicates | None = None

    @model_validator(mode="after")
    def _names_are_consistent(self) -> Campaign:
        if self.baseline and self.lab.clock != "simulated":
            raise ValueError("baseline: it costs as many experiments again, so it needs lab.clock: simulated")
        prices = self.safety.prices
        self.stop.check(self.objectives, self.acquisition.name, bool(prices.per_g or prices.per_hour))
        if self.trainer is not None and self.predictor is None:
            raise ValueError("trainer: nothing to train; add predictor: {name: property, model: ...}")
        if self.replicates is not None:
            needs_one_measured("replicates", self.objectives)
        names = [objective.name for objective in self.objectives]
        if len(set(names)) != len(names):
            raise ValueError("two objectives have the same name: remove one")
        for constraint in self.constraints:
            if constraint.at_least is None and constraint.at_most is None:
                raise ValueError(f"constraint {constraint.name!r} needs at_least or at_most")
        return self


def load_campaign(path: Path, **overrides: Any) -> tuple[Campaign, str]:
    """Read and check a campaign file, and its lab's.

    Args:
        path: the YAML file.
        overrides: see ``parse_campaign``.

    Returns:
        The campaign and the text it came from.

    Raises:
        CampaignError: with one line a problem, ``FILE:LINE: key: what is wrong. The fix.``
    """
    source = Source.read(path)
    lab = lab_path(source.data, overrides.pop("base_dir", None) or path.resolve().parent)
    lab_text = load_lab(lab)[1].text if lab else ""
    return parse_campaign(source.text, str(path), lab_text=lab_text, lab_where=str(lab or ""), **overrides), source.text


def parse_campaign(
    text: str,
    where: str,
    *,
    seed: int | None = None,
    budget: int | None = None,
    lab_text: str = "",
    lab_where: str = "",
) -> Campaign:
    """Check the text of a campaign file; see ``load_campaign``.

    Args:
        text: YAML.
        where: the file's name for messages.
        seed, budget: instead of the file's; ``None`` is no override.
        lab_text: the lab file, where ``lab`` names one; its envelope and the campaign's then both hold.
        lab_where: its name for messages.
    """
    source = Source(text, where)
    data = dict(source.data)
    if seed is not None:
        data["seed"] = seed
    if budget is not None:
        data["budget"] = {**(data.get("budget") or {}), "experiments": budget}
    if not isinstance(data.get("lab"), str):
        return source.check(Campaign, data)
    lab = parse_lab(lab_text, lab_where)
    campaign = source.check(Campaign, {**data, "lab": lab})
    try:
        return campaign.model_copy(update={"safety": campaign.safety.inside(lab.safety)})
    except ValueError as error:
        raise source.problem(("safety",), f"together with {lab_where}: {error}") from error


def lab_path(data: dict[str, Any], base_dir: Path) -> Path | None:
    """The lab file that a campaign names (a folder stands for its ``lab.yaml``), or None. Raises CampaignError."""
    if not isinstance(data.get("lab"), str):
        return None
    path = expand_path(data["lab"], base_dir).resolve()
    return path / FILE if path.is_dir() else path
