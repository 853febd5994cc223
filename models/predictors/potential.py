"""Universal potentials behind one port: energy, forces, stress, moments, relaxation. CHGNet ships; others by name."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import numpy as np

from models.blocks.composition import element_numbers
from models.blocks.graph_cache import arrays_of
from models.blocks.materials import Cell, Materials
from models.errors import DataError

_BATCH = 16  # larger ones are slower on a processor
_ATOMS = 64  # of a batch whose forces are wanted: memory
_STEP_A = 0.02
_FEW = 100  # crystals that are sooner asked again than looked up
_CHUNK = 64  # crystals whose vibrations are kept together on disk: a killed computation goes on there


@dataclass(frozen=True)
class PotentialResult:
    """What a potential says of a crystal of N atoms.

    Attributes:
        energy_eV_per_atom: relative to whatever the potential was trained on; never mix two potentials' energies.
        forces_eV_per_A: (N, 3).
        stress_GPa: (3, 3).
        moments_muB: (N,), or None where the potential knows none.
    """

    energy_eV_per_atom: float
    forces_eV_per_A: np.ndarray
    stress_GPa: np.ndarray
    moments_muB: np.ndarray | None = None


class Potential(Protocol):
    """A potential energy surface for any crystal."""

    citation: str

    def evaluate(self, cells: Sequence[Cell]) -> list[PotentialResult]:
        """Energies, forces, stresses and moments of crystals as they are."""
        ...

    def relax(self, cell: Cell, *, steps: int = 200, force_eV_per_A: float = 0.05) -> tuple[Cell, PotentialResult]:
        """Move atoms and cell downhill; return where that ends and what is said of it."""
        ...


class CHGNetPotential:
    """CHGNet 0.3.0, whose weights are in its package (Deng et al., Nat. Mach. Intell. 2023).

    Args:
        device: of torch.
    """

    citation = "10.1038/s42256-023-00716-3"

    def __init__(self, device: str = "cpu") -> None:
        self._model, self.device = _chgnet(device), device

    def evaluate(self, cells: Sequence[Cell]) -> list[PotentialResult]:
        """Of each crystal."""
        return [
            PotentialResult(float(p["e"]), p["f"], p["s"], np.abs(p["m"]).reshape(-1))
            for p in self._predict(cells, task="efsm")
        ]

    def atom_vectors(self, cells: Sequence[Cell]) -> tuple[np.ndarray, np.ndarray]:
        """What it knows of each atom before its energy head, float32 (all atoms, 64), and energies (n,)."""
        found = self._predict(cells, task="e", return_atom_feas=True)
        energies = np.array([float(p["e"]) for p in found], dtype=np.float32)
        return np.concatenate([p["atom_fea"] for p in found]).astype(np.float32), energies

    def force_constants(self, cell: Cell) -> np.ndarray:
        """Of all atoms moved together with their periodic images, (3 N, 3 N), eV/A^2, by finite differences of forces.

        Neighbours are searched for once: a displacement of 0.02 A does not change who they are.
        """
        import torch

        graph, count = self._graph(cell), len(cell.numbers)
        moves = np.zeros((3 * count + 1, count, 3))
        moves[np.arange(1, 3 * count + 1), np.repeat(np.arange(count), 3), np.tile(np.arange(3), count)] = _STEP_A
        frac = torch.from_numpy(moves @ np.linalg.inv(cell.lattice)).to(graph.atom_frac_coord)
        moved = []
        for displacement in frac:
            other = copy(graph)
            other.atom_frac_coord = graph.atom_frac_coord.detach() + displacement
            moved.append(other)
        found = self._of_graphs(moved, batch=max(1, _ATOMS // count), task="ef")
        forces = np.stack([p["f"] for p in found]).astype(float).reshape(len(moved), -1)
        constants = (forces[0] - forces[1:]) / _STEP_A
        return (constants + constants.T) / 2

    def relax(self, cell: Cell, *, steps: int = 200, force_eV_per_A: float = 0.05) -> tuple[Cell, PotentialResult]:
        """With FIRE, atoms and cell together."""
        from chgnet.model.dynamics import StructOptimizer

        optimizer = StructOptimizer(model=self._model, use_device=self.device)
        found = optimizer.relax(to_pymatgen(cell), fmax=force_eV_per_A, steps=steps, verbose=False)
        relaxed = from_pymatgen(found["final_structure"])
        return relaxed, self.evaluate([relaxed])[0]

    def _predict(self, cells: Sequence[Cell], **wanted: Any) -> list[dict[str, np.ndarray]]:
        out = []
        for start in range(0, len(cells), _BATCH):
            graphs = [self._graph(cell) for cell in cells[start : start + _BATCH]]
            out += self._of_graphs(graphs, **wanted)
        return out

    def _graph(self, cell: Cell) -> Any:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="No Pauling electronegativity")  # of helium; CHGNet asks for none
            return self._model.graph_converter(to_pymatgen(cell))

    def _of_graphs(self, graphs: list[Any], batch: int = _BATCH, **wanted: Any) -> list[dict[str, np.ndarray]]:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Converting a tensor")  # CHGNet's own, of its volumes
            found = self._model.predict_graph(graphs, batch_size=batch, **wanted)
        return found if isinstance(found, list) else [found]


class ASEPotential:
    """Any ASE calculator as a potential: SevenNet, MatterSim, ... where they are installed.

    Args:
        calculator: an ASE calculator, e.g. ``sevenn.calculator.SevenNetCalculator("7net-0")`` or
            ``mattersim.forcefield.MatterSimCalculator()``.
        citation: of what is behind it.
    """

    def __init__(self, calculator: Any, citation: str = "") -> None:
        self._calculator, self.citation = calculator, citation

    def evaluate(self, cells: Sequence[Cell]) -> list[PotentialResult]:
        """Of each crystal, one after the other."""
        return [self._of(self._atoms(cell)) for cell in cells]

    def relax(self, cell: Cell, *, steps: int = 200, force_eV_per_A: float = 0.05) -> tuple[Cell, PotentialResult]:
        """With FIRE, atoms and cell together."""
        from ase.filters import FrechetCellFilter
        from ase.optimize import FIRE

        atoms = self._atoms(cell)
        FIRE(FrechetCellFilter(atoms), logfile=None).run(fmax=force_eV_per_A, steps=steps)  # type: ignore[arg-type]
        relaxed = Cell(np.asarray(atoms.cell.array), cell.numbers, atoms.get_scaled_positions())
        return relaxed, self._of(atoms)

    def _atoms(self, cell: Cell) -> Any:
        from ase import Atoms

        atoms = Atoms(numbers=cell.numbers, cell=cell.lattice, scaled_positions=cell.frac, pbc=True)
        atoms.calc = self._calculator
        return atoms

    def _of(self, atoms: Any) -> PotentialResult:
        stress = atoms.get_stress(voigt=False) * 160.21766  # eV/A^3 to GPa
        moments = None
        if "magmoms" in getattr(self._calculator, "implemented_properties", ()):
            moments = np.abs(np.asarray(atoms.get_magnetic_moments()))
        energy = float(atoms.get_potential_energy()) / len(atoms)
        return PotentialResult(energy, np.asarray(atoms.get_forces()), stress, moments)


def potential(name: str = "chgnet", device: str = "cpu") -> Potential:
    """A potential by name: ``chgnet``, ``sevennet`` or ``mattersim``. Raises DataError where it is not installed."""
    if name == "chgnet":
        return CHGNetPotential(device)
    try:
        if name == "sevennet":
            from sevenn.calculator import SevenNetCalculator  # type: ignore[import-not-found]

            return ASEPotential(SevenNetCalculator("7net-0", device=device), "10.1021/acs.jctc.4c00190")
        if name == "mattersim":
            from mattersim.forcefield import MatterSimCalculator  # type: ignore[import-not-found]

            return ASEPotential(MatterSimCalculator(device=device), "arXiv:2405.04967")
    except ImportError as error:
        package = {"sevennet": "sevenn", "mattersim": "mattersim"}[name]
        raise DataError(f"{name} is not installed ({error}); pip install {package}, or use chgnet") from error
    raise DataError(f"no potential {name!r}; known: chgnet, sevennet, mattersim")


def energies_eV_per_atom(materials: Materials) -> np.ndarray:
    """CHGNet's energies as a crude estimate, (n,); nan for a row without a crystal."""
    out = np.full(len(materials), np.nan)
    rows = [i for i, cell in enumerate(materials.cells) if cell is not None]
    cells = [cell for cell in materials.cells if cell is not None]
    if cells:
        out[rows] = atom_vectors(cells)[1]
    return out


