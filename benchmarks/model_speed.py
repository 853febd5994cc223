"""Rates of the models of properties per CPU second of one core, each beside its peer's in the same run.

matminer (Ward 2018, 10.1016/j.commatsci.2018.05.018) and smact (Davies 2019, 10.21105/joss.01361) are measured where
they are installed (`pip install matminer smact`, in an environment of their own). CGCNN's own code is on no registry:
its peer is the published layer (Xie and Grossman 2018), written here as its paper has it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.blocks.materials import Cell, Materials, read_materials

_ROWS = 1024
_BATCH = 256


def table(data: Path) -> Iterator[str]:
    """Lines of a table of rates, told as they are measured."""
    torch.set_num_threads(1)
    materials = read_materials(data / "structures/perov5.parquet").take(np.arange(_ROWS))
    cells = [cell for cell in materials.cells if cell is not None]
    yield f"per CPU second of one core (torch {torch.__version__}, {_ROWS:,} cells of 5 atoms of perov5)\n"
    yield "| what | rate | peer | peer's rate | times | goal |\n|---|---|---|---|---|---|"
    for measured in (_composition, _validity, _ward, _graphs, _cgcnn, _cgat):
        yield from measured(materials, cells)


def rate(work: Callable[[], Any], count: int, repeats: int = 5) -> float:
    """Items a CPU second of this process, best of some after a warm-up."""
    work()
    best = 0.0
    for _ in range(repeats):
        begin = time.process_time()
        work()
        best = max(best, count / (time.process_time() - begin))
    return best


def _line(what: str, ours: float, peer: str, theirs: float | None, goal: str) -> str:
    if theirs is None:
        return f"| {what} | {ours:,.0f} | {peer} | | | {goal} |"
    return f"| {what} | {ours:,.0f} | {peer} | {theirs:,.3g} | {ours / theirs:.1f} | {goal} |"


def _composition(materials: Materials, cells: list[Cell]) -> Iterator[str]:
    from models.blocks.composition import magpie_features, parse_all

    formulas = materials.formulas
    ours = rate(lambda: magpie_features(parse_all(formulas)), len(formulas))
    what, goal = "composition features, 180 a formula, parsing included", "30 times"
    try:
        from matminer.featurizers.composition import ElementProperty  # type: ignore[import-not-found]
        from pymatgen.core import Composition

        magpie, few = ElementProperty.from_preset("magpie", impute_nan=True), [Composition(f) for f in formulas[:200]]
        theirs = rate(lambda: [magpie.featurize(c) for c in few], len(few))
        yield _line(what, ours, "matminer's Magpie, 132, of parsed compositions", theirs, goal)
    except ImportError:
        yield _line(what, ours, "matminer is not installed", None, goal)


def _validity(materials: Materials, cells: list[Cell]) -> Iterator[str]:
    from models.blocks.composition import parse
    from models.blocks.validity import plausible

    formulas = materials.formulas
    ours = rate(lambda: plausible([parse(f) for f in formulas]), len(formulas))
    what, goal = "validity (charge balance, electronegativity), parsing included", "20 times"
    try:
        from smact.screening import smact_validity  # type: ignore[import-not-found]

        theirs = rate(lambda: [smact_validity(f) for f in formulas[:200]], 200)
        yield _line(what, ours, "smact_validity", theirs, goal)
    except ImportError:
        yield _line(what, ours, "smact is not installed", None, goal)


def _ward(materials: Materials, cells: list[Cell]) -> Iterator[str]:
    from models.predictors.ward import WardForest

    some, model = materials.take(np.arange(100)), WardForest()
    ours = rate(lambda: model.features(some), len(some))
    what, goal = "Ward's attributes, Voronoi and elemental", "20 times"
    try:
        from matminer.featurizers.composition import ElementProperty  # type: ignore[import-not-found]
        from matminer.featurizers.structure import (  # type: ignore[import-not-found]
            ChemicalOrdering,
            MaximumPackingEfficiency,
            SiteStatsFingerprint,
            StructuralHeterogeneity,
        )

        from models.predictors.potential import to_pymatgen

        magpie = ElementProperty.from_preset("magpie", impute_nan=True)
        parts = [
            SiteStatsFingerprint.from_preset("CoordinationNumber_ward-prb-2017"), StructuralHeterogeneity(),
            ChemicalOrdering(shells=(1,)), MaximumPackingEfficiency(),
            SiteStatsFingerprint.from_preset("LocalPropertyDifference_ward-prb-2017"),
        ]  # fmt: skip
        structures = [to_pymatgen(cell) for cell in cells[:10]]

        def featurize() -> None:
            for structure in structures:
                for part in parts:
                    part.featurize(structure)
                magpie.featurize(structure.composition)

        yield _line(what, ours, "matminer's five featurizers of the same, and Magpie", rate(featurize, 10, 2), goal)
    except ImportError:
        yield _line(what, ours, "matminer is not installed", None, goal)


def _graphs(materials: Materials, cells: list[Cell]) -> Iterator[str]:
    from models.blocks.graphs import crystal_graphs

    ours = rate(lambda: crystal_graphs(cells), len(cells))
    yield _line("crystal graphs, 12 neighbours with whole shells", ours, "", None, "4,000")


def _cgcnn(materials: Materials, cells: list[Cell]) -> Iterator[str]:
    from models.blocks.fitting import Scaled, laplace_loss
    from models.predictors.cgcnn import CGCNN

    model, peer = CGCNN(), PublishedCGCNN()
    scaled, graphs = Scaled(model.network()), model.prepare(materials)
    rows = torch.arange(len(cells)).split(_BATCH)
    theirs = [PublishedCGCNN.inputs([cells[i] for i in part.tolist()]) for part in rows]
    ours = torch.optim.AdamW(scaled.parameters())
    descent = torch.optim.SGD(peer.parameters(), lr=0.01, momentum=0.9)

    def our_step() -> None:
        scaled.train()
        for part in rows:
            loss = laplace_loss(*scaled(graphs.batch(part)), torch.zeros((len(part), 1)))  # type: ignore[arg-type]
            ours.zero_grad()
            loss.backward()
            ours.step()

    def their_step() -> None:
        peer.train()
        for part, batch in zip(rows, theirs, strict=True):
            loss = functional.mse_loss(peer(*batch), torch.zeros((len(part), 1)))
            descent.zero_grad()
            loss.backward()
            descent.step()

    @torch.no_grad()
    def their_inference() -> None:
        peer.eval()
        for batch in theirs:
            peer(*batch)

    name = "the published layer, 12 neighbours"
    n = len(cells)
    yield _line("CGCNN, a training step", rate(our_step, n), name, rate(their_step, n), "2 times")
    inference = rate(lambda: scaled.predict(graphs, batch=_BATCH), n)
    yield _line("CGCNN, inference", inference, name, rate(their_inference, n), "2 times")
    whole = rate(lambda: scaled.predict(model.prepare(materials), batch=_BATCH), n)
    yield _line("CGCNN, inference with graphs", whole, "", None, "")


class PublishedCGCNN(nn.Module):
    """CGCNN as its paper has it.

    v_i <- softplus(v_i + norm(sum_k sigmoid(z W_f) softplus(z W_s))), z = [v_i, v_j, u_ij].
    Dense tensors of 12 neighbours an atom; batch normalisation of all gates and of the sums; widths 64 and 128, three
    layers, 41 Gaussians, 92 bits an element. The inputs are made beforehand and the mean over a crystal's atoms is one
    operation, which is in its favour.
    """

    def __init__(self, width: int = 64, hidden: int = 128, gaussians: int = 41) -> None:
        super().__init__()
        self.embedding = nn.Linear(92, width)
        self.gates = nn.ModuleList(nn.Linear(2 * width + gaussians, 2 * width) for _ in range(3))
        self.edge_norms = nn.ModuleList(nn.BatchNorm1d(2 * width) for _ in range(3))
        self.sum_norms = nn.ModuleList(nn.BatchNorm1d(width) for _ in range(3))
        self.hidden, self.out = nn.Linear(width, hidden), nn.Linear(hidden, 1)

    def forward(self, elements: Tensor, distances: Tensor, neighbors: Tensor, crystal: Tensor, size: int) -> Tensor:
        """(N, 92), (N, 12, 41), (N, 12), (N,) and the count of crystals -> (size, 1)."""
        x = self.embedding(elements)
        n, m = neighbors.shape
        for gate, edge_norm, sum_norm in zip(self.gates, self.edge_norms, self.sum_norms, strict=True):
            z = torch.cat([x[:, None].expand(n, m, -1), x[neighbors], distances], dim=2)
            z = edge_norm(gate(z).view(n * m, -1)).view(n, m, -1)
            keep, core = z.chunk(2, dim=2)
            x = functional.softplus(x + sum_norm((torch.sigmoid(keep) * functional.softplus(core)).sum(dim=1)))
        atoms = torch.bincount(crystal, minlength=size)[:, None]
        mean = x.new_zeros((size, x.shape[1])).index_add(0, crystal, x) / atoms
        return self.out(functional.softplus(self.hidden(functional.softplus(mean))))

    @staticmethod
    def inputs(cells: list[Cell]) -> tuple[Tensor, Tensor, Tensor, Tensor, int]:
        """What ``forward`` takes, of some crystals; the elements' bits are one for each atomic number."""
        from models.blocks.neighbors import bonds

        found = bonds(cells, 12)
        sizes = np.array([len(cell.numbers) for cell in cells])
        crystal = np.repeat(np.arange(len(cells)), sizes)
        atom = found.centre + np.repeat(np.cumsum(sizes) - sizes, np.diff(found.offsets))
        place = np.arange(len(atom)) - np.searchsorted(atom, atom)
        near = place < 12
        other = (found.other + np.repeat(np.cumsum(sizes) - sizes, np.diff(found.offsets)))[near].reshape(-1, 12)
        distance = torch.from_numpy(found.distance_A[near].reshape(-1, 12)).float()
        gaussians = torch.exp(-(((distance[..., None] - torch.linspace(0.0, 8.0, 41)) / 0.2) ** 2))
        numbers = torch.from_numpy(np.concatenate([cell.numbers for cell in cells])) - 1
        bits = functional.one_hot(numbers.clamp(max=91), 92).float()
        return bits, gaussians, torch.from_numpy(other), torch.from_numpy(crystal), len(cells)


