"""Keys: made private, kept private."""

from __future__ import annotations

import json
import stat

import pytest

from instruments.errors import LabError
from instruments.keys import create_lab_keys, load_registry, load_secret


def mode(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_keys_are_made_for_the_owner_alone(tmp_path):
    create_lab_keys(tmp_path / "keys", ["furnace"], operators=["ada"])
    assert mode(tmp_path / "keys") == 0o700
    assert {path.name: mode(path) for path in (tmp_path / "keys").iterdir()} == {
        "controller.key": 0o600,
        "furnace.key": 0o600,
        "ada.key": 0o600,
        "registry.json": 0o600,
    }


def test_the_registry_tells_who_a_key_is_and_holds_no_secret(tmp_path):
    registry = create_lab_keys(tmp_path, ["furnace", "balance"], operators=["ada"])
    assert {entry.name: entry.role for entry in registry.keys} == {
        "controller": "controller",
        "furnace": "host",
        "balance": "host",
        "ada": "operator",
    }
    secret = load_secret(tmp_path, "furnace")
    found = registry.find(secret.public_key)
    assert found is not None
    assert (found.name, found.role) == ("furnace", "host")
    assert registry.find("x" * 40) is None
    text = (tmp_path / "registry.json").read_text()
    assert all(load_secret(tmp_path, name).secret_key not in text for name in ("controller", "furnace", "ada"))


def test_making_keys_again_keeps_those_that_exist(tmp_path):
    create_lab_keys(tmp_path, ["furnace"])
    before = load_secret(tmp_path, "furnace")
    registry = create_lab_keys(tmp_path, ["balance"])
    assert load_secret(tmp_path, "furnace") == before
    assert {entry.name for entry in registry.keys} == {"controller", "furnace", "balance"}
    assert load_registry(tmp_path) == registry


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o660, 0o644])
def test_a_secret_that_others_can_read_is_refused(tmp_path, bits):
    create_lab_keys(tmp_path, ["furnace"])
    (tmp_path / "furnace.key").chmod(bits)
    with pytest.raises(LabError, match="chmod 600"):
        load_secret(tmp_path, "furnace")


def test_a_registry_that_others_can_change_is_refused(tmp_path):
    create_lab_keys(tmp_path, [])
    (tmp_path / "registry.json").chmod(0o622)
    with pytest.raises(LabError, match="chmod 600"):
        load_registry(tmp_path)


@pytest.mark.parametrize("name", ["", "../evil", "a/b", ".hidden", "a b", "x" * 65])
def test_a_name_that_is_no_file_name_is_refused(tmp_path, name):
    with pytest.raises(LabError, match="cannot name a key file"):
        create_lab_keys(tmp_path, [name])


def test_an_instrument_cannot_take_the_controllers_name(tmp_path):
    with pytest.raises(LabError, match="choose another name"):
        create_lab_keys(tmp_path, ["controller"])


def test_missing_and_broken_files_say_what_to_do(tmp_path):
    with pytest.raises(LabError, match="create_lab_keys"):
        load_registry(tmp_path)
    create_lab_keys(tmp_path, ["furnace"])
    with pytest.raises(LabError, match="create_lab_keys"):
        load_secret(tmp_path, "balance")
    (tmp_path / "furnace.key").write_text("{}")
    with pytest.raises(LabError, match="not a key file"):
        load_secret(tmp_path, "furnace")
    (tmp_path / "registry.json").write_text(json.dumps({"version": 2}))
    with pytest.raises(LabError, match="not a registry"):
        load_registry(tmp_path)


def test_a_key_file_under_another_name_is_refused(tmp_path):
    create_lab_keys(tmp_path, ["furnace", "balance"])
    (tmp_path / "furnace.key").replace(tmp_path / "balance.key")
    with pytest.raises(LabError, match="give it back its name"):
        load_secret(tmp_path, "balance")


def test_a_secret_does_not_show_in_logs(tmp_path):
    create_lab_keys(tmp_path, ["furnace"])
    secret = load_secret(tmp_path, "furnace")
    assert secret.secret_key not in repr(secret)
