"""What must not be used, whatever else is allowed: elements, precursors, and what must not come together.

The same code judges a whole recipe in the controller and each command again in the host.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

_FORMULA = re.compile(r"(?:[A-Z][a-z]?|[\d.()\[\]·*]+)+")
_ELEMENT = re.compile(r"[A-Z][a-z]?")
_AMOUNTS = ("_g", "_mg", "_mL", "_uL", "_mol")


class Forbidden(BaseModel):
    """What must not be used. ``together`` lists materials or elements that must not meet."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    elements: tuple[str, ...] = ()
    precursors: tuple[str, ...] = ()
    together: tuple[tuple[str, ...], ...] = ()

    @model_validator(mode="after")
    def _pairs(self) -> Forbidden:
        if any(len(set(group)) < 2 for group in self.together):
            raise ValueError("together: each entry names two or more different materials or elements")
        return self

    def __bool__(self) -> bool:
        return bool(self.elements or self.precursors or self.together)

    def used(self, materials: Collection[str], composition: Collection[str] = ()) -> list[str]:
        """A sentence for everything forbidden among materials (their elements too) and the elements of a target."""
        elements = set(composition).union(*(_elements(material) for material in materials))
        found = [f"the element {name} is forbidden" for name in self.elements if name in elements]
        found += [f"{name} is forbidden" for name in self.precursors if name in materials]
        for group in self.together:
            if all(name in materials or name in elements for name in group):
                found.append(f"{' and '.join(group)} must not come together")
        return found

    def union(self, other: Forbidden) -> Forbidden:
        """What either forbids."""
        return Forbidden(
            elements=tuple(dict.fromkeys((*other.elements, *self.elements))),
            precursors=tuple(dict.fromkeys((*other.precursors, *self.precursors))),
            together=tuple(dict.fromkeys((*other.together, *self.together))),
        )


def materials_in(parameters: Mapping[str, Any]) -> Iterator[str]:
    """Names of what a step uses: keys of amounts (``masses_g``), and words (solvent, atmosphere)."""
    for name, value in parameters.items():
        if isinstance(value, str):
            yield value
        elif isinstance(value, Mapping) and name.endswith(_AMOUNTS):
            yield from map(str, value)


def _elements(material: str) -> set[str]:
    return set(_ELEMENT.findall(material)) if _FORMULA.fullmatch(material) else set()
