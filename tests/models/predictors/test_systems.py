"""Each system of the review: its method, and that it learns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.blocks.fitting import Run
from models.blocks.materials import Cell, Materials
from models.predictors.crude import with_crude
from models.predictors.property import NeuralModel, PropertyModel
from models.registry import names, resolve
from tests.models.tables import cubic_perovskite, ionic_target, rock_salt, salts, supercell, turned

TABLE = salts()
TARGET = ionic_target(TABLE)
COMPOSITION = [
    "roost",
    "atomsets",
    "pairs",
    "elements",
    "atcnn",
    "supercon",
    "magnetisation",
    "melting",
    "melting-gp",
    "superhard",
    "heusler",
]
STRUCTURE = ["ward", "plmf", "multilayer", "cgcnn", "cgat", "alignn", "metal-linked"]
SPLIT = np.random.default_rng(0).permutation(len(TABLE))


def make(name: str, **settings) -> PropertyModel:
    torch.set_num_threads(1)
    return resolve("properties", name)(**settings)


def fitted(name: str, epochs: int = 16, **settings) -> tuple[PropertyModel, object]:
    model = make(name, **settings)
    inputs = model.prepare(TABLE)
    if isinstance(model, NeuralModel):
        model.schedule = replace(model.schedule, batch=16)
    model.fit(inputs, TARGET[:, None], SPLIT[30:], SPLIT[:30], Run(epochs=epochs))
    return model, inputs


def test_every_system_has_a_paper_and_words():
    for name in names("properties"):
        system = resolve("properties", name)
        assert issubclass(system, PropertyModel)
        assert system.citation and system.summary and system.speed != "?", name


SLOW = {"roost", "atomsets", "superhard", "heusler", "cgat", "alignn", "plmf"}


def marked(chosen: list[str]) -> list:
    return [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in chosen]


@pytest.mark.parametrize("name", marked([*COMPOSITION, *STRUCTURE]))
def test_a_system_learns_a_rule_of_the_elements_and_comes_back_from_its_arrays(name):
    model, inputs = fitted(name)
    held = SPLIT[:30]
    mean, std = model.predict(model.select(inputs, held))
    assert mean.shape == std.shape == (30, 1)
    assert np.isfinite(std).all() and (std >= 0).all()
    dummy = np.abs(TARGET[held] - np.median(TARGET[SPLIT[30:]])).mean()
    assert np.abs(mean[:, 0] - TARGET[held]).mean() < (0.8 if name == "metal-linked" else 0.7) * dummy
    copy = make(name)
    copy.restore(model.arrays())
    assert copy.predict(copy.select(inputs, held))[0] == pytest.approx(mean, abs=1e-6)


@pytest.mark.parametrize("name", ["ward", "plmf", "multilayer", "cgcnn", "cgat", "alignn"])
def test_a_crystal_is_judged_alike_however_it_is_described(name):
    model, few = make(name), np.arange(24)
    model.fit(model.prepare(TABLE.take(few)), TARGET[few, None], few, few[:0], Run(epochs=2))
    cell = cubic_perovskite("Ca", "Ti", "O", 3.9)
    alike = [cell, turned(cell, 1), turned(cell, 2), supercell(cell, (2, 1, 1)), supercell(turned(cell, 3), (1, 2, 1))]
    mean, _ = model.predict(model.prepare(Materials.build(["CaTiO3"] * 4 + ["Ca2Ti2O6"], alike)))
    assert mean[:, 0] == pytest.approx(np.full(5, mean[0, 0]), abs=2e-4)


def test_cgat_is_exactly_the_same_for_a_scaled_cell_and_cgcnn_is_not():
    cells = [cubic_perovskite("Ca", "Ti", "O", edge) for edge in (3.5, 3.9, 4.6)]
    materials = Materials.build(["CaTiO3"] * 3, cells)
    for name, same in (("cgat", True), ("cgcnn", False)):
        model, few = make(name), np.arange(24)
        model.fit(model.prepare(TABLE.take(few)), TARGET[few, None], few, few[:0], Run(epochs=1))
        mean, _ = model.predict(model.prepare(materials))
        assert (len(np.unique(mean)) == 1) == same


@pytest.mark.parametrize("name", ["roost", "pairs"])
def test_a_network_of_elements_does_not_see_the_order_or_the_scale_of_a_formula(name):
    model, _ = fitted(name, epochs=1)
    mean, _ = model.predict(model.prepare(Materials.build(["CaTiO3", "O3TiCa", "Ca2Ti2O6"])))
    assert mean[:, 0] == pytest.approx(np.full(3, mean[0, 0]), abs=1e-5)


def test_pairs_learn_again_from_all_rows_and_other_networks_stay():
    for name, moved in (("pairs", True), ("magnetisation", False)):
        model, inputs = fitted(name, epochs=1)
        before = model.predict(inputs)[0]
        model.fit_all(inputs, TARGET[:, None], SPLIT, Run(epochs=1))
        assert (not np.array_equal(model.predict(inputs)[0], before)) == moved, name


def test_the_heusler_forest_sees_which_element_is_on_which_site():
    from models.predictors.sanvito import site_features

    one, other = site_features(["Co2MnSi", "Mn2CoSi"])
    assert not np.array_equal(one, other)
    electrons = one[-2]
    assert electrons == 29  # 2 x 9 + 7 + 4: five above 24, hence 5 Bohr magnetons


def test_heuslers_are_counted_in_closed_form_and_a_cascade_counts_exactly():
    from models.predictors.sanvito import Gate, cascade, full_heuslers

    elements = ["Co", "Fe", "Mn", "Ti", "Al", "Si"]
    space = full_heuslers(elements)
    assert len(space) == len(set(space.formulas)) == 6 * 5 * 4
    gates = [
        Gate("has Co", lambda m: np.array(["Co" in f for f in m.formulas])),
        Gate("Co twice", lambda m: np.array(["Co2" in f for f in m.formulas])),
    ]
    rows, counted = cascade(space, gates)
    assert [(g.taken, g.passed) for g in counted] == [(120, 60), (60, 20)]
    assert all("Co2" in space.formulas[i] for i in rows)


def test_a_crude_estimate_helps():
    crude = 0.8 * TARGET + 0.1 + 0.02 * np.random.default_rng(1).normal(size=len(TARGET))
    estimates = dict(zip(TABLE.formulas, crude, strict=True))
    alone = make("supercon")
    helped = with_crude(make("supercon"), lambda materials: np.array([estimates[f] for f in materials.formulas]))
    train, held = SPLIT[140:], SPLIT[:140]  # forty rows
    errors = []
    for model in (alone, helped):
        inputs = model.prepare(TABLE)
        model.fit(inputs, TARGET[:, None], train, held[:0], Run())
        errors.append(np.abs(model.predict(model.select(inputs, held))[0][:, 0] - TARGET[held]).mean())
    assert errors[1] < 0.75 * errors[0]


def test_a_crude_model_comes_back_from_its_arrays():
    def estimate(materials: Materials) -> np.ndarray:
        return materials.compositions.dense()[:, 7]

    model = with_crude(make("cgcnn"), estimate)
    inputs = model.prepare(TABLE)
    model.fit(inputs, TARGET[:, None], SPLIT[30:], SPLIT[:30], Run(epochs=2))
    copy = with_crude(make("cgcnn"), estimate)
    copy.restore(model.arrays())
    assert np.array_equal(copy.predict(inputs)[0], model.predict(inputs)[0])


@pytest.mark.slow
def test_several_targets_are_learned_at_once_and_gaps_do_not_matter():
    y = np.stack([TARGET, 10.0 - 2.0 * TARGET], axis=1)
    y[::4, 1] = np.nan
    for name in ("cgcnn", "multilayer"):
        model = make(name, targets=2)
        inputs = model.prepare(TABLE)
        model.fit(inputs, y, SPLIT[30:], SPLIT[:30], Run(epochs=25))
        mean, _ = model.predict(inputs)
        assert np.corrcoef(mean[:, 0], mean[:, 1])[0, 1] < -0.8


@pytest.mark.parametrize(
    ("coupling", "omega_meV", "kelvin"),
    [(1.55, 4.8, 6.1), (1.0, 20.0, 17.5), (0.05, 30.0, 0.0)],
)
def test_allen_dynes_gives_textbook_temperatures(coupling, omega_meV, kelvin):
    from models.predictors.bcs import allen_dynes_K

    # Lead: lambda 1.55, omega_log 56 K (4.8 meV): about 6 to 7 K; mu* 0.1.
    assert allen_dynes_K(coupling, omega_meV) == pytest.approx(kelvin, rel=0.12, abs=0.01)


def test_the_moments_of_a_sharp_function_are_known():
    from models.predictors.bcs import eliashberg_moments

    energy = np.linspace(0, 50, 5001)
    peak = np.exp(-0.5 * ((energy - 20) / 0.2) ** 2) / (0.2 * np.sqrt(2 * np.pi)) * 10.0
    coupling, omega = eliashberg_moments(energy, peak)
    assert coupling == pytest.approx(2 * 10 / 20, rel=1e-3)
    assert omega == pytest.approx(20.0, rel=1e-3)


@pytest.mark.slow
def test_the_bcs_network_goes_through_alpha2f():
    from models.predictors.bcs import allen_dynes_K, eliashberg_moments

    model = make("bcs")
    inputs = model.prepare(TABLE)
    kelvin = np.maximum(0.0, 20.0 + 15.0 * TARGET)
    model.fit(inputs, kelvin[:, None], SPLIT[30:], SPLIT[:30], Run(epochs=15))
    mean, _ = model.predict(inputs)
    assert (mean >= -1e-3).all()
    assert np.abs(mean[:, 0] - kelvin)[SPLIT[30:]].mean() < 0.7 * np.abs(kelvin - np.median(kelvin)).mean()
    network = model._model.network
    with torch.no_grad():
        function, _ = network.alpha2f(inputs.batch(torch.arange(len(TABLE))))
    hot = int(np.argmax(mean[:, 0]))
    moments = eliashberg_moments(network.energy.numpy().astype(float), function[hot].numpy().astype(float))
    assert allen_dynes_K(*moments) == pytest.approx(mean[hot, 0], rel=0.1)


def test_hardness_follows_from_the_moduli():
    from models.predictors.superhard import vickers_hardness_GPa

    diamond, copper = vickers_hardness_GPa(np.array([442.0, 140.0]), np.array([535.0, 47.0]))
    assert diamond == pytest.approx(95, rel=0.05)  # Chen 2011
    assert copper < 6


@pytest.mark.slow
def test_kriging_finds_the_highest_melting_point_sooner_than_chance():
    from models.predictors.seko import kriging_search

    draw = np.random.default_rng(0)
    X = draw.uniform(size=(120, 3))
    y = -((X - 0.7) ** 2).sum(axis=1)
    looked = [kriging_search(X, y, seed=seed) for seed in range(4)]
    assert np.mean(looked) < 0.5 * (len(y) + 1) / 2


def test_the_voronoi_cells_of_known_crystals():
    from models.blocks.voronoi import voronoi_faces

    for cell, faces_an_atom in (
        (rock_salt("Na", "Cl", 5.64), 6),
        (Cell(np.eye(3) * 3.0, np.array([26]), np.zeros((1, 3))), 6),
    ):
        found = voronoi_faces(cell)
        big = found.area_A2 > 1e-6
        assert big.sum() == faces_an_atom * len(cell.numbers)
        assert found.volume_A3.sum() == pytest.approx(cell.volume_A3)


def test_wards_attributes_of_rock_salt():
    from models.predictors.ward import voronoi_attributes

    row = voronoi_attributes(rock_salt("Na", "Cl", 5.64))
    assert row[0] == pytest.approx(6.0)  # effective coordination number
    assert row[1] == pytest.approx(0.0)  # the same for both atoms
    assert np.isfinite(row).all()


def test_voxel_images_turn_with_the_crystal():
    from models.blocks.voxels import random_rotations, voxel_images

    cell = cubic_perovskite("Ca", "Ti", "O", 4.0)
    quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    straight, twisted = voxel_images([cell, cell], np.stack([np.eye(3), quarter]), size=12)
    assert np.rot90(straight, k=-1, axes=(1, 2)) == pytest.approx(twisted, abs=1e-3) or np.rot90(
        straight, k=1, axes=(1, 2)
    ) == pytest.approx(twisted, abs=1e-3)
    turns = random_rotations(50, 0)
    assert turns @ np.swapaxes(turns, 1, 2) == pytest.approx(np.broadcast_to(np.eye(3), (50, 3, 3)), abs=1e-9)
    assert np.linalg.det(turns) == pytest.approx(np.ones(50))


@pytest.mark.slow
def test_the_voxel_net_averages_turns_and_repeats_itself():
    model = make("voxel")
    table = TABLE.take(np.arange(24))
    inputs = model.prepare(table)
    model.fit(inputs, TARGET[:24, None], np.arange(20), np.arange(20, 24), Run(epochs=1))
    mean, std = model.predict(inputs)
    assert np.array_equal(mean, model.predict(inputs)[0])
    assert (std > 0).all()
    assert model.predict(model.select(inputs, np.array([3])))[0] == pytest.approx(mean[3:4], abs=1e-5)


def test_a_metal_linked_net_learns_a_rule_of_the_metals_and_ignores_the_linker():
    model, _ = fitted("metal-linked", epochs=3)
    linked = Materials.build(["NaCl", "NaBr"], [rock_salt("Na", x, 5.64) for x in ("Cl", "Br")])
    mean, _ = model.predict(model.prepare(linked))
    assert mean[0, 0] == pytest.approx(mean[1, 0], abs=1e-6)


def test_a_blend_weighs_its_parts_by_what_they_are_worth():
    from models.blocks.stacking import best_weights

    truth = np.random.default_rng(0).normal(size=200)
    good, bad = truth + 0.1 * np.random.default_rng(1).normal(size=200), np.random.default_rng(2).normal(size=200)
    weights = best_weights(np.stack([bad, good, bad]), truth)
    assert weights.sum() == pytest.approx(1.0) and (weights >= 0).all()
    assert weights[1] > 0.85


def test_a_blend_asks_for_the_time_of_its_networks_and_as_much_for_its_trees(monkeypatch):
    blend = make("blend")
    for model in blend.models:
        monkeypatch.setattr(model, "needs_s", lambda *_, takes=10.0 * (model.schedule is not None): takes)
    assert blend.needs_s([None] * 3, TARGET[:, None], SPLIT, Run()) == pytest.approx(30.0)
    assert make("supercon").needs_s(None, TARGET[:, None], SPLIT, Run()) == 0.0


@pytest.mark.slow
def test_a_blend_learns_and_comes_back():
    model = make("blend")
    inputs = model.prepare(TABLE)
    model.fit(inputs, TARGET[:, None], SPLIT[30:], SPLIT[:30], Run(epochs=5))
    copy = make("blend")
    copy.restore(model.arrays())
    assert copy.predict(inputs)[0] == pytest.approx(model.predict(inputs)[0])


@pytest.mark.slow
def test_chgnet_is_a_potential_and_its_vectors_teach_atomsets():
    from models.predictors.potential import CHGNetPotential, potential

    cells = [rock_salt("Na", "Cl", 5.64), rock_salt("Na", "Cl", 6.2)]
    port = potential("chgnet")
    relaxed, stretched = port.evaluate(cells)
    assert relaxed.energy_eV_per_atom < stretched.energy_eV_per_atom
    assert relaxed.forces_eV_per_A.shape == (2, 3) and np.abs(relaxed.forces_eV_per_A).max() < 1e-2
    assert relaxed.moments_muB is not None and relaxed.moments_muB.shape == (2,)
    assert isinstance(port, CHGNetPotential)
    few = TABLE.take(np.arange(12))
    model = make("atomsets-chgnet")
    inputs = model.prepare(few)
    model.fit(inputs, TARGET[:12, None], np.arange(10), np.arange(10, 12), Run(epochs=2))
    assert np.isfinite(model.predict(inputs)[0]).all()


def test_an_unknown_potential_is_refused_with_what_is_known():
    from models.errors import DataError
    from models.predictors.potential import potential

    with pytest.raises(DataError, match="known: chgnet, sevennet, mattersim"):
        potential("crystal ball")
