"""What the way a formula is written says of its precursors."""

from __future__ import annotations

import numpy as np
import pytest

from models.blocks.composition import compositions, parse
from models.errors import DataError
from models.synthesis.literature import KnownRecipe
from models.synthesis.precursor_library import RecipeLibrary
from models.synthesis.spelling import Spellings, curated_rows

HABITS = (("La{}Sr{}Mn1O3", "MnCO3"), ("Sr{1}La{0}MnO3", "MnO2"))  # two laboratories
SHARES = ((0.9, 0.1), (0.7, 0.3), (0.6, 0.4))


def recipe(name: str, manganese: str, source: str = "folds", origin: int = 0) -> KnownRecipe:
    return KnownRecipe(parse(name), ("La2O3", manganese, "SrCO3"), source, origin, 1.0, 1, name)


@pytest.fixture(scope="module")
def known() -> tuple[RecipeLibrary, list[str]]:
    names = [(pattern.format(*share), oxide) for pattern, oxide in HABITS for share in SHARES]
    recipes = [recipe(name, oxide, origin=i) for i, (name, oxide) in enumerate(names)]
    recipes.append(recipe("La0.5Mn1O3Sr0.5", "MnO2", "mined", 99))
    return RecipeLibrary.from_recipes(recipes), [name for name, _ in names]


def asked(known, name: str, without: np.ndarray | None = None) -> np.ndarray:
    """Features of the set with MnCO3, then of that with MnO2."""
    library, names = known
    order = library.precursors.names
    sets = [("La2O3", manganese, "SrCO3") for manganese in ("MnCO3", "MnO2")]
    chosen = np.array([[float(p in one) for p in order] for one in sets], dtype=np.float32)
    fractions = compositions([parse(name)]).dense()
    similarity = library.similarities(fractions)[0]
    return Spellings(library, names).features(library, name, fractions[0], similarity, chosen, without)


@pytest.mark.parametrize(("name", "right"), [("La0.8Sr0.2Mn1O3", 0), ("Sr0.2La0.8MnO3", 1)])
def test_one_composition_has_the_precursors_of_those_who_write_it_so(known, name, right):
    rows = asked(known, name)
    for vote in (0, 1, 2, 3):
        assert rows[right, vote] > rows[1 - right, vote]  # of whole sets
        assert rows[right, 9 + vote] > rows[1 - right, 9 + vote]  # of each element's source


def test_a_row_that_must_not_be_looked_at_says_nothing(known):
    rows = asked(known, "La0.8Sr0.2Mn1O3", without=np.arange(3))
    assert rows[0, :4] == pytest.approx(0.0) and rows[0, 8] == -1.0
    assert rows[1, 8] >= 0.0


def test_only_checked_tables_are_read_and_their_names_must_fit(known):
    library, names = known
    assert curated_rows(library).tolist() == list(range(6))
    with pytest.raises(DataError, match="train again"):
        Spellings(library, names[1:])
