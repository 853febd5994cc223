"""Cheaper ways to learn about an objective than to measure it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Fidelity(BaseModel):
    """A cheap measurement, or a calculation, that says something about an objective.

    An experiment at this fidelity is the candidate with ``Candidate.fidelity`` set; it reports ``reading``.

    Attributes:
        name: becomes part of candidates.
        reading: what it reports, in any unit; not the name of an objective or constraint.
        of: the objective; the first where left out.
        cost: of one such experiment; that of the full measurement is 1.
        planner: makes its recipe: a name and settings; where left out, ``direct`` with the capability ``name``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", max_length=30)
    reading: str
    of: str = ""
    cost: float = Field(gt=0)
    planner: dict[str, Any] | None = None
