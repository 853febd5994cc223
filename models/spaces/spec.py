"""What a user may write under ``space:`` in a campaign file."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    field_validator,
    model_validator,
)

from models.spaces.expression import Expression

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+]*$", max_length=40)]
"""A name that becomes part of candidate ids and thus of file names (no ``-``: it separates prototype and formula)."""


class _Spec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Lattice(_Spec):
    """A conventional cell: lengths in angstrom (with ``rescale`` only their ratios matter), angles in degrees."""

    a: float = Field(gt=0)
    b: float = Field(gt=0)
    c: float = Field(gt=0)
    alpha: float = Field(default=90.0, gt=0, lt=180)
    beta: float = Field(default=90.0, gt=0, lt=180)
    gamma: float = Field(default=90.0, gt=0, lt=180)


class Prototype(_Spec):
    """A crystal structure whose sites carry labels instead of elements.

    Give either ``spacegroup`` with ``a_A`` (cubic) or ``lattice``, and ``sites``: label -> one fractional coordinate
    triple for each Wyckoff position; or ``file`` (CIF or POSCAR, relative to the campaign file) and ``sites``:
    element symbol that stands in the file -> label.

    Attributes:
        equivalent: labels whose exchange gives the same crystal, e.g. ``[[Y, Z]]``; only one order is then a candidate.
        rescale: guess the cell volume of each candidate from its atoms (else the lattice is used as given).
    """

    name: Name
    spacegroup: str | int | None = None
    a_A: float | None = Field(default=None, gt=0)
    lattice: Lattice | None = None
    file: str | None = None
    sites: dict[str, list[tuple[float, float, float]]] | dict[str, str]
    equivalent: list[list[str]] = []
    rescale: bool = True

    @field_validator("sites")
    @classmethod
    def _sites_not_empty(cls, sites: dict) -> dict:
        if not sites or any(not value for value in sites.values()):
            raise ValueError("give at least one label and, for each, at least one position")
        return sites

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> Prototype:
        by_file = all(isinstance(value, str) for value in self.sites.values())
        if self.file is not None:
            if self.spacegroup is not None or self.lattice is not None or self.a_A is not None:
                raise ValueError("give either 'file' or 'spacegroup' and a lattice, not both")
            if not by_file:
                raise ValueError("with 'file', write sites as {element in the file: label}, e.g. {Ca: A, Ti: B, O: X}")
        else:
            if self.spacegroup is None:
                raise ValueError("give 'spacegroup' and 'a_A' (or 'lattice'), or a 'file'")
            if by_file:
                raise ValueError("with 'spacegroup', write sites as {label: [[x, y, z], ...]}")
            if (self.a_A is None) == (self.lattice is None):
                raise ValueError("give exactly one of 'a_A' (cubic) and 'lattice'")
        grouped = [label for group in self.equivalent for label in group]
        unknown = [label for label in grouped if label not in self.labels]
        if unknown:
            raise ValueError(f"equivalent names {unknown}, but the sites are {list(self.labels)}")
        if len(set(grouped)) != len(grouped) or any(len(group) < 2 for group in self.equivalent):
            raise ValueError("each list in 'equivalent' needs two labels or more, and a label may be in one list only")
        return self

    @property
    def labels(self) -> tuple[str, ...]:
        """Site labels in the order of the formula."""
        if self.file is None:
            return tuple(self.sites)
        return tuple(dict.fromkeys(str(label) for label in self.sites.values()))


class PrototypeSpec(_Spec):
    """Crystals made by decorating prototypes with elements.

    Attributes:
        elements: label -> symbols that may sit there; the key ``"*"`` serves every label that is not named.
        distinct: all labels of a candidate carry different elements.
    """

    kind: Literal["prototype"]
    prototypes: list[Prototype] = Field(min_length=1)
    elements: dict[str, list[str]] = Field(min_length=1)
    distinct: bool = True

    @model_validator(mode="after")
    def _labels_have_elements(self) -> PrototypeSpec:
        names = [p.name for p in self.prototypes]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"prototype names must differ; used twice: {twice}")
        labels = {label for p in self.prototypes for label in p.labels}
        missing = sorted(labels - set(self.elements)) if "*" not in self.elements else []
        if missing:
            raise ValueError(f"no elements for the site labels {missing}; add them under 'elements' (or a '*' entry)")
        extra = sorted(set(self.elements) - labels - {"*"})
        if extra:
            raise ValueError(f"elements given for {extra}, but the prototypes' site labels are {sorted(labels)}")
        for label, members in self.elements.items():
            if not members or len(set(members)) != len(members):
                raise ValueError(f"elements of {label!r} must be a list without repetitions, not {members}")
        return self

    def elements_of(self, label: str) -> list[str]:
        """Symbols that may sit on ``label``."""
        return self.elements.get(label, self.elements.get("*", []))


class TableSpec(_Spec):
    """The rows of a table that the user already has.

    Attributes:
        file: CSV, CSV.GZ or Parquet; relative to the campaign file, or starting with ``${ATHANOR_DATA}/``.
        parameters: columns that identify a candidate; ``"all but objectives"`` takes every column that is not an
            objective or constraint of the campaign.
        composition: column with a chemical formula, featurised by its elements; may also be listed in ``parameters``.
        results: the table has the objectives and constraints too; False: it lists what may be made, a lab measures.
    """

    kind: Literal["table"]
    file: str
    parameters: list[str] | Literal["all but objectives"] = "all but objectives"
    composition: str | None = None
    results: bool = True

    @field_validator("parameters")
    @classmethod
    def _some(cls, names: list[str] | str) -> list[str] | str:
        if isinstance(names, list) and (not names or len(set(names)) != len(names)):
            raise ValueError("list at least one column, each once")
        return names


class Parameter(_Spec):
    """One dial.

    Attributes:
        type: ``float``, ``int`` or ``categorical``.
        low, high: inclusive bounds of a float or int.
        values: choices of a categorical.
        log: sample and featurise on a logarithmic scale.
        step: float or int moves on the grid low, low + step, ...
    """

    type: Literal["float", "int", "categorical"] = "float"
    low: float | None = None
    high: float | None = None
    values: list[str | int | float] | None = None
    log: bool = False
    step: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _bounds_or_values(self) -> Parameter:
        if self.type == "categorical":
            if not self.values or len({str(v) for v in self.values}) != len(self.values):
                raise ValueError("a categorical parameter needs 'values', each once")
            if self.low is not None or self.high is not None or self.log or self.step is not None:
                raise ValueError("a categorical parameter has 'values' only; drop low, high, log and step")
            return self
        if self.values is not None:
            raise ValueError("'values' belongs to a categorical parameter; write type: categorical")
        if self.low is None or self.high is None:
            raise ValueError("a number needs 'low' and 'high'")
        if not self.low < self.high:
            raise ValueError(f"low ({self.low:g}) must be smaller than high ({self.high:g})")
        if self.log and self.low <= 0:
            raise ValueError("log: true needs low > 0")
        if self.type == "int" and (self.low != int(self.low) or self.high != int(self.high)):
            raise ValueError("the bounds of an int must be whole numbers")
        if self.step is not None and self.step > self.high - self.low:
            raise ValueError("step is larger than the range")
        if self.type == "int" and self.step is not None and self.step != int(self.step):
            raise ValueError("the step of an int must be a whole number")
        return self


class LinearConstraint(_Spec):
    """``sum(coefficients[name] * name)`` at most, at least or equal to a bound; numeric parameters only."""

    coefficients: dict[str, float] = Field(min_length=1)
    at_most: float | None = None
    at_least: float | None = None
    equal: float | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Parameters in it."""
        return tuple(self.coefficients)

    @model_validator(mode="after")
    def _bounded(self) -> LinearConstraint:
        if self.equal is None and self.at_most is None and self.at_least is None:
            raise ValueError("a constraint needs at_most, at_least or equal")
        if self.equal is not None and (self.at_most is not None or self.at_least is not None):
            raise ValueError("a constraint is either 'equal' or bounded by at_most / at_least")
        if all(w == 0 for w in self.coefficients.values()):
            raise ValueError("a constraint needs a coefficient that is not zero")
        return self


