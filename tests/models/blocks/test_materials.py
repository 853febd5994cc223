"""Tables of materials: what is read, what is flagged."""

from __future__ import annotations

import numpy as np
import pytest

from models.blocks.materials import Materials, absurdity, cell_of, file_digest, read_materials
from models.errors import DataError
from tests.models.tables import as_frame, rock_salt, salts


def test_a_parquet_file_with_crystals_comes_back_as_arrays(tmp_path):
    given = salts().take(np.arange(5))
    as_frame(given, y=np.arange(5.0)).to_parquet(tmp_path / "t.parquet")
    read = read_materials(tmp_path / "t.parquet")
    assert read.formulas == given.formulas
    assert np.array_equal(read.numbers_of("y"), np.arange(5.0))
    for mine, theirs in zip(read.cells, given.cells, strict=True):
        assert mine is not None and theirs is not None
        assert np.array_equal(mine.lattice, theirs.lattice) and np.array_equal(mine.numbers, theirs.numbers)


def test_a_csv_file_with_crystals_as_text_is_read_too(tmp_path):
    given = salts().take(np.arange(3))
    as_frame(given).to_csv(tmp_path / "t.csv.gz", index=False)
    read = read_materials(tmp_path / "t.csv.gz")
    assert read.usable(structure=True).all()
    assert read.cells[2] is not None and given.cells[2] is not None
    assert read.cells[2].lattice == pytest.approx(given.cells[2].lattice)


def test_sodium_nitride_is_not_a_gap(tmp_path):
    (tmp_path / "t.csv").write_text("formula,y\nNaN,1\nLiF,2\n")
    read = read_materials(tmp_path / "t.csv")
    assert read.formulas == ["NaN", "LiF"]
    assert read.usable(structure=False).all()


def test_a_folder_of_cif_and_poscar_files_is_a_table(tmp_path):
    from pymatgen.core import Lattice, Structure

    salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    salt.to(filename=str(tmp_path / "a.cif"))
    (tmp_path / "POSCAR_b").write_text(salt.to(fmt="poscar"))
    mixed = Structure(Lattice.cubic(3.0), [{"Fe": 0.5, "Co": 0.5}], [[0, 0, 0]])
    mixed.to(filename=str(tmp_path / "c.cif"))
    (tmp_path / "d.cif").write_text("_cell_length_a no")
    (tmp_path / "notes.txt").write_text("not a crystal")
    read = read_materials(tmp_path)
    assert list(read.columns["file"]) == ["POSCAR_b", "a.cif", "c.cif", "d.cif"]
    assert read.formulas[:2] == ["Na4Cl4", "Na4Cl4"]
    assert read.usable(structure=True).tolist() == [True, True, False, False]
    assert "cannot be read" in read.flags[3]


def test_rows_are_chosen_by_where(tmp_path):
    (tmp_path / "t.csv").write_text("formula,task,y\nLiF,a,1\nNaCl,b,2\nKBr,b,3\n")
    assert read_materials(tmp_path / "t.csv", where=["task=b"]).formulas == ["NaCl", "KBr"]
    with pytest.raises(DataError, match="no rows"):
        read_materials(tmp_path / "t.csv", where=["task=c"])
    with pytest.raises(DataError, match="COLUMN=VALUE"):
        read_materials(tmp_path / "t.csv", where=["tusk=b"])


@pytest.mark.parametrize("lattice", [np.eye(3) * 0.5, np.eye(3) * 80.0, np.full((3, 3), np.nan)])
def test_an_absurd_cell_is_flagged(lattice):
    made = Materials.build(["Fe"], [cell_of(lattice, ["Fe"], [0, 0, 0])])
    assert made.flags[0]
    assert not made.usable(structure=False).any()


def test_a_good_cell_is_not():
    assert absurdity(rock_salt("Na", "Cl", 5.64)) == ""


def test_equal_compositions_are_one_group():
    groups = Materials.build(["Fe2O3", "O6Fe4", "FeO"]).groups
    assert groups[0] == groups[1] != groups[2]


def test_a_missing_column_is_named(tmp_path):
    (tmp_path / "t.csv").write_text("formula,y\nLiF,1\n")
    read = read_materials(tmp_path / "t.csv")
    with pytest.raises(DataError, match="no column 'z'; the file has: formula, y"):
        read.numbers_of("z")
    with pytest.raises(DataError, match="does not exist"):
        read_materials(tmp_path / "u.csv")


def test_the_digest_is_of_the_bytes(tmp_path):
    (tmp_path / "t.csv").write_text("formula\nLiF\n")
    before = file_digest(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text("formula\nLiCl\n")
    assert file_digest(tmp_path / "t.csv") != before
