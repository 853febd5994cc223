"""The scientific part of a campaign: as the actors need it, and checked before anything starts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from actors.crew import Crew, LocalCrew
from actors.spec import Component, ScienceSpec, StageSpec
from controller.campaign import Campaign
from controller.errors import CampaignError
from controller.source import Source
from instruments.errors import InstrumentError
from instruments.registry import resolve_driver
from models.errors import ModelError
from models.pool import CandidatePool
from models.quantities import compute, derived
from models.registry import names
from models.roles import Condition
from models.spaces import EnumerableSpace

SOME = 256
"""Candidates of which a check asks what the campaign says about all."""
VERSIONS = "models"
"""Folder of a run with the versions of its predictor."""


def science_spec(campaign: Campaign, base_dir: Path, run: Path | None = None) -> ScienceSpec:
    """The scientific part of a campaign, for the actors; versions of the predictor are kept in the folder ``run``."""
    planner = Component(name=campaign.planner.name, settings=campaign.planner.settings)
    if planner.name == "direct" and "quantities" not in planner.settings:
        planner = Component(name="direct", settings={**planner.settings, "quantities": list(measured_names(campaign))})
    return ScienceSpec(
        seed=campaign.seed,
        space=campaign.space,
        base_dir=str(base_dir),
        objectives=campaign.objectives,
        constraints=campaign.constraints,
        screening=campaign.screening,
        generator=_component(campaign.generator),
        predictor=_component(campaign.predictor),
        acquisition=Component(name=campaign.acquisition.name, settings=campaign.acquisition.settings),
        planner=planner,
        pool_size=campaign.pool_size,
        looks_ahead=campaign.stop.looks_ahead or campaign.replicates is not None,
        measure_at_most=campaign.replicates.at_most if campaign.replicates else 1,
        fidelities=campaign.fidelities,
        trainer=campaign.trainer,
        versions_dir=str(run / VERSIONS) if run is not None else "",
        stages={name: StageSpec(**stage.model_dump()) for name, stage in campaign.compute.stages.items()},
    )


def measured_names(campaign: Campaign) -> tuple[str, ...]:
    """Quantities that instruments must report: measured objectives, then constraints."""
    names = [o.name for o in campaign.objectives if o.source == "measured"] + [c.name for c in campaign.constraints]
    return tuple(dict.fromkeys(names))


def check_science(campaign: Campaign, base_dir: Path, source: Source | None = None) -> int | None:
    """Build what the campaign names, so that a mistake shows before anything starts; returns the space's size.

    Raises:
        CampaignError: with the field to change, and its line where ``source`` is given.
    """
    spec, at = science_spec(campaign, base_dir), _At(campaign, source)
    with at("space"):
        space = spec.build_space()
        first = space[0] if isinstance(space, EnumerableSpace) else None
    with at("planner"):
        planner = spec.build_planners()[""]
        if first is not None:
            planner.plan(first)  # builds a crystal, where there is one
    if spec.predictor:
        with at("predictor"):
            predictor = spec.build_predictor(space)
            if spec.trainer is not None and not hasattr(predictor, "take_version"):
                raise ValueError("has no versions for the trainer to publish: use name: property, or remove trainer")
    if spec.acquisition.name not in names("acquisitions") and ":" not in spec.acquisition.name:
        with at("acquisition"):
            spec.acquisition.build("acquisitions")
    for name, instrument in campaign.lab.instruments.items():
        if instrument.driver and not instrument.remote:
            with at("lab", "instruments", name):
                resolve_driver(instrument.driver)
    for place, objective in enumerate(spec.objectives):
        with at("objectives", place):
            _check_source(objective.name, objective.source)
            if objective.source == "computed" and first is not None:
                compute(objective.name, [first])
    return space.size


def check_acquisition(campaign: Campaign, base_dir: Path, source: Source | None = None) -> None:
    """Build the acquisition too, which takes seconds where it loads torch. Raises CampaignError."""
    spec = science_spec(campaign, base_dir)
    with _At(campaign, source)("acquisition"):
        acquisition = spec.build_acquisition()
        if hasattr(acquisition, "check"):
            space = spec.build_space()
            some = CandidatePool(space)
            some.absorb(space.propose(SOME, Condition(seed=campaign.seed)))
            acquisition.check(space.feature_names, some)


class _At:
    """Turns what building a component raises into an error that points at the component's keys."""

    def __init__(self, campaign: Campaign, source: Source | None) -> None:
        self._name, self._source = campaign.name, source

    @contextlib.contextmanager
    def __call__(self, *keys: Any) -> Iterator[None]:
        try:
            yield
        except (ModelError, InstrumentError, TypeError, ValueError, OSError) as error:
            if self._source is not None:
                raise self._source.problem(keys, str(error)) from error
            raise CampaignError(f"{self._name}: {'.'.join(map(str, keys))}: {error}") from error


def _check_source(name: str, source: str) -> None:
    if source == "derived":
        derived(name)


def _component(plugin: Any) -> Component | None:
    return Component(name=plugin.name, settings=plugin.settings) if plugin else None


def make_crew(campaign: Campaign) -> Crew:
    """The crew that the campaign asks for."""
    if campaign.compute.backend == "local":
        return LocalCrew()
    from actors.ray_crew import RayCrew

    return RayCrew(campaign.compute.address)
