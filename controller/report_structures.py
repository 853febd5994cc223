"""Crystals of the report: drawn as SVG, written as CIF, and where they should reflect."""

from __future__ import annotations

import math
import re
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from controller.report_data import Row
from models import elements

if TYPE_CHECKING:
    from pymatgen.core import Structure

VOLUME = "cell_volume_A3_per_atom"
MOST_ATOMS = 150
_TURN_DEG, _TILT_DEG = 24.0, 13.0


def measured_crystal(row: Row) -> Structure | None:
    """The candidate's crystal, scaled to the measured cell volume where there is one; ``None`` without a crystal."""
    crystal = row.experiment.candidate.crystal
    if crystal is None:
        return None
    structure = crystal.to_pymatgen()
    volume = row.values.get(VOLUME)
    if volume is not None and volume > 0:
        structure.scale_lattice(volume * len(structure))
    return structure


def conventional(structure: Structure) -> Structure:
    """The conventional cell; the given one where symmetry cannot be found."""
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer, SymmetryUndeterminedError

    try:
        return SpacegroupAnalyzer(structure, symprec=0.01).get_conventional_standard_structure()
    except (SymmetryUndeterminedError, ValueError, TypeError):
        return structure


def cif(row: Row) -> str:
    """A CIF of the measured crystal with its symmetry. Raises ValueError without a crystal."""
    from pymatgen.io.cif import CifWriter

    structure = measured_crystal(row)
    if structure is None:
        raise ValueError(f"{row.experiment.candidate.id} has no crystal")
    scaled = VOLUME in row.values
    said = "scaled to the measured cell volume; positions not refined" if scaled else "unrelaxed, as proposed"
    name = f"{row.experiment.id} {row.experiment.candidate.id}".encode("ascii", "replace").decode()
    return f"# {' '.join(name.split())}: {said}\n{CifWriter(structure, symprec=0.01)}"


def file_name(row: Row) -> str:
    """A safe file name for a row's CIF."""
    return f"{row.experiment.id}-{re.sub(r'[^A-Za-z0-9_.+-]', '_', row.experiment.candidate.id)[:80]}.cif"


def reflections(row: Row, wavelength_A: float, two_theta_max_deg: float) -> list[tuple[float, str]]:
    """(two theta in degrees, words) where the measured crystal reflects with more than 0.2 % of its strongest line.

    Kinematic intensities with point atoms of Z electrons: good enough to tell allowed lines from extinct ones.
    """
    structure = measured_crystal(row)
    if structure is None:
        return []
    reciprocal = np.linalg.inv(np.asarray(structure.lattice.matrix))  # columns: reciprocal vectors without 2 pi
    longest = 2 * math.sin(math.radians(min(two_theta_max_deg, 179.0)) / 2) / wavelength_A
    spans = [int(longest * length) + 1 for length in structure.lattice.abc]
    if math.prod(2 * n + 1 for n in spans) > 200_000:
        return []
    hkl = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in spans), indexing="ij"), axis=-1).reshape(-1, 3)
    inverse_d = np.linalg.norm(hkl @ reciprocal.T, axis=1)
    kept = (inverse_d > 1e-9) & (inverse_d <= longest)
    hkl, inverse_d = hkl[kept], inverse_d[kept]
    phases = np.exp(2j * np.pi * hkl @ np.asarray(structure.frac_coords).T)
    strength = np.abs(phases @ np.array([site.specie.Z for site in structure], dtype=float)) ** 2
    theta = np.arcsin(inverse_d * wavelength_A / 2)
    strength = strength * (1 + np.cos(2 * theta) ** 2) / (np.sin(theta) ** 2 * np.cos(theta))
    lines: dict[float, float] = {}
    for place, power in zip(np.round(np.degrees(2 * theta), 3).tolist(), strength.tolist(), strict=True):
        lines[place] = lines.get(place, 0.0) + power
    top = max(lines.values(), default=0.0)
    return [
        (place, f"{place:.2f}°, d = {wavelength_A / 2 / math.sin(math.radians(place / 2)):.4f} Å")
        for place, power in sorted(lines.items())
        if power > 0.002 * top
    ]