class NonlinearConstraint(_Spec):
    """``expression``, arithmetic over numeric parameters (``Expression``), at most or at least a bound."""

    expression: str
    at_most: float | None = None
    at_least: float | None = None

    @model_validator(mode="after")
    def _bounded(self) -> NonlinearConstraint:
        if self.at_most is None and self.at_least is None:
            raise ValueError("an expression needs at_most or at_least")
        if not Expression(self.expression).names:
            raise ValueError(f"{self.expression!r} names no parameter")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Parameters in it."""
        return Expression(self.expression).names


def _kind_of_constraint(data: Any) -> str:
    said = data if isinstance(data, dict) else getattr(data, "__dict__", {})
    return "nonlinear" if "expression" in said else "linear"


InputConstraint = Annotated[
    Annotated[LinearConstraint, Tag("linear")] | Annotated[NonlinearConstraint, Tag("nonlinear")],
    Discriminator(_kind_of_constraint),
]


class Fraction(_Spec):
    """Bounds of an element's atomic fraction."""

    low: float = Field(default=0.0, ge=0, le=1)
    high: float = Field(default=1.0, ge=0, le=1)

    @model_validator(mode="after")
    def _ordered(self) -> Fraction:
        if not self.low < self.high:
            raise ValueError(f"low ({self.low:g}) must be smaller than high ({self.high:g})")
        return self


