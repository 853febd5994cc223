"""What a material really is, by the interatomic potential CHGNet: volume, energy, stiffness, moments."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instruments.errors import LabError
from instruments.files import write_whole
from instruments.simulated.cell import lattice_parameter_A, scaled, volume_A3
from instruments.simulated.references import element

if TYPE_CHECKING:
    from pymatgen.core import Structure

CITATION = "Deng et al., CHGNet, Nature Machine Intelligence 5, 1031 (2023), doi:10.1038/s42256-023-00716-3"
POTENTIAL = "CHGNet 0.3.0"
EV_PER_A3_IN_GPA = 160.21766208
EDGE_BOUNDS = (0.75, 1.45)
"""How far an edge may move from the given guess: beyond, CHGNet leaves its training data and may find absurd cells."""


@dataclass(frozen=True)
class Material:
    """The truth about one crystal, at rest, with its cell scaled isotropically to the lowest energy.

    Attributes:
        formula: as the target names it.
        bound: False where no energy minimum exists within ``EDGE_BOUNDS``: there is no such phase.
        lattice_A, species, frac_coords: the relaxed crystal (internal coordinates as given).
        lattice_parameter_A: edge of the conventional cell (``cell.lattice_parameter_A``).
        volume_A3_per_atom, energy_eV_per_atom, bulk_modulus_GPa: from the equation of state.
        formation_energy_eV_per_atom: against the elements in their ground-state structures, same potential.
        moments_muB: magnitude of the magnetic moment of each site. CHGNet knows no sign.
    """

    formula: str
    bound: bool
    lattice_A: list[list[float]]
    species: list[str]
    frac_coords: list[list[float]]
    lattice_parameter_A: float
    volume_A3_per_atom: float
    energy_eV_per_atom: float
    bulk_modulus_GPa: float
    formation_energy_eV_per_atom: float
    moments_muB: list[float]


@dataclass(frozen=True)
class EquationOfState:
    """Minimum of energy against volume; ``edge_factor`` scales the edges of the given cell to it."""

    bound: bool
    edge_factor: float
    energy_eV_per_atom: float
    bulk_modulus_GPa: float
    moments_muB: list[float]


class Oracle:
    """Answers what a target crystal really is; each answer is computed once and kept in ``cache``.

    A new material costs about 0.2 s of one core; the first one also loads the potential (seconds).
    """

    citation = CITATION

    def __init__(self, cache: Path) -> None:
        self.cache = Path(cache)

    def material(self, target: Mapping[str, Any]) -> Material:
        """Return the truth about ``target``: ``{"formula", "lattice_A", "species", "frac_coords"}``.

        Raises:
            LabError: an element has no reference, so that there is no formation energy.
        """
        path = self.cache / f"{_digest(target)}.json"
        with contextlib.suppress(FileNotFoundError, json.JSONDecodeError, TypeError):
            return Material(**json.loads(path.read_text()))
        material = _compute(target)
        self.cache.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(asdict(material)), durable=False)  # it can be computed again
        return material


def equation_of_state(structure: Structure) -> EquationOfState:
    """Find the isotropic minimum of the energy, starting from ``structure`` and widening until it is bracketed.

    Third-order Birch-Murnaghan: E is a cubic polynomial in V^(-2/3) (Birch 1947, doi:10.1103/PhysRev.71.809), fitted
    to seven volumes within 4 % of the best edge. Energy and moments are then evaluated at the minimum itself.
    """
    import numpy as np

    step = 0.03
    energies = dict(zip(_grid(-4, 4), _energies(structure, [1 + step * i for i in _grid(-4, 4)]), strict=True))
    best = _best_interior(energies)
    while best is None:
        low, high = min(energies), max(energies)
        steps = _grid(low - 6, low - 1) if energies[low] < energies[high] else _grid(high + 1, high + 6)
        steps = [i for i in steps if EDGE_BOUNDS[0] <= 1 + step * i <= EDGE_BOUNDS[1]]
        if not steps:
            return EquationOfState(False, 1.0, energies[0], 0.0, [0.0] * len(structure))
        energies |= dict(zip(steps, _energies(structure, [1 + step * i for i in steps]), strict=True))
        best = _best_interior(energies)

    center = 1 + step * best
    for _ in range(3):
        factors = [center * (1 + 0.04 * i / 3) for i in range(-3, 4)]
        x = np.array(factors) ** -2
        coefficients = np.polyfit(x - x.mean(), _energies(structure, factors), 3)
        first, second = np.polyder(coefficients), np.polyder(coefficients, 2)
        roots = [r.real for r in np.roots(first) if abs(r.imag) < 1e-9 and np.polyval(second, r.real) > 0]
        if not roots:
            break
        root = min(roots, key=abs)
        factor = float((root + x.mean()) ** -0.5)
        if abs(factor / center - 1) < 0.02:
            volume = structure.volume * factor**3 / len(structure)
            # B = V d2E/dV2 = (4/9) x^2 E''(x) / V at the minimum, with x = V^(-2/3) up to a constant.
            bulk = 4 / 9 * float(np.polyval(second, root)) * factor**-4 / volume * EV_PER_A3_IN_GPA
            energy, moments = _evaluate(structure, factor)
            return EquationOfState(True, factor, energy, bulk, moments)
        center = min(max(factor, 0.97 * center), 1.03 * center)
    energy, moments = _evaluate(structure, center)
    return EquationOfState(True, center, energy, 0.0, moments)


@cache
def potential() -> Any:
    """Return CHGNet with its shipped weights, on one thread of the CPU; loaded once a process."""
    import torch

    torch.set_num_threads(1)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), warnings.catch_warnings():
        # Importing it compiles an old nvidia_smi.py with a wrong escape; loading it prints its version.
        warnings.filterwarnings("ignore", message="invalid escape sequence")
        from chgnet.model.model import CHGNet

        return CHGNet.load(model_name="0.3.0", use_device="cpu", verbose=False)


def _compute(target: Mapping[str, Any]) -> Material:
    from pymatgen.core import Lattice, Structure

    species = [str(s) for s in target["species"]]
    reference = sum(n * element(el).energy_eV_per_atom for el, n in Counter(species).items()) / len(species)
    lattice = [[float(x) for x in row] for row in target["lattice_A"]]
    coordinates = [[float(x) for x in row] for row in target["frac_coords"]]
    if len(species) != len(coordinates) or not species or volume_A3(lattice) < len(species):
        raise LabError(
            f"target {target.get('formula')!r}: {len(species)} species, {len(coordinates)} positions in a "
            f"cell of {volume_A3(lattice):.3g} A^3; give one position a species, in a real cell"
        )
    state = equation_of_state(Structure(Lattice(lattice), species, coordinates))
    relaxed = scaled(lattice, state.edge_factor)
    return Material(
        formula=str(target["formula"]),
        bound=state.bound,
        lattice_A=relaxed,
        species=species,
        frac_coords=coordinates,
        lattice_parameter_A=lattice_parameter_A(relaxed),
        volume_A3_per_atom=volume_A3(relaxed) / len(species),
        energy_eV_per_atom=state.energy_eV_per_atom,
        bulk_modulus_GPa=state.bulk_modulus_GPa,
        formation_energy_eV_per_atom=state.energy_eV_per_atom - reference,
        moments_muB=state.moments_muB,
    )


def _grid(low: int, high: int) -> list[int]:
    return list(range(low, high + 1))


def _best_interior(energies: Mapping[int, float]) -> int | None:
    minima = [
        i
        for i in energies
        if i - 1 in energies and i + 1 in energies and energies[i] <= min(energies[i - 1], energies[i + 1])
    ]
    return min(minima, key=energies.__getitem__, default=None)


def _energies(structure: Structure, factors: list[float]) -> list[float]:
    return [energy for energy, _ in _predict(structure, factors, "e")]


def _evaluate(structure: Structure, factor: float) -> tuple[float, list[float]]:
    return _predict(structure, [factor], "em")[0]


def _predict(structure: Structure, factors: list[float], task: str) -> list[tuple[float, list[float]]]:
    import torch
    from pymatgen.core import Lattice, Structure

    cells = [
        Structure(Lattice(structure.lattice.matrix * f), structure.species, structure.frac_coords) for f in factors
    ]
    with torch.no_grad():
        answers = potential().predict_structure(cells, task=task, batch_size=16)
    answers = [answers] if isinstance(answers, dict) else answers
    return [(float(a["e"]), [abs(float(m)) for m in a["m"]] if "m" in a else []) for a in answers]


def _digest(target: Mapping[str, Any]) -> str:
    numbers = [[[round(float(x), 6) for x in row] for row in target[k]] for k in ("lattice_A", "frac_coords")]
    text = json.dumps([POTENTIAL, EDGE_BOUNDS, target["formula"], list(target["species"]), numbers])
    return hashlib.sha256(text.encode()).hexdigest()[:24]
