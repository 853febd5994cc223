"""The campaign file: what to search, what to want, which lab, which compute. Errors name the line and the fix."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from controller.errors import CampaignError
from controller.safety import Safety
from models.observation import Constraint, Objective
from models.screening import ScreeningSpec
from models.spaces.spec import SpaceSpec


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


class Instrument(_Section):
    """One instrument host: its driver and the driver's settings.

    ``slots``: samples that may lie in it; ``None``: as many as the largest batch that it announces.
    """

    driver: str
    settings: dict[str, Any] = Field(default_factory=dict)
    slots: int | None = Field(default=None, ge=1, le=1000)


class Lab(_Section):
    """The instruments and how the campaign uses them.

    Attributes:
        clock: ``simulated`` (instruments report how long they would have taken, and the campaign lives in that time) or
            ``wall``.
        queue: experiments kept planned and waiting for their first instrument, so that it never waits.
        max_rounds: measurements of one step, when the gate refuses a reading of an idempotent step.
        stop_failed_synthesis: skip the remaining steps once a constraint is measured and violated.
        max_faults: faults in a row after which an instrument is out of service.
        timeout_s: wall seconds without a sign of life from an instrument host before the campaign gives up on it.
        storage: places to put samples down between steps, one for each sample in the lab; ``None``: no limit.
        scheduler: ``plain`` (a rule), ``optimal`` (OR-Tools CP-SAT), or ``auto``: optimal where batches make it pay.
    """

    clock: Literal["simulated", "wall"] = "wall"
    instruments: dict[str, Instrument] = Field(min_length=1)
    queue: int = Field(default=1, ge=1, le=1000)
    max_rounds: int = Field(default=3, ge=1, le=20)
    stop_failed_synthesis: bool = True
    max_faults: int = Field(default=3, ge=1)
    timeout_s: float = Field(default=120.0, gt=0)
    storage: int | None = Field(default=None, ge=1)
    scheduler: Literal["plain", "optimal", "auto"] = "auto"


class Stage(_Section):
    """What one actor asks Ray for, and how many threads its libraries may use."""

    cpus: float = Field(default=0.25, ge=0)
    gpus: float = Field(default=0.0, ge=0)
    threads: int = Field(default=1, ge=1)


class Compute(_Section):
    """Where the science runs: ``ray`` (one actor a stage) or ``local`` (in the controller: small campaigns start at
    once)."""

    backend: Literal["ray", "local"] = "ray"
    address: str | None = None
    stages: dict[Literal["generator", "predictor", "acquisition", "planner"], Stage] = Field(default_factory=dict)

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
    screening: ScreeningSpec = Field(default_factory=ScreeningSpec)
    generator: Plugin | None = None
    predictor: Plugin | None = None
    pool_size: int = Field(default=4096, ge=2, le=1_000_000)
    acquisition: Plugin = Plugin(name="pareto")
    batch: int = Field(default=1, ge=1, le=256)
    planner: Plugin = Plugin(name="direct")
    lab: Lab
    safety: Safety = Safety()
    compute: Compute = Compute()
    baseline: Literal["random"] | None = None

    @model_validator(mode="after")
    def _names_are_consistent(self) -> Campaign:
        if self.baseline and self.lab.clock != "simulated":
            raise ValueError("baseline: it costs as many experiments again, so it needs lab.clock: simulated")
        for name in ("controller", "operator"):
            if name in self.lab.instruments:
                raise ValueError(f"lab.instruments: {name!r} is the name of a key of ours; choose another")
        names = [objective.name for objective in self.objectives]
        if len(set(names)) != len(names):
            raise ValueError("two objectives have the same name: remove one")
        for constraint in self.constraints:
            if constraint.at_least is None and constraint.at_most is None:
                raise ValueError(f"constraint {constraint.name!r} needs at_least or at_most")
        return self


def load_campaign(path: Path, **overrides: Any) -> tuple[Campaign, str]:
    """Read and check a campaign file.

    Args:
        path: the YAML file.
        overrides: ``seed`` and ``budget`` from the command line; ``None`` is no override.

    Returns:
        The campaign and the text it came from.

    Raises:
        CampaignError: with one line a problem, ``FILE:LINE: key: what is wrong. The fix.``
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise CampaignError(f"{path}: {error.strerror or error}. Give the path of a campaign file.") from error
    except UnicodeDecodeError as error:
        raise CampaignError(f"{path}: not a text file ({error.reason}). A campaign is a YAML file in UTF-8.") from error
    return parse_campaign(text, str(path), **overrides), text