class CompositionSpec(_Spec):
    """Atomic fractions that add up to one.

    Attributes:
        elements: symbol -> bounds.
        step: fractions are multiples of it; 1 is a whole number of steps.
        most: elements in one candidate at most.
    """

    elements: dict[str, Fraction] = Field(min_length=2)
    step: float | None = Field(default=None, gt=0, le=0.5)
    most: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _possible(self) -> CompositionSpec:
        low, high = (sum(getattr(f, k) for f in self.elements.values()) for k in ("low", "high"))
        if low > 1 + 1e-9 or high < 1 - 1e-9:
            raise ValueError(f"fractions cannot add up to 1: their bounds add up to {low:g} .. {high:g}")
        if self.step is not None and abs(round(1 / self.step) * self.step - 1) > 1e-9:
            raise ValueError(f"1 is no multiple of step {self.step:g}: take 0.05 or 0.1, say")
        needed = sum(f.low > 0 for f in self.elements.values())
        if self.most is not None and needed > self.most:
            raise ValueError(f"{needed} elements have a low above 0, but most is {self.most}")
        return self


class _Dials(_Spec):
    parameters: dict[str, Parameter] = {}
    constraints: list[InputConstraint] = []
    composition: CompositionSpec | None = None

    @model_validator(mode="after")
    def _constraints_name_numbers(self) -> Self:
        fractions = [f"x_{symbol}" for symbol in self.composition.elements] if self.composition else []
        if not self.parameters and not fractions:
            raise ValueError("give at least one parameter, or a composition")
        twice = [name for name in fractions if name in self.parameters]
        if twice:
            raise ValueError(f"{twice} are fractions of the composition: give these parameters other names")
        known = [*self.parameters, *fractions]
        for i, constraint in enumerate(self.constraints):
            for name in constraint.names:
                if name not in known:
                    raise ValueError(f"constraint {i + 1} names {name!r}, but the parameters are {known}")
                if name in self.parameters and self.parameters[name].type == "categorical":
                    raise ValueError(f"constraint {i + 1} names {name!r}, which is categorical: only numbers add up")
        return self


class ParameterSpec(_Dials):
    """Dials that may be set freely inside bounds and constraints, and fractions of elements."""

    kind: Literal["parameters"]


class ProductSpec(_Dials):
    """Every candidate of a pool at every setting of dials."""

    kind: Literal["product"]
    candidates: Annotated[PrototypeSpec | TableSpec, Field(discriminator="kind")]

    @model_validator(mode="after")
    def _pool_has_the_composition(self) -> ProductSpec:
        if self.composition is not None:
            raise ValueError("the candidates have the composition: 'composition' belongs to kind: parameters")
        return self


SpaceSpec = Annotated[PrototypeSpec | TableSpec | ParameterSpec | ProductSpec, Field(discriminator="kind")]
"""Any of the four; ``kind`` tells which."""


def parse_space(data: object) -> PrototypeSpec | TableSpec | ParameterSpec | ProductSpec:
    """Validate the plain data under ``space:``. Raises pydantic.ValidationError with the place and the fix."""
    return TypeAdapter(SpaceSpec).validate_python(data)
