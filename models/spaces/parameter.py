"""Dials: bounded floats, integers and categories under linear constraints."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from models import elements
from models.candidate import Candidate, Value, digest
from models.errors import DataError, SpaceError
from models.features import composition_features
from models.roles import Condition
from models.spaces.expression import Expression
from models.spaces.simplex import PREFIX, dials, snapped
from models.spaces.spec import LinearConstraint, NonlinearConstraint, Parameter, ParameterSpec

FEWEST_ACCEPTED = 1e-3
"""Share of random settings that must satisfy the constraints; below it they are taken for a mistake."""
_DRAWS = 1024
_BARREN_ROUNDS = 8
"""Rounds of draws without a new setting after which discrete dials count as exhausted."""
_SCALES = (0.02, 0.07, 0.2)
"""Standard deviations of local moves, as a share of the range: polish, step, leap."""
_TOLERANCE = 1e-9


class ParameterSpace:
    """A box of named dials, continuous or mixed, with linear constraints: infinite, so ``size`` is None.

    ``propose`` gives Sobol points (scrambled by the seed) that satisfy the constraints; where there are incumbents,
    half of them are small moves away from the best. Ids are ``p-<digest of the setting>``. Features: numbers scaled to
    0..1 over their range (of the logarithm where ``log``), categories one-hot.

    Equality constraints over floats are solved, not hoped for: each point is moved to the nearest one that satisfies
    them (orthogonal projection in range units), and into the bounds where that left them.
    """

    size: int | None = None
    elements: tuple[str, ...] = ()

    def __init__(self, spec: ParameterSpec):
        """Check that points can be found. Raises SpaceError naming the constraints where fewer than 0.1 % pass."""
        self.composition = spec.composition
        if spec.composition is not None:
            fractions, adding_up = dials(spec.composition)
            spec = spec.model_copy(
                update={
                    "parameters": {**spec.parameters, **fractions},
                    "constraints": [*spec.constraints, *adding_up],
                }
            )
            self.elements = tuple(spec.composition.elements) if spec.composition else ()
        self.spec = spec
        self._linear = [c for c in spec.constraints if isinstance(c, LinearConstraint)]
        self._nonlinear = [
            (Expression(c.expression), c) for c in spec.constraints if isinstance(c, NonlinearConstraint)
        ]
        self._numbers = [name for name, p in spec.parameters.items() if p.type != "categorical"]
        self._categories = [name for name, p in spec.parameters.items() if p.type == "categorical"]
        names = list(self._numbers)
        for name in self._categories:
            names += [f"{name}={value}" for value in spec.parameters[name].values or []]
        if self.composition is not None:
            elements.check_symbols(self.elements)
            self._fractions = [self._numbers.index(f"{PREFIX}{symbol}") for symbol in self.elements]
            names += composition_features(np.eye(len(self.elements)), self.elements)[1]
        self.feature_names: tuple[str, ...] = tuple(names)
        self._solve = _Equalities(spec, self._numbers)
        self._highest = np.array([_bounds(spec.parameters[name])[1] for name in self._numbers])
        self._streams: dict[int, _Stream] = {}
        if spec.constraints:
            self._feasible(1, seed=0, start=0)

    def propose(self, n: int, condition: Condition) -> list[Candidate]:
        """Return ``n`` settings that satisfy the constraints, each once; half of them near the incumbents, if any.

        Discrete dials may run out: then fewer come, and an empty list in the end.
        """
        if n <= 0:
            return []
        local = self._around(condition.incumbents, n // 2, condition) if condition.incumbents else []
        out: dict[str, Candidate] = {c.id: c for c in local}
        for candidate in self._feasible(n, condition.seed, condition.offset):
            if len(out) >= n:
                break
            out.setdefault(candidate.id, candidate)
        return list(out.values())

    def featurize(self, candidates: Sequence[Candidate]) -> np.ndarray:
        """Features of settings, shape (len, d). Raises DataError where one is missing or is no known category."""
        columns = [
            _to_unit(self.spec.parameters[name], np.array([self._number(c, name) for c in candidates], dtype=float))
            for name in self._numbers
        ]
        for name in self._categories:
            values = self.spec.parameters[name].values or []
            for c in candidates:
                if c.parameters.get(name) not in values:
                    raise DataError(f"{c.id}: {name} = {c.parameters.get(name)!r} is none of {values}")
            columns += [np.array([c.parameters[name] == value for c in candidates], dtype=float) for value in values]
        if not candidates:
            return np.zeros((0, len(self.feature_names)))
        if self.composition is not None:
            amounts = np.array([[self._number(c, f"{PREFIX}{el}") for el in self.elements] for c in candidates])
            columns += list(composition_features(amounts, self.elements)[0].T)
        return np.stack(columns, axis=1)

    def satisfies(self, parameters: dict[str, Value]) -> bool:
        """True where a setting is inside the bounds and obeys the constraints."""
        row = np.array([[float(parameters[name]) for name in self._numbers]])
        return bool(self._inside(row)[0]) and all(
            parameters[name] in (self.spec.parameters[name].values or []) for name in self._categories
        )

    def neighbours(self, incumbents: Sequence[Candidate], n: int, seed: int, shrink: float = 1.0) -> list[Candidate]:
        """Up to ``n`` different settings near the incumbents; moves are ``shrink`` times those of ``propose``."""
        return self._around(incumbents, n, Condition(seed=seed), shrink) if incumbents and n > 0 else []

    # -- sampling ------------------------------------------------------------------------------------------------

    def _feasible(self, n: int, seed: int, start: int) -> list[Candidate]:
        """Up to ``n`` different Sobol settings after skipping ``start`` feasible ones of the same sequence.

        The sequence of a seed is kept and continued: asking again gives the same.
        """
        stream = self._streams.get(seed)
        if stream is None:
            stream = self._streams[seed] = _Stream(len(self.spec.parameters) + 1, seed)
        while len(stream.found) < start + n and stream.barren < _BARREN_ROUNDS:
            before = len(stream.found)
            unit = stream.sampler.random(_DRAWS)
            settings = self._settings(unit[:, :-1], pull=unit[:, -1])
            stream.drawn += len(unit)
            stream.passed += len(settings)
            if stream.drawn >= _BARREN_ROUNDS * _DRAWS and stream.passed < FEWEST_ACCEPTED * stream.drawn:
                raise SpaceError(self._rarely(stream.passed, stream.drawn))
            for setting in settings:
                candidate = self._candidate(setting)
                stream.found.setdefault(candidate.id, candidate)
            stream.barren = stream.barren + 1 if len(stream.found) == before else 0
        return list(itertools.islice(stream.found.values(), start, start + n))

    def _around(
        self, incumbents: Sequence[Candidate], n: int, condition: Condition, shrink: float = 1.0
    ) -> list[Candidate]:
        """``n`` feasible small moves away from the incumbents in turn, at several scales."""
        rng = np.random.default_rng([condition.seed, condition.offset])
        known = {c.id for c in incumbents}
        base = self.featurize(incumbents)[:, : len(self._numbers)]
        found: dict[str, Candidate] = {}
        for _ in range(20):
            which = np.arange(4 * n) % len(incumbents)
            scale = shrink * np.array(_SCALES)[rng.integers(len(_SCALES), size=4 * n)]
            moved = base[which] + rng.normal(size=(4 * n, base.shape[1])) * scale[:, None]
            # Moving every dial at once explores badly in many dimensions: each dial moves with probability 1/2.
            stay = rng.random(moved.shape) < 0.5
            moved = np.clip(np.where(stay, base[which], moved), 0.0, 1.0)
            columns = {name: moved[:, j] for j, name in enumerate(self._numbers)}
            for name in self._categories:
                values = self.spec.parameters[name].values or []
                current = np.array([values.index(incumbents[i].parameters[name]) for i in which])  # type: ignore[arg-type]
                jump = rng.random(len(which)) < 0.2
                choice = np.where(jump, rng.integers(len(values), size=len(which)), current)
                columns[name] = (choice + 0.5) / len(values)
            unit = np.stack([columns[name] for name in self.spec.parameters], axis=1)
            for setting in self._settings(unit, pull=np.ones(len(unit))):
                candidate = self._candidate(setting)
                if candidate.id not in known:
                    found.setdefault(candidate.id, candidate)
                if len(found) >= n:
                    return list(found.values())
        return list(found.values())

    def _settings(self, unit: np.ndarray, pull: np.ndarray) -> list[dict[str, Value]]:
        """Return the settings at points of the unit cube (n, parameters) that satisfy everything.

        ``pull`` (n,), 0..1, places those that the equality constraints moved onto a bound: 1 leaves them there.
        """
        position = {name: j for j, name in enumerate(self.spec.parameters)}
        numbers = np.zeros((len(unit), len(self._numbers)))
        for j, name in enumerate(self._numbers):
            numbers[:, j] = _from_unit(self.spec.parameters[name], unit[:, position[name]])
        numbers = self._solve(numbers, pull)
        if self.composition is not None:
            numbers[:, self._fractions] = snapped(numbers[:, self._fractions], self.composition)
        kept = np.flatnonzero(self._inside(numbers))
        out: list[dict[str, Value]] = []
        for i in kept:
            setting: dict[str, Value] = {}
            for name, parameter in self.spec.parameters.items():
                if parameter.type == "categorical":
                    values = parameter.values or []
                    setting[name] = values[min(int(unit[i, position[name]] * len(values)), len(values) - 1)]
                else:
                    value = float(np.clip(numbers[i, self._numbers.index(name)], *_bounds(parameter)))
                    setting[name] = round(value) if parameter.type == "int" else _short(value)
            out.append(setting)
        return out

    def _inside(self, numbers: np.ndarray) -> np.ndarray:
        """True where rows (n, numeric dials) keep bounds and constraints."""
        out = np.ones(len(numbers), dtype=bool)
        for j, name in enumerate(self._numbers):
            low, high = _bounds(self.spec.parameters[name])
            slack = _TOLERANCE * (high - low)
            out &= (numbers[:, j] >= low - slack) & (numbers[:, j] <= high + slack)
        values = {name: numbers[:, j] for j, name in enumerate(self._numbers)}
        for expression, bound in self._nonlinear:
            said = expression(values)
            with np.errstate(invalid="ignore"):  # nan, where the expression has no value, is inside nothing
                out &= said <= (np.inf if bound.at_most is None else bound.at_most)
                out &= said >= (-np.inf if bound.at_least is None else bound.at_least)
        for constraint in self._linear:
            weights = self._weights(constraint)
            total = numbers @ weights
            slack = 1e-8 * max(1.0, float(np.abs(weights) @ np.abs(self._highest)))
            if constraint.equal is not None:
                out &= np.abs(total - constraint.equal) <= slack
            if constraint.at_most is not None:
                out &= total <= constraint.at_most + slack
            if constraint.at_least is not None:
                out &= total >= constraint.at_least - slack
        return out

    def _weights(self, constraint: LinearConstraint) -> np.ndarray:
        return np.array([constraint.coefficients.get(name, 0.0) for name in self._numbers])

    def _candidate(self, setting: dict[str, Value]) -> Candidate:
        made = {el: float(setting[f"{PREFIX}{el}"]) for el in self.elements}
        amounts = {el: amount for el, amount in made.items() if amount > 0}
        return Candidate(id=f"p-{digest(setting)}", parameters=setting, composition=amounts)

    def _number(self, candidate: Candidate, name: str) -> float:
        value = candidate.parameters.get(name)
        if not isinstance(value, int | float) or not np.isfinite(value):
            raise DataError(f"{candidate.id}: parameter {name} is {value!r}, not a finite number")
        return float(value)

    def _rarely(self, passed: int, drawn: int) -> str:
        listed = "; ".join(str(c.model_dump(exclude_none=True)) for c in self.spec.constraints)
        return (
            f"only {passed} of {drawn} settings satisfy the constraints ({listed}); widen the bounds, loosen a "
            "constraint, or, for ints and stepped dials that must add up, make one of them a float"
        )


class _Equalities:
    """Moves points onto the ``equal`` constraints, changing the free floats as little as possible."""

    def __init__(self, spec: ParameterSpec, names: list[str]):
        equal = [c for c in spec.constraints if isinstance(c, LinearConstraint) and c.equal is not None]
        self._free = [j for j, name in enumerate(names) if _is_free(spec.parameters[name])]
        weights = [[c.coefficients.get(name, 0.0) for name in names] for c in equal]
        self._weights = np.array(weights, dtype=float).reshape(-1, len(names))
        self._targets = np.array([c.equal for c in equal], dtype=float)
        bounds = np.array([_bounds(spec.parameters[name]) for name in names]).reshape(-1, 2)
        self._low, self._high = bounds[:, 0], bounds[:, 1]

    def __call__(self, numbers: np.ndarray, pull: np.ndarray) -> np.ndarray:
        """Move rows (n, numeric dials) onto the constraints.

        Where the nearest point is outside the bounds, the row goes to where it would touch them, and from there toward
        the middle of the solutions by 1 - ``pull`` ** (1 / dimension): else the bounds would collect the points.
        """
        if not len(self._targets) or not self._free:
            return numbers
        nearest = self._project(numbers)
        outside = ((nearest < self._low) | (nearest > self._high)).any(axis=1)
        if outside.any():
            middle = numbers[outside].copy()
            middle[:, self._free] = ((self._low + self._high) / 2)[self._free]
            middle, edge = self._alternate(middle), self._alternate(nearest[outside])
            dimension = max(1, len(self._free) - len(self._targets))
            nearest[outside] = middle + (edge - middle) * pull[outside, None] ** (1.0 / dimension)
        return nearest

    def _project(self, numbers: np.ndarray) -> np.ndarray:
        """The nearest rows, in range units, that satisfy the equalities."""
        free = self._free
        ranges = self._high[free] - self._low[free]
        out = numbers.copy()
        residual = self._targets - out @ self._weights.T
        out[:, free] += residual @ np.linalg.pinv(self._weights[:, free] * ranges).T * ranges
        return out

    def _alternate(self, numbers: np.ndarray) -> np.ndarray:
        """Alternate projection and clipping until bounds and equalities both hold; rows that cannot stay outside."""
        out = self._project(numbers)
        for _ in range(200):
            clipped = np.clip(out, self._low, self._high)
            if np.allclose(clipped, out, rtol=0, atol=1e-12):
                break
            out = self._project(clipped)
        return out


class _Stream:
    """A scrambled Sobol sequence and the different feasible settings that it has given so far."""

    def __init__(self, dimension: int, seed: int):
        from scipy.stats import qmc

        self.sampler = qmc.Sobol(dimension, scramble=True, rng=np.random.default_rng(seed))
        self.found: dict[str, Candidate] = {}
        self.drawn = self.passed = self.barren = 0


def _is_free(parameter: Parameter) -> bool:
    return parameter.type == "float" and parameter.step is None


def _bounds(parameter: Parameter) -> tuple[float, float]:
    return float(parameter.low or 0.0), float(parameter.high or 0.0)


def _from_unit(parameter: Parameter, unit: np.ndarray) -> np.ndarray:
    low, high = _bounds(parameter)
    step = parameter.step or (1.0 if parameter.type == "int" else None)
    if parameter.log:
        value = np.exp(np.log(low) + unit * (np.log(high) - np.log(low)))
    elif step is not None:
        steps = int((high - low) / step + 1e-9)
        return low + step * np.minimum(np.floor(unit * (steps + 1)), steps)
    else:
        value = low + unit * (high - low)
    if step is not None:
        steps = int((high - low) / step + 1e-9)
        value = low + step * np.clip(np.round((value - low) / step), 0, steps)
    return np.clip(value, low, high)


def _to_unit(parameter: Parameter, value: np.ndarray) -> np.ndarray:
    low, high = _bounds(parameter)
    if parameter.log:
        return (np.log(np.maximum(value, 1e-300)) - np.log(low)) / (np.log(high) - np.log(low))
    return (value - low) / (high - low)


def _short(value: float) -> float:
    """Round to ten significant digits, so that a setting reads well and survives JSON and CSV unchanged."""
    return float(f"{value:.10g}")
