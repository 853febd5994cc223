"""Design spaces: what may be made, as a spec in YAML and as a Generator with features.

Features of a prototype space (d = 34 for the two full Heuslers): order-free statistics of the composition
(``models.features``), elemental properties site by site (equivalent sites as mean and difference), and averages over
touching neighbours, which tell apart two prototypes of one composition.
"""

from __future__ import annotations

import os
from pathlib import Path

from models.errors import SpaceError
from models.spaces.base import EnumerableSpace, Space, shuffled
from models.spaces.spec import ParameterSpec, ProductSpec, PrototypeSpec, SpaceSpec, TableSpec, parse_space

__all__ = [
    "EnumerableSpace",
    "ParameterSpec",
    "ProductSpec",
    "PrototypeSpec",
    "Space",
    "SpaceSpec",
    "TableSpec",
    "build_space",
    "parse_space",
    "shuffled",
]


def build_space(
    spec: PrototypeSpec | TableSpec | ParameterSpec | ProductSpec | dict,
    base_dir: str | os.PathLike[str] = ".",
    outcomes: tuple[str, ...] = (),
) -> Space:
    """Make the space that a spec describes.

    Args:
        spec: a spec, or the plain data under ``space:`` in a campaign file.
        base_dir: folder of the campaign file; relative file names start there.
        outcomes: names of the campaign's objectives and constraints (a table keeps those columns out of the inputs).

    Raises:
        pydantic.ValidationError, SpaceError, DataError, UnknownNameError: with the place and the fix.
    """
    parsed = parse_space(spec) if isinstance(spec, dict) else spec
    folder = Path(base_dir)
    if isinstance(parsed, PrototypeSpec):
        from models.spaces.prototype import PrototypeSpace

        return PrototypeSpace(parsed, folder)
    if isinstance(parsed, ProductSpec):
        from models.spaces.parameter import ParameterSpace
        from models.spaces.product import ProductSpace

        dials = ParameterSpec(kind="parameters", parameters=parsed.parameters, constraints=parsed.constraints)
        # A pool of what is treated holds no outcomes of the treatment; where columns are named, none is looked for.
        named = isinstance(parsed.candidates, TableSpec) and not isinstance(parsed.candidates.parameters, str)
        candidates = build_space(parsed.candidates, base_dir, () if named else outcomes)
        if not isinstance(candidates, EnumerableSpace):
            raise SpaceError("candidates of a product must be countable: a table or prototypes")
        twice = sorted(set(dials.parameters) & set(candidates.feature_names))
        if twice:
            raise SpaceError(f"{twice} are columns of the candidates: give these parameters other names")
        return ProductSpace(candidates, ParameterSpace(dials))
    if isinstance(parsed, TableSpec):
        from models.spaces.table import TableSpace

        return TableSpace(parsed, folder, outcomes)
    from models.spaces.parameter import ParameterSpace

    return ParameterSpace(parsed)
