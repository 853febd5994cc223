"""Conventional superconductors: a gate, the Allen-Dynes temperature, and a network that goes through alpha^2 F."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from models.blocks.convolutions import ElementEmbedding, GatedConv, GaussianExpansion, Trunk, mean_pool
from models.blocks.fitting import Inputs, Schedule
from models.blocks.graph_cache import graphs_of
from models.blocks.graphs import Batch, GraphSet
from models.blocks.materials import Materials
from models.predictors.property import NeuralModel

MU_STAR = 0.1
"""Coulomb pseudopotential."""
_K_PER_MEV = 11.604518
_BINS, _HIGHEST_MEV = 48, 96.0


class BCSNet(NeuralModel):
    """Critical temperature of a conventional superconductor from its crystal (Choudhary and Garrity 2022).

    The network gives the Eliashberg function alpha^2 F on a grid of phonon energies; lambda and omega_log are its
    moments, and Allen and Dynes' formula makes the temperature. The paper trains on calculated alpha^2 F; where a table
    has only temperatures, as here, the function is latent and learned through the formula. The target is in kelvin; the
    paper's gate is ``bcs_gate``.
    """

    citation = "10.1038/s41524-022-00933-1"
    summary = "critical temperature (K) through alpha^2 F and the Allen-Dynes formula"
    speed = "1,900"
    structure = True
    schedule = Schedule(epochs=100, batch=32, learning_rate=2e-3)

    def inputs(self, materials: Materials) -> GraphSet:
        """Crystal graphs of 12 neighbours."""
        return graphs_of(materials, neighbors=12)

    def network(self) -> nn.Module:
        """Embedding, convolutions, alpha^2 F, temperature."""
        return _Network(len(self.uses))

    def prepare(self, materials: Materials) -> Inputs:
        """One target only. Raises DataError for more."""
        from models.errors import DataError

        if self.targets != 1:
            raise DataError("bcs learns one temperature; give one --target")
        return super().prepare(materials)


def bcs_gate(debye_temperature_K: np.ndarray, states_per_eV_atom: np.ndarray) -> np.ndarray:
    """The paper's gate: stiff and metallic, a Debye temperature above 300 K and one state an eV and an atom."""
    return (np.asarray(debye_temperature_K) > 300.0) & (np.asarray(states_per_eV_atom) > 1.0)


def eliashberg_moments(energy_meV: np.ndarray, alpha2f: np.ndarray) -> tuple[float, float]:
    """Return lambda = 2 int a2F / w dw, and omega_log (meV) = exp(2 / lambda int ln(w) a2F / w dw)."""
    positive = energy_meV > 0
    w, f = energy_meV[positive], alpha2f[positive]
    coupling = 2.0 * float(np.trapezoid(f / w, w))
    return coupling, float(np.exp(2.0 / coupling * np.trapezoid(np.log(w) * f / w, w)))


def allen_dynes_K(coupling: float, omega_log_meV: float, mu_star: float = MU_STAR) -> float:
    """T_c = omega_log / 1.2 exp(-1.04 (1 + lambda) / (lambda - mu* (1 + 0.62 lambda))), in kelvin; 0 for weak coupling.

    Allen and Dynes, Phys. Rev. B 12, 905 (1975).
    """
    strength = coupling - mu_star * (1.0 + 0.62 * coupling)
    if strength <= 0:
        return 0.0
    return omega_log_meV * _K_PER_MEV / 1.2 * float(np.exp(-1.04 * (1.0 + coupling) / strength))


class _Network(nn.Module):
    physical = True
    energy: Tensor

    def __init__(self, extra: int, width: int = 64) -> None:
        super().__init__()
        self.embedding = ElementEmbedding(width)
        self.distance = GaussianExpansion(0.0, 8.0, 41)
        self.layers = nn.ModuleList(GatedConv(width, 41) for _ in range(3))
        self.trunk = Trunk(width, [128], (_BINS + 2) // 2, extra=extra)
        self.register_buffer("energy", (torch.arange(_BINS) + 0.5) * _HIGHEST_MEV / _BINS, persistent=False)

    def alpha2f(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """alpha^2 F on the grid, (size, bins), and the log width of the temperature, (size, 1)."""
        x, e = self.embedding(batch.number), self.distance(batch.edge["distance"])
        for layer in self.layers:
            x, e = layer(x, e, batch)
        out = self.trunk(mean_pool(x, batch), batch.extra)
        return 0.3 * nn.functional.softplus(out[:, :_BINS]), out[:, _BINS : _BINS + 1]

    def forward(self, batch: Batch) -> Tensor:
        function, width = self.alpha2f(batch)
        over = function / self.energy * (_HIGHEST_MEV / _BINS)
        coupling = 2.0 * over.sum(dim=1, keepdim=True)
        log_energy = 2.0 * (over * torch.log(self.energy)).sum(dim=1, keepdim=True) / coupling
        # softplus keeps a gradient where the coupling is too weak to superconduct
        strength = nn.functional.softplus((coupling - MU_STAR * (1.0 + 0.62 * coupling)) * 50.0) / 50.0
        exponent = (-1.04 * (1.0 + coupling) / strength.clamp_min(1e-3)).clamp_min(-40.0)
        return torch.cat([torch.exp(log_energy) * _K_PER_MEV / 1.2 * torch.exp(exponent), width], dim=1)
