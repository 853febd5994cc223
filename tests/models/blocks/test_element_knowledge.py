"""What more is known of the elements."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Element

from models.blocks.composition import ELEMENTS, parse_all
from models.blocks.element_knowledge import element_knowledge, knowledge_features, knowledge_names, standard_vectors


def column(name: str) -> np.ndarray:
    table, names = element_knowledge()
    return table[:, names.index(name)]


def test_every_element_has_every_number():
    table, names = element_knowledge()
    assert table.shape == (ELEMENTS, len(names))
    assert np.isfinite(table).all()
    assert standard_vectors().shape[0] == ELEMENTS + 1
    assert not standard_vectors()[0].any()


def test_the_table_says_what_pymatgen_says():
    iron, tungsten = Element("Fe"), Element("W")
    assert column("youngs_modulus")[iron.Z - 1] == pytest.approx(float(iron.youngs_modulus))
    assert column("average_cationic_radius")[tungsten.Z - 1] == pytest.approx(tungsten.average_cationic_radius)


def test_a_property_that_is_not_known_is_that_of_the_group():
    francium = Element("Fr").Z - 1  # nobody has stretched it
    kin = [column("youngs_modulus")[Element(symbol).Z - 1] for symbol in ("H", "Li", "Na", "K", "Rb", "Cs")]
    assert min(kin) <= column("youngs_modulus")[francium] <= max(kin)
    assert column("youngs_modulus")[francium] < 20 < column("youngs_modulus")[Element("W").Z - 1]


def test_the_potentials_vectors_put_like_elements_together():
    table, names = element_knowledge()
    vectors = table[:, [name.startswith("potential_") for name in names]]

    def apart(a: str, b: str) -> float:
        return float(np.linalg.norm(vectors[Element(a).Z - 1] - vectors[Element(b).Z - 1]))

    assert apart("Nb", "Ta") < apart("Nb", "Cl")
    assert apart("La", "Ce") < apart("La", "O")


def test_statistics_of_a_formula():
    X, names = knowledge_features(parse_all(["NaCl", "Al2O3", "O3Al2", "Al4O6"])), knowledge_names()
    assert X.shape == (4, len(names))
    assert (X[1] == X[2]).all() and (X[1] == X[3]).all()
    sodium, chlorine = (column("third_ionization_eV")[Element(s).Z - 1] for s in ("Na", "Cl"))
    found = {
        part: X[0, names.index(f"third_ionization_eV_{part}")] for part in ("minimum", "maximum", "mean", "deviation")
    }
    assert found == {
        "minimum": pytest.approx(min(sodium, chlorine)),
        "maximum": pytest.approx(max(sodium, chlorine)),
        "mean": pytest.approx((sodium + chlorine) / 2),
        "deviation": pytest.approx(abs(sodium - chlorine) / 2),
    }
