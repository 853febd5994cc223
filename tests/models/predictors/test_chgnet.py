"""What CHGNet knows of a crystal as descriptors: force constants, vibrations, pooled vectors."""

from __future__ import annotations

import numpy as np
import pytest

from models.blocks.fitting import Run
from models.blocks.materials import Cell
from models.predictors.vibrations import modes, vibration_features
from models.registry import resolve
from tests.models.tables import ionic_target, rock_salt, salts

SODIUM, CHLORINE = 22.990, 35.45


def spring(stiffness: float) -> np.ndarray:
    """Two atoms held together by one spring along x, by nothing else."""
    constants = np.zeros((6, 6))
    constants[np.ix_([0, 3], [0, 3])] = stiffness * np.array([[1.0, -1.0], [-1.0, 1.0]])
    return constants


def test_two_atoms_on_a_spring_vibrate_as_the_textbook_says():
    reduced = SODIUM * CHLORINE / (SODIUM + CHLORINE)
    wave, shares = modes(spring(5.0), np.array([11, 17]))
    # sqrt(k / mu) / (2 pi c) in SI units: 5 eV/A^2 is 80.109 N/m.
    expected = np.sqrt(5.0 * 16.021766 / (reduced * 1.66053907e-27)) / (2 * np.pi * 2.99792458e10)
    assert wave[0] == pytest.approx(expected, rel=1e-3)
    assert wave[1:] == pytest.approx(0.0, abs=1e-3)
    assert shares[0] == pytest.approx([CHLORINE / (SODIUM + CHLORINE), SODIUM / (SODIUM + CHLORINE)], rel=1e-3)


def test_a_crystal_that_falls_apart_has_a_negative_wavenumber():
    assert modes(spring(-5.0), np.array([11, 17]))[0][-1] < -100


def test_numbers_of_vibrations_do_not_depend_on_the_order_of_the_atoms():
    rng = np.random.default_rng(0)
    constants = rng.normal(size=(9, 9))
    constants = constants @ constants.T
    cell = Cell(np.eye(3) * 4.0, np.array([11, 17, 8]), rng.random((3, 3)))
    order = np.array([2, 0, 1])
    at = (3 * order[:, None] + np.arange(3)).ravel()
    turned = Cell(cell.lattice, cell.numbers[order], cell.frac[order])
    assert vibration_features(constants[np.ix_(at, at)], turned) == pytest.approx(vibration_features(constants, cell))


@pytest.mark.slow
def test_force_constants_are_slopes_of_the_forces_and_are_read_again_from_disk(monkeypatch, tmp_path):
    from models.predictors import potential

    monkeypatch.setenv("ATHANOR_CACHE", str(tmp_path))
    cell = rock_salt("Na", "Cl", 5.64)
    (constants,) = potential.force_constants([cell])
    assert constants == pytest.approx(constants.T)
    assert constants.reshape(2, 3, 2, 3).sum(axis=2) == pytest.approx(0.0, abs=0.05)  # moved together, nothing pulls
    step_A, port = 0.02, potential.CHGNetPotential()
    shift = np.zeros((2, 3))
    shift[1, 2] = step_A
    forces = [
        port.evaluate([Cell(cell.lattice, cell.numbers, cell.frac + sign * shift @ np.linalg.inv(cell.lattice))])[0]
        for sign in (1, -1)
    ]
    slope = (forces[1].forces_eV_per_A - forces[0].forces_eV_per_A) / (2 * step_A)
    assert constants[5] == pytest.approx(slope.ravel(), abs=0.1)
    monkeypatch.setattr(potential.CHGNetPotential, "force_constants", None)
    assert potential.force_constants([cell])[0] == pytest.approx(constants)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["chgnet", "chgnet-phonons"])
def test_a_stack_on_a_potential_learns_and_comes_back(name):
    table = salts().take(np.arange(60))
    target = 3.0 + ionic_target(salts())[:60, None] - ionic_target(salts())[:60].min()
    model = resolve("properties", name)()
    inputs = model.prepare(table)
    model.fit(inputs, target, np.arange(45), np.arange(45, 60), Run())
    error = np.abs(model.predict(inputs)[0] - target)[45:].mean()
    assert error < 0.7 * np.abs(target[45:] - np.median(target[:45])).mean()
    copy = resolve("properties", name)()
    copy.restore(model.arrays())
    assert copy.predict(inputs)[0] == pytest.approx(model.predict(inputs)[0])
