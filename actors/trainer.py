"""The trainer's actor: retrains the predictor beside the running campaign and says which version serves."""

from __future__ import annotations

import logging
import platform
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from actors.orders import TrainingOrder, TrainingReport
from actors.spec import ScienceSpec
from models.candidate import digest
from models.errors import DataError
from models.observation import Observation
from models.predictors.version import Verdict, Version, retrain

log = logging.getLogger(__name__)

_KEPT = 8
_FILES = 8


@dataclass(frozen=True)
class Served:
    """The version that serves after a training (``None``: there is none yet), and what came of the training."""

    version: Version | None
    report: TrainingReport


class TrainerRole:
    """Trains version after version; each follows from the results alone, so that a lost one is made again.

    Versions are a chain: what serves after the first n results follows from those results, the settings and what
    served before. Asked for a link that is not at hand (the actor died, the campaign was resumed, a replay), it goes
    back to the last that is: in memory, else in the folder ``models`` of the run, else from the beginning.
    """

    def __init__(self, spec: ScienceSpec) -> None:
        if spec.trainer is None:
            raise ValueError("the campaign has no trainer")
        self._spec, self._settings = spec, spec.trainer
        self._space = spec.build_space()
        self._chain: OrderedDict[int, Served] = OrderedDict()
        self._folder = Path(spec.versions_dir) if spec.versions_dir else None

    def train(self, order: TrainingOrder) -> TrainingReport:
        """Carry out one training, and whatever it builds on."""
        return self._reach(order.observations).report

    def version(self, observations: Sequence[Observation]) -> Version | None:
        """What serves after these results, all of them."""
        return self._reach(observations).version

    def _reach(self, observations: Sequence[Observation]) -> Served:
        n, every = len(observations), self._settings.every
        served: Served | None = None
        links = range(every, n + 1, every)
        first = 0
        for k in reversed(range(len(links))):
            served = self._find(observations[: links[k]])
            if served is not None:
                first = k + 1
                break
        for link in links[first:]:
            served = self._link(observations[:link], served)
            self._keep(observations[:link], served)
        if served is None:
            raise ValueError(f"nothing is trained on {n} results where a training comes every {every}")
        return served

    def _link(self, observations: Sequence[Observation], before: Served | None) -> Served:
        """One training: the version that serves after it."""
        begin, n = time.perf_counter(), len(observations)
        cold, old = self._settings.is_cold(n), before.version if before else None
        candidate, serving, version, note = "", None, old, ""
        verdict = Verdict(False, {}, 0, "")
        try:
            fresh = self._spec.build_predictor(self._space)
            if old is not None:
                serving = self._spec.build_predictor(self._space)
                serving.take_version(old)
            verdict = retrain(fresh, serving, observations, self._settings, cold=cold)
            made = fresh.keep_version()
            candidate = made.hash
            version = made if verdict.published or serving is None else serving.keep_version()
        except Exception as error:  # the version before goes on serving, and so does the lab
            log.exception("the training on %d results broke", n)
            note = f"the training on {n} results broke ({type(error).__name__}: {str(error)[:120]})"
        report = TrainingReport(
            n_observations=n,
            cold=cold,
            candidate=candidate,
            serving=version.hash if version else "",
            published=verdict.published and not note,
            scores=verdict.scores,
            judged=verdict.judged,
            reason=note or verdict.reason,
            seconds=round(time.perf_counter() - begin, 4),
            made_with=made_with(),
        )
        return Served(version, report)

    def _find(self, observations: Sequence[Observation]) -> Served | None:
        n = len(observations)
        if n in self._chain:
            return self._chain[n]
        path = self._path(observations)
        if path is None or not path.is_file():
            return None
        try:
            version, header = Version.load(path)
            report = TrainingReport.model_validate_json(header["report"])
        except (DataError, KeyError, ValueError) as error:
            log.warning("%s is made again: %s", path, error)
            return None
        self._remember(n, Served(version, report))
        return self._chain[n]

    def _keep(self, observations: Sequence[Observation], served: Served) -> None:
        self._remember(len(observations), served)
        path = self._path(observations)
        if path is None or served.version is None:
            return
        try:
            served.version.save(path, {"report": served.report.model_dump_json()})
            for old in sorted(path.parent.glob("*.npz"))[:-_FILES]:
                old.unlink(missing_ok=True)
        except OSError as error:  # it can be made again
            log.warning("a version of the model could not be kept: %s", error)

    def _remember(self, n: int, served: Served) -> None:
        self._chain[n] = served
        while len(self._chain) > _KEPT:
            self._chain.popitem(last=False)

    def _path(self, observations: Sequence[Observation]) -> Path | None:
        """Its file: the name says what it follows from."""
        if self._folder is None:
            return None
        spec = self._spec
        seen = [o.model_dump(mode="json", exclude={"hours"}) for o in observations]
        source = [spec.predictor, spec.space, spec.objectives, spec.constraints, spec.trainer, seen]
        return self._folder / f"{len(observations):06d}-{digest([source, made_with()])}.npz"


def made_with() -> str:
    """The libraries and processor on which the last digits of a training depend."""
    import numpy
    import sklearn
    import torch

    parts = (f"torch {torch.__version__}", f"numpy {numpy.__version__}", f"scikit-learn {sklearn.__version__}")
    return ", ".join((*parts, platform.machine(), torch.backends.cpu.get_cpu_capability()))
