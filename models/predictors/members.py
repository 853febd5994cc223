"""An ensemble of one system's models with calibrated intervals, and how it is kept on disk."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from models.blocks import checkpoint
from models.blocks.calibration import conformal_factor
from models.blocks.composition import element_numbers
from models.blocks.materials import Materials
from models.blocks.neighbors import faults
from models.errors import DataError, NotFittedError
from models.predictors.crude import build_model
from models.predictors.property import PropertyModel

FILE = "model.npz"


@dataclass
class Ensemble:
    """Members that differ by their seed and by the rows they left out.

    Attributes:
        name: of the system.
        settings: of every member (``targets``, ``uses``, ``crude``).
        quantities: name of each target, unit included.
        members: models.
        factor: (t,) what the standard deviation is multiplied by, so that 90 % intervals hold 90 %.
        elements: atomic numbers that the training rows had; others are out of the domain.
        about: anything worth keeping: data hash, split, metrics.
    """

    name: str
    settings: dict[str, Any]
    quantities: tuple[str, ...]
    members: list[PropertyModel] = field(default_factory=list)
    factor: np.ndarray = field(default_factory=lambda: np.ones(1))
    elements: tuple[int, ...] = ()
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def structure(self) -> bool:
        """True where a crystal is needed."""
        return self.members[0].structure

    def predict_inputs(self, inputs: Any) -> tuple[np.ndarray, np.ndarray]:
        """Means and standard deviations of prepared inputs, (n, t): the members' own widths and their disagreement."""
        if not self.members:
            raise NotFittedError("train the ensemble before asking it")
        means, stds = (np.stack(part) for part in zip(*(m.predict(inputs) for m in self.members), strict=True))
        return means.mean(axis=0), np.sqrt((stds**2).mean(axis=0) + means.var(axis=0)) * self.factor

    def predict(self, materials: Materials) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """Means and standard deviations, (n, t), and a flag a row.

        A row that cannot be judged (no crystal, absurd cell, atoms that overlap, no element) has nan and why;
        one with an element that no training row had has a number and a warning.
        """
        if not self.members:
            raise NotFittedError("train the ensemble before asking it")
        flags = sift(materials, structure=self.structure)
        fine = np.flatnonzero([not flag for flag in flags])
        mean = np.full((len(materials), len(self.quantities)), np.nan)
        std = mean.copy()
        if len(fine):
            mean[fine], std[fine] = self.predict_inputs(self.members[0].prepare(materials.take(fine)))
        symbols = {number: symbol for symbol, number in element_numbers().items()}
        known = set(self.elements)
        for i in fine:
            there = materials.compositions.numbers[i][materials.compositions.fractions[i] > 0].tolist()
            if strange := [symbols[z] for z in there if z not in known]:
                flags[i] = f"out of domain: no training row has {', '.join(strange)}"
        return mean, std, flags

    def calibrate(self, truth: np.ndarray, mean: np.ndarray, std: np.ndarray) -> None:
        """Set the factor from left-out rows (n, t) whose ``std`` bears no factor yet; nan truths do not count."""
        factors = []
        for k in range(truth.shape[1]):
            known = ~np.isnan(truth[:, k]) & ~np.isnan(mean[:, k])
            factors.append(conformal_factor(truth[known, k], mean[known, k], std[known, k]))
        self.factor = np.array(factors)

    @property
    def version(self) -> str:
        """SHA-256 (16 digits) of everything that decides a prediction."""
        total = hashlib.sha256(repr((self.name, sorted(self.settings.items()), self.quantities)).encode())
        for name, array in sorted(self._arrays().items()):
            total.update(name.encode() + np.ascontiguousarray(array).tobytes())
        return total.hexdigest()[:16]

    def _arrays(self) -> dict[str, np.ndarray]:
        out = {f"{k}/{name}": a for k, member in enumerate(self.members) for name, a in member.arrays().items()}
        return out | {"factor": self.factor}

    def save(self, path: Path) -> None:
        """Write one checkpoint, without pickle."""
        header = {
            "model": self.name,
            "settings": {**self.settings, "uses": list(self.settings.get("uses", ()))},
            "quantities": list(self.quantities),
            "members": len(self.members),
            "elements": list(self.elements),
            "version": self.version,
            "about": self.about,
        }
        checkpoint.save(path, self._arrays(), header)

    @classmethod
    def load(cls, path: Path) -> Ensemble:
        """Read a checkpoint, or the one in a folder. Raises DataError where it is damaged or of an unknown model."""
        path = path / FILE if path.is_dir() else path
        if not path.exists():
            raise DataError(f"{path} does not exist: is the training finished? `athanor train` writes it at its end")
        arrays, header = checkpoint.load(path)
        try:
            settings = {**header["settings"], "uses": tuple(header["settings"]["uses"])}
            loaded = cls(header["model"], settings, tuple(header["quantities"]), [], arrays["factor"])
            loaded.elements, loaded.about = tuple(header["elements"]), header["about"]
            for k in range(header["members"]):
                member = build_model(loaded.name, **settings)
                member.restore(checkpoint.nested(arrays, str(k)))
                loaded.members.append(member)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path} is not a checkpoint that this version reads ({error}); train it again") from error
        if loaded.version != header["version"]:
            raise DataError(f"{path} is damaged: its hash is {loaded.version}, not {header['version']}; train it again")
        return loaded


def sift(materials: Materials, *, structure: bool) -> list[str]:
    """Why each row cannot be judged by a model that needs a structure or only a formula; ``""`` where it can."""
    flags = list(materials.flags)
    if structure:
        for i, cell in enumerate(materials.cells):
            if cell is None and not flags[i]:
                flags[i] = "no ordered crystal, which this model needs (a disordered site, or no structure column)"
        fine = [i for i, flag in enumerate(flags) if not flag]
        for i, fault in zip(fine, faults([materials.cells[i] for i in fine]), strict=True):  # type: ignore[misc]
            flags[i] = fault
    return flags
