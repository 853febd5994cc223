"""An instrument that calls a Python function of the user's."""

from __future__ import annotations

import importlib
import importlib.util
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from instruments.driver import Capability, Job, Limit, Outcome, Progress
from instruments.drivers.table import bounds_of, expand_path
from instruments.errors import LabError


class FunctionDriver:
    """Answers ``measure`` with what the user's function returns for the parameters, given as keywords.

    The four lines to write first, in ``lab.py``, used as ``function: lab.py:yield_pct``::

        def yield_pct(temperature_C, time_min, solvent):
            robot.make(temperature_C, time_min, solvent)
            return robot.measure()          # a number, or {"yield_pct": 81.0, "purity_pct": 99.1}

    Settings:
        function: ``path/to/file.py:name`` or ``package.module:name``.
        quantities: what is reported, names or name -> [low, high]. A plain number is the one quantity named here
            (``value`` where none is named).
        limits: parameter name -> [low, high], checked before every call.
        duration_s: what one call stands for, in simulated seconds; ``duration_s`` in an answer counts more.
        capability: what it is called in recipes.
        target: True hands over the candidate's crystal too, as the keyword ``target`` (``formula``, ``species``,
            ``lattice_A``, ``frac_coords``).
        idempotent: True promises that calling it twice does no harm (it only computes): an interrupted call is then
            simply repeated. The default, False, leaves an interrupted call to a person.

    Raises:
        LabError: the file, module or name does not exist.
    """

    def __init__(
        self,
        *,
        workdir: Path,
        function: str,
        quantities: Sequence[str] | Mapping[str, Sequence[float]] = ("value",),
        limits: Mapping[str, Sequence[float]] | None = None,
        duration_s: float = 3600.0,
        idempotent: bool = False,
        capability: str = "measure",
        target: bool = False,
    ) -> None:
        self.workdir = Path(workdir)
        self.function = _load(function)
        self.quantities = bounds_of(quantities)
        self.limits = {name: Limit(*map(float, pair)) for name, pair in (limits or {}).items()}
        self.duration_s = duration_s
        self.idempotent, self.capability, self.target = idempotent, capability, target
        self._stopped = threading.Event()
        self._calls = 0
        self._last_error = ""

    def capabilities(self) -> list[Capability]:
        """One capability, ``measure`` or as the settings say."""
        return [Capability(self.capability, dict(self.limits), dict(self.quantities), self.idempotent)]

    def run(self, job: Job, progress: Progress) -> Outcome:
        """Call the function. NaN passes, for the result gate to reject.

        An exception, or an answer that is no number, is a fault: something to repair, not chemistry. A function that
        has no result for some settings returns NaN there, and None where nothing could be made: a failed synthesis.
        """
        self._stopped.clear()
        asked = {str(k): v for k, v in job.parameters.get("parameters", {}).items()}
        for name, limit in self.limits.items():
            if name in asked and not limit.low <= float(asked[name]) <= limit.high:
                return self._failed(f"{name} = {asked[name]} is outside {limit.low:g}..{limit.high:g}")
        if self.target:
            asked["target"] = job.parameters.get("target")
        self._calls += 1
        try:
            answer = self.function(**asked)
        except Exception as error:
            return self._failed(f"{type(error).__name__}: {error}", "fault")
        if self._stopped.is_set():
            return self._failed("stopped while the function was running; its answer was dropped")
        if answer is None:
            return self._failed("nothing was made")
        try:
            readings = self._readings(answer)
        except (TypeError, ValueError) as error:
            return self._failed(str(error), "fault")
        took = answer.get("duration_s", self.duration_s) if isinstance(answer, Mapping) else self.duration_s
        return Outcome("ok", readings=readings, duration_s=float(took))

    def stop(self) -> None:
        """Drop the answer of a running call; Python cannot interrupt it."""
        self._stopped.set()

    def health(self) -> dict[str, Any]:
        """Calls made so far and the last error."""
        return {"calls": self._calls, "last_error": self._last_error}

    def inspect(self, job: Job) -> Outcome | None:
        """``untouched`` where the user promised that calling twice does no harm; else only a person can tell."""
        return Outcome("untouched", message="declared idempotent") if self.idempotent else None

    def _failed(self, message: str, status: str = "failed") -> Outcome:
        self._last_error = message
        return Outcome(status, message=message, duration_s=self.duration_s)

    def _readings(self, answer: Any) -> dict[str, float]:
        if isinstance(answer, Mapping):
            missing = [q for q in self.quantities if q not in answer]
            if missing:
                raise ValueError(f"the function returned {sorted(map(str, answer))}, which lacks {', '.join(missing)}")
            return {q: float(answer[q]) for q in self.quantities}
        if len(self.quantities) != 1:
            raise ValueError(f"the function returned one value; return a dict with {', '.join(self.quantities)}")
        try:
            return {next(iter(self.quantities)): float(answer)}
        except (TypeError, ValueError):
            raise TypeError(f"the function returned {answer!r}; return a number or a dict of numbers") from None


def _load(target: str) -> Callable[..., Any]:
    place, _, name = target.rpartition(":")
    if not place:
        raise LabError(f"function {target!r}: write 'path/to/file.py:name' or 'package.module:name'")
    try:
        if place.endswith(".py"):
            path = expand_path(place)
            if not path.is_file():
                raise LabError(f"function {target!r}: no file {path} (working directory {Path.cwd()})")
            spec = importlib.util.spec_from_file_location(f"athanor_function_{path.stem}", path)
            if spec is None or spec.loader is None:
                raise LabError(f"function {target!r}: {path} cannot be loaded as Python")
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(place)
        function = getattr(module, name)
    except LabError:
        raise
    except AttributeError as error:
        raise LabError(f"function {target!r}: {place} has no {name!r}: {error}") from error
    except Exception as error:
        raise LabError(f"function {target!r}: {place} fails when imported: {type(error).__name__}: {error}") from error
    if not callable(function):
        raise LabError(f"function {target!r}: {name} is not callable")
    return function