def parse_campaign(text: str, where: str, *, seed: int | None = None, budget: int | None = None) -> Campaign:
    """Check the text of a campaign file; see ``load_campaign``."""
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise CampaignError(f"{where}{line}: not YAML: {problem}. Check indentation, colons and quotes.") from error
    if not isinstance(data, dict):
        raise CampaignError(
            f"{where}:1: a campaign is a mapping of keys such as name, space, objectives. `athanor init` writes one."
        )
    if seed is not None:
        data["seed"] = seed
    if budget is not None:
        data["budget"] = {**(data.get("budget") or {}), "experiments": budget}
    try:
        return Campaign.model_validate(data)
    except ValidationError as error:
        problems = [_explain(problem, tree, where) for problem in error.errors()]
        raise CampaignError("\n".join(problems)) from error


def expand_path(text: str, base_dir: Path) -> Path:
    """Resolve a path of a campaign: environment variables, then relative to the campaign file's folder."""
    expanded = os.path.expandvars(text)
    if "$" in expanded:
        name = expanded.split("$", 1)[1].strip("{").split("}")[0].split("/")[0]
        raise CampaignError(f"{text}: the environment variable {name} is not set. Set it, or write the path out.")
    path = Path(expanded).expanduser()
    return path if path.is_absolute() else base_dir / path


def _explain(problem: Any, tree: yaml.Node | None, where: str) -> str:
    location, line, depth = _locate(problem["loc"], tree)
    key = ".".join(map(str, location)) or "campaign"
    kind, message = problem["type"], problem["msg"]
    if kind == "extra_forbidden":
        known = _keys_at(location[:-1])
        near = difflib.get_close_matches(str(location[-1]), known, n=1)
        fix = f"Did you mean {near[0]!r}?" if near else f"Remove it. Known here: {', '.join(sorted(known)) or 'none'}."
        return f"{where}:{line}: {key}: unknown key. {fix}"
    if kind == "missing":
        return (
            f"{where}:{line}: {key}: missing. Add it{' here' if depth else ' at the top level'}; see docs/campaign.md."
        )
    given = problem.get("input")
    shown = f" (given: {given!r})" if isinstance(given, str | int | float | bool) or given is None else ""
    return f"{where}:{line}: {key}: {message.removeprefix('Value error, ')}{shown}."


def _keys_at(location: list[Any]) -> list[str]:
    """The keys that a section knows, found by walking the models; empty where it is not a model."""
    models: tuple[Any, ...] = (Campaign,)
    for part in location:
        found: list[Any] = []
        for model in models:
            field = model.model_fields.get(part) if isinstance(part, str) and hasattr(model, "model_fields") else None
            found += _models_in(field.annotation) if field else ([model] if not isinstance(part, str) else [])
        models = tuple(found) or models
    return [name for model in models for name in model.model_fields]


def _models_in(annotation: Any) -> list[Any]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models_in(argument)]


def _locate(parts: tuple[Any, ...], tree: yaml.Node | None) -> tuple[list[Any], int, int]:
    """The keys of ``parts`` that a reader sees, the line of the deepest one that the file has, and how deep that is.

    pydantic puts the tag of a union (``kind: table``) among the keys; what the file does not have on the way is
    dropped.
    """
    node, line, kept, depth = tree, 1, [], 0
    for place, part in enumerate(parts):
        found = None
        if isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if k.value == str(part)), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            found = (node.value[part], node.value[part])
        if found is not None:
            line, node, depth = found[0].start_mark.line + 1, found[1], depth + 1
            kept.append(part)
        elif place == len(parts) - 1:
            kept.append(part)
    return kept, line, depth