def drawing(row: Row, size: int = 220) -> str:
    """The conventional cell as SVG: atoms, cell edges, nearest-neighbour bonds, a legend; empty without a crystal."""
    structure = measured_crystal(row)
    if structure is None:
        return ""
    cell = conventional(structure)
    if len(cell) > MOST_ATOMS:
        return ""
    species = list(dict.fromkeys(row.experiment.candidate.composition or [str(s.specie) for s in cell]))
    symbols, places = _with_images(cell)
    centre = np.asarray(cell.lattice.matrix).sum(axis=0) / 2
    view = _view()
    seen = (places - centre) @ view.T
    corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)], dtype=float)
    edges = (corners @ np.asarray(cell.lattice.matrix) - centre) @ view.T
    extent = float(np.abs(np.vstack([seen, edges])[:, :2]).max())
    scale = (size / 2 - 22) / extent
    parts = [_edges(corners, edges, scale, size), *_atoms(symbols, places, seen, species, scale, size)]
    legend = _legend(species, size)
    name = escape(row.experiment.candidate.formula or row.experiment.candidate.id, quote=True)
    said = f'role="img" aria-label="unit cell of {name}"'
    return f'<svg class="crystal" viewBox="0 0 {size} {size + 26}" {said}>{"".join(parts)}{legend}</svg>'


def _view() -> np.ndarray:
    """Rotation that turns about the vertical (c) and tilts towards the eye; rows: right, up, towards the viewer."""
    a, b = math.radians(_TURN_DEG), math.radians(_TILT_DEG)
    turn = np.array([[math.cos(a), math.sin(a), 0], [-math.sin(a), math.cos(a), 0], [0, 0, 1]])
    axes = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]]) @ turn
    tilt = np.array([[1, 0, 0], [0, math.cos(b), -math.sin(b)], [0, math.sin(b), math.cos(b)]])
    return tilt @ axes


def _with_images(cell: Structure) -> tuple[list[str], np.ndarray]:
    """Atoms of the cell with the images that lie on its faces, edges and corners; Cartesian, angstrom."""
    symbols, places = [], []
    for site in cell:
        base = np.mod(np.asarray(site.frac_coords) + 1e-6, 1.0) - 1e-6
        shifts = [(0.0, 1.0) if abs(x) < 1e-3 else (0.0,) for x in base]
        for i in shifts[0]:
            for j in shifts[1]:
                for k in shifts[2]:
                    symbols.append(str(site.specie.symbol))
                    places.append(cell.lattice.get_cartesian_coords(base + np.array([i, j, k])))
    return symbols, np.array(places)


def _edges(corners: np.ndarray, seen: np.ndarray, scale: float, size: int) -> str:
    lines = []
    for i in range(8):
        for j in range(i + 1, 8):
            if np.abs(corners[i] - corners[j]).sum() == 1:
                (x1, y1), (x2, y2) = (_place(seen[k], scale, size) for k in (i, j))
                lines.append(f'<line class="cell" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')
    return "".join(lines)


def _atoms(
    symbols: list[str], places: np.ndarray, seen: np.ndarray, species: list[str], scale: float, size: int
) -> list[str]:
    """Bonds and atoms, from the back to the front."""
    gaps = np.linalg.norm(places[:, None] - places[None], axis=-1)
    np.fill_diagonal(gaps, np.inf)
    nearest = float(gaps.min()) if len(places) > 1 else 0.0
    drawn: list[tuple[float, str]] = []
    for i, j in zip(*np.nonzero(np.triu(gaps <= 1.08 * nearest)), strict=True):
        (x1, y1), (x2, y2) = (_place(seen[k], scale, size) for k in (i, j))
        drawn.append(
            (
                float(seen[i, 2] + seen[j, 2]) / 2 - 0.01,
                f'<line class="bond" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>',
            )
        )
    sizes = {symbol: _radius_A(symbol) for symbol in set(symbols)}
    middle = float(np.mean(list(sizes.values())))
    for symbol, point in zip(symbols, seen, strict=True):
        x, y = _place(point, scale, size)
        radius = 0.23 * nearest * scale * math.sqrt(sizes[symbol] / middle) if nearest else 12.0
        kind = species.index(symbol) % 6 if symbol in species else 5
        ball = f'<circle class="atom atom-{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"/>'
        x, y, radius = x - 0.3 * radius, y - 0.32 * radius, 0.34 * radius
        drawn.append((float(point[2]), f'{ball}<circle class="shine" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"/>'))
    return [text for _, text in sorted(drawn, key=lambda item: item[0])]


def _radius_A(symbol: str) -> float:
    radius = float(elements.values("radius_A", [symbol])[0])
    return radius if math.isfinite(radius) and radius > 0 else 1.3


def _legend(species: list[str], size: int) -> str:
    wide = 40.0
    start = size / 2 - wide * len(species) / 2
    parts = []
    for i, symbol in enumerate(species):
        x = start + wide * i
        parts.append(f'<circle class="atom atom-{i % 6}" cx="{x + 8:.0f}" cy="{size + 12}" r="6"/>')
        parts.append(f'<text class="note" x="{x + 18:.0f}" y="{size + 16}">{escape(symbol)}</text>')
    return "".join(parts)


def _place(point: np.ndarray, scale: float, size: int) -> tuple[float, float]:
    return size / 2 + scale * float(point[0]), size / 2 - scale * float(point[1])