def _cgat(materials: Materials, cells: list[Cell]) -> Iterator[str]:
    from models.blocks.fitting import Scaled
    from models.pool import CandidatePool
    from models.predictors.cgat import CGAT
    from models.predictors.pool_materials import pool_materials
    from models.roles import Condition
    from models.spaces.prototype import PrototypeSpace
    from models.spaces.spec import PrototypeSpec

    model = CGAT()
    scaled = Scaled(model.network())
    for name, spec in PROTOTYPES.items():
        space = PrototypeSpace(PrototypeSpec.model_validate({"kind": "prototype", **spec}))
        pool = CandidatePool(space)
        pool.absorb(space.propose_indices(2 * _ROWS, Condition(seed=0)))
        rows = np.arange(len(pool))

        def screen(pool: CandidatePool = pool, rows: np.ndarray = rows) -> None:
            scaled.predict(model.prepare(pool_materials(pool, rows)))

        what = f"CGAT, a pool of {len(rows):,} decorated {name}, crystals and graphs included"
        yield _line(what, rate(screen, len(rows)), "", None, "3,000")
    whole = rate(lambda: scaled.predict(model.prepare(materials)), len(cells))
    yield _line("CGAT, cells of perov5 (distorted: a graph each), graphs included", whole, "", None, "")