def atom_vectors(cells: Sequence[Cell]) -> tuple[np.ndarray, np.ndarray]:
    """CHGNet's atom vectors, float32 (all atoms, 64), and energies (n,), on the best device there is; kept on disk."""

    def make() -> dict[str, np.ndarray]:
        vectors, energies = CHGNetPotential(best_device()).atom_vectors(cells)
        return {"vectors": vectors, "energies": energies}

    found = arrays_of("chgnet-vectors", cells, make) if len(cells) >= _FEW else make()
    return found["vectors"], found["energies"]


def force_constants(cells: Sequence[Cell]) -> list[np.ndarray]:
    """CHGNet's force constants of each crystal, (3 N, 3 N), eV/A^2, on the best device there is; kept on disk."""
    out: list[np.ndarray] = []
    for start in range(0, len(cells), _CHUNK):
        chunk = cells[start : start + _CHUNK]

        def make(chunk: Sequence[Cell] = chunk) -> dict[str, np.ndarray]:
            chgnet = CHGNetPotential(best_device())
            return {str(i): chgnet.force_constants(cell).astype(np.float32) for i, cell in enumerate(chunk)}

        found = arrays_of("chgnet-force-constants", chunk, make)
        out += [found[str(i)].astype(float) for i in range(len(chunk))]
    return out


def best_device() -> str:
    """``cuda`` where there is one, else ``cpu``."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def to_pymatgen(cell: Cell) -> Any:
    """As a pymatgen ``Structure``."""
    from pymatgen.core import Lattice, Structure

    symbols = {number: symbol for symbol, number in element_numbers().items()}
    return Structure(Lattice(cell.lattice), [symbols[z] for z in cell.numbers.tolist()], cell.frac)


def from_pymatgen(structure: Any) -> Cell:
    """From an ordered pymatgen ``Structure``."""
    numbers = np.array([site.specie.Z for site in structure], dtype=np.int64)
    return Cell(np.asarray(structure.lattice.matrix), numbers, np.asarray(structure.frac_coords))


@cache
def _chgnet(device: str) -> Any:
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        from chgnet.model.model import CHGNet

        return CHGNet.load(use_device=device, verbose=False, check_cuda_mem=False)
