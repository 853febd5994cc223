import json

import numpy as np
import pytest

from models.characterization import Pattern, quantify, read_pattern, references_of
from models.characterization.phases import radiation_of, weight_fractions
from models.characterization.refinement import Fit, Grid, Optics, Part, pattern_of
from models.errors import DataError

ANGLES = np.arange(15, 80, 0.03)


@pytest.fixture(autouse=True)
def _no_data(monkeypatch):
    monkeypatch.delenv("ATHANOR_DATA", raising=False)


def mixture(shares, elements, *, wavelength=None, angles=ANGLES, shift=0.0, stretch=0.0, counts=4000.0, seed=0):
    """A pattern of these weights, computed by the reflections, with noise and a sloping background."""
    radiation = radiation_of(wavelength)
    grid = Grid(
        angles[0], angles[1] - angles[0], np.zeros(len(angles)), np.ones(len(angles)), np.ones((len(angles), 1))
    )
    total = np.zeros(len(angles))
    for (formula, name), share in shares.items():
        crystal = next(c for c in references_of(elements) if c.formula == formula and c.name == name)
        r = crystal.reflections(radiation.main_A, angles[-1])
        part = Part(crystal, r, np.full(len(r.metric), stretch))
        shape = pattern_of(part, Optics(zero_deg=shift), grid, radiation)
        mu = crystal.attenuation_per_cm(radiation.main_A) * 1e-4
        total += share * np.exp(-mu) * shape / (crystal.mass_u * crystal.volume_A3)
    clean = counts * total / total.max() + 150 + 400 / (angles - angles[0] + 5)
    return np.random.default_rng(seed).poisson(clean).astype(float)


def found(phases):
    return {p.formula: p.weight_fraction for p in phases}


def test_a_mixture_is_identified_and_weighed():
    shares = {("TiO2", "anatase"): 0.3, ("ZnO", "zincite"): 0.7}
    phases = quantify(ANGLES, mixture(shares, ["Ti", "Zn", "O"], shift=0.05, stretch=0.003), ["Ti", "Zn", "O"])
    assert found(phases) == pytest.approx({"ZnO": 0.7, "TiO2": 0.3}, abs=0.03)
    assert phases[0].space_group == "P63mc"
    assert all(0 < p.std < 0.1 for p in phases)


def test_polymorphs_are_told_apart():
    shares = {("TiO2", "anatase"): 0.6, ("TiO2", "rutile"): 0.4}
    phases = quantify(ANGLES, mixture(shares, ["Ti", "O"]), ["Ti", "O"])
    assert {p.name: p.weight_fraction for p in phases} == pytest.approx({"anatase": 0.6, "rutile": 0.4}, abs=0.03)


def test_a_minor_phase_is_seen():
    shares = {("MgO", "periclase"): 0.05, ("Al2O3", "corundum"): 0.95}
    phases = quantify(ANGLES, mixture(shares, ["Mg", "Al", "O"], counts=20000), ["Mg", "Al", "O"])
    assert found(phases)["MgO"] == pytest.approx(0.05, abs=0.02)


def test_another_anode_and_arbitrary_units():
    shares = {("CaCO3", "calcite"): 0.5, ("SiO2", "quartz"): 0.5}
    y = mixture(shares, ["Ca", "C", "Si", "O"], wavelength="Co")
    phases = quantify(ANGLES, y / 7e4, ["Ca", "C", "Si", "O"], wavelength="Co")
    assert found(phases) == pytest.approx({"CaCO3": 0.5, "SiO2": 0.5}, abs=0.04)


def test_the_same_pattern_gives_the_same_answer():
    y = mixture({("TiO2", "rutile"): 1.0}, ["Ti", "O"])
    assert quantify(ANGLES, y, ["Ti", "O"]) == quantify(ANGLES, y, ["O", "Ti"])


def test_noise_alone_holds_no_phase():
    y = np.random.default_rng(1).poisson(200, len(ANGLES)).astype(float)
    assert quantify(ANGLES, y, ["Ti", "O"]) == []


def test_weights_are_scale_times_mass_times_volume():
    a, b = (next(c for c in references_of(["Mg", "Al", "O"]) if c.formula == f) for f in ("MgO", "Al2O3"))
    parts = tuple(Part(c, c.reflections(0.7, 40), np.zeros(2)) for c in (a, b))
    scales = np.array([1 / (c.mass_u * c.volume_A3) for c in (a, b)])
    fit = Fit(parts, Optics(), scales, np.zeros((2, 1)), np.zeros(1), 0.0, 0.0)
    assert weight_fractions(fit, radiation_of("Ag")) == pytest.approx([0.5, 0.5], abs=0.005)


@pytest.mark.parametrize(
    ("angles", "intensity", "words"),
    [
        ([10, 20], [1, 2], "too short"),
        (np.arange(10, 80), np.ones(70), "flat"),
        (np.arange(10, 80), np.arange(69), "each angle"),
        (np.arange(150, 250), np.arange(100), "between 0 and 180"),
        (np.arange(10, 80), [np.nan] * 70, "NaN"),
        (["a"] * 60, np.ones(60), "needs numbers"),
    ],
)
def test_an_unusable_pattern_is_refused(angles, intensity, words):
    with pytest.raises(DataError, match=words):
        quantify(angles, intensity, ["Ti", "O"])


def test_elements_without_a_reference_are_refused():
    with pytest.raises(DataError, match="no reference structure"):
        quantify(ANGLES, np.arange(len(ANGLES)), ["He"])
    with pytest.raises(DataError, match="name the elements"):
        quantify(ANGLES, np.arange(len(ANGLES)), [])
    with pytest.raises(DataError, match="no anode"):
        quantify(ANGLES, np.arange(len(ANGLES)), ["Ti"], wavelength="nonsense")


@pytest.mark.parametrize("end", ["xy", "csv", "json", "jsonl"])
def test_files_of_every_kind_read_alike(tmp_path, end):
    x, y = ANGLES[:100], np.arange(100.0)
    file = tmp_path / f"p.{end}"
    if end == "xy":
        file.write_text("# angle counts\n" + "\n".join(f"{a:.5f} {b}" for a, b in zip(x, y)))
    elif end == "csv":
        file.write_text("angle,counts\n" + "\n".join(f"{a:.5f},{b}" for a, b in zip(x, y)))
    elif end == "json":
        file.write_text(json.dumps({"two_theta": list(x), "intensity": list(y)}))
    else:
        file.write_text(json.dumps({"two_theta_start": x[0], "two_theta_end": x[-1], "counts": list(y)}) + "\n")
    pattern = read_pattern(file)
    assert pattern.two_theta_deg == pytest.approx(x, abs=1e-4)
    assert pattern.intensity == pytest.approx(y)


@pytest.mark.parametrize("text", ["", "no numbers here", '{"intensity": [1, 2]}', "[1, 2]", "{broken"])
def test_a_file_that_is_no_pattern_is_named(tmp_path, text):
    file = tmp_path / "odd.xy"
    file.write_text(text)
    with pytest.raises(DataError, match=r"odd\.xy"):
        read_pattern(file)


def test_angles_may_come_unsorted():
    pattern = Pattern.of(ANGLES[::-1], np.arange(len(ANGLES)))
    assert (np.diff(pattern.two_theta_deg) > 0).all()