_METALS, _LARGE = (
    symbols.split()
    for symbols in (
        "Li Mg Al Si Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge Y Zr Nb Mo Ru Rh Pd Ag In Sn Sb Hf Ta W Re Ir Pt Au Bi",
        "Na K Rb Cs Mg Ca Sr Ba Y La Ce Pr Nd Sm Eu Gd Pb Bi",
    )
)
PROTOTYPES: dict[str, dict[str, Any]] = {
    "full Heuslers": {
        "prototypes": [
            {
                "name": "L2_1", "spacegroup": "Fm-3m", "a_A": 5.8, "equivalent": [["Y", "Z"]],
                "sites": {"X": [[0.25, 0.25, 0.25]], "Y": [[0, 0, 0]], "Z": [[0.5, 0.5, 0.5]]},
            }
        ],
        "elements": {"*": _METALS},
    },
    "perovskites": {
        "prototypes": [
            {
                "name": "perovskite", "spacegroup": "Pm-3m", "a_A": 4.0,
                "sites": {"A": [[0, 0, 0]], "B": [[0.5, 0.5, 0.5]], "X": [[0.5, 0.5, 0]]},
            }
        ],
        "elements": {
            "A": _LARGE, "B": _METALS, "X": ["O", "F", "S", "N"],
        },
    },
}  # fmt: skip
