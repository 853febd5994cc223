"""Names to classes: what a campaign file may ask for, ours and plug-ins."""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points

from models.errors import UnknownNameError

BUILT_IN: dict[str, dict[str, str]] = {
    "generators": {
        "prototype": "models.spaces.prototype:PrototypeSpace",
        "table": "models.spaces.table:TableSpace",
        "parameters": "models.spaces.parameter:ParameterSpace",
    },
    "predictors": {
        "ensemble": "models.predictors.ensemble:EnsemblePredictor",
        "property": "models.predictors.learned:PropertyPredictor",
    },
    "properties": {
        "roost": "models.predictors.roost:Roost",
        "atomsets": "models.predictors.atomsets:AtomSets",
        "pairs": "models.predictors.pairs:ElementPairs",
        "elements": "models.predictors.elements:ElementStack",
        "atcnn": "models.predictors.atcnn:ATCNN",
        "supercon": "models.predictors.supercon:SuperConForest",
        "magnetisation": "models.predictors.katsikas:MagnetisationNet",
        "melting": "models.predictors.seko:MeltingSupportVectors",
        "melting-gp": "models.predictors.seko:MeltingProcess",
        "superhard": "models.predictors.superhard:SuperhardSupportVectors",
        "heusler": "models.predictors.sanvito:HeuslerForest",
        "ward": "models.predictors.ward:WardForest",
        "plmf": "models.predictors.plmf:FragmentForest",
        "multilayer": "models.predictors.lu:MultilayerForest",
        "cgcnn": "models.predictors.cgcnn:CGCNN",
        "cgat": "models.predictors.cgat:CGAT",
        "alignn": "models.predictors.alignn:ALIGNN",
        "metal-linked": "models.predictors.wang:MetalLinkedNet",
        "voxel": "models.predictors.voxel:VoxelNet",
        "bcs": "models.predictors.bcs:BCSNet",
        "blend": "models.predictors.blend:CompositionBlend",
        "blend-structure": "models.predictors.blend:StructureBlend",
        "blend-chgnet": "models.predictors.blend:PotentialBlend",
        "atomsets-chgnet": "models.predictors.atomsets:FrozenAtomSets",
        "chgnet": "models.predictors.chgnet:PotentialStack",
        "chgnet-phonons": "models.predictors.chgnet:VibrationStack",
    },
    "planners": {
        "arrows": "models.synthesis.arrows:ArrowsPlanner",
        "arc_melting": "models.synthesis.arc_melting:ArcMeltingPlanner",
        "direct": "models.synthesis.direct:DirectPlanner",
        "reactions": "models.synthesis.reaction_planner:ReactionPlanner",
        "sintering": "models.synthesis.sintering:SinteringPlanner",
    },
    "acquisitions": {
        "pareto": "models.acquisition.bayes:BayesAcquisition",
        "random": "models.acquisition.random:RandomAcquisition",
        "attempts": "models.acquisition.attempts:AttemptsAcquisition",
        "top": "models.acquisition.top:TopAcquisition",
    },
}
"""Group -> name -> ``module:Class``; a module is imported only when its class is asked for."""


def names(group: str) -> list[str]:
    """Names that ``resolve`` knows in a group: built in, then plug-ins (entry points ``athanor.GROUP``).

    Raises:
        UnknownNameError: no such group.
    """
    if group not in BUILT_IN:
        raise UnknownNameError(f"no group {group!r}; groups are {', '.join(BUILT_IN)}")
    return list(dict.fromkeys([*BUILT_IN[group], *(e.name for e in entry_points(group=f"athanor.{group}"))]))


def resolve(group: str, name: str) -> type:
    """Return the class called ``name`` in a group, or the class at an explicit ``package.module:Class``.

    Raises:
        UnknownNameError: no such group or name, or the class cannot be imported; the message lists what is known.
    """
    known = names(group)
    if name in BUILT_IN[group]:
        return _load(BUILT_IN[group][name], group, known)
    for entry in entry_points(group=f"athanor.{group}"):
        if entry.name == name:
            return _load(entry.value, group, known)
    if ":" in name:
        return _load(name, group, known)
    raise UnknownNameError(
        f"no {name!r} among {group}; known: {', '.join(known)}; or name a class as package.module:Class"
    )


def _load(path: str, group: str, known: list[str]) -> type:
    module_name, _, attribute = path.partition(":")
    try:
        found = importlib.import_module(module_name)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise UnknownNameError(
            f"cannot import {path!r} for {group}: {error}; install its package, or use one of {', '.join(known)}"
        ) from error
    if not isinstance(found, type):
        raise UnknownNameError(f"{path!r} is not a class; {group} must be classes")
    return found
