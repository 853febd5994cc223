import threading

import pytest
from simulated_lab import heusler, put_mixture

from instruments.errors import LabError, Refused
from instruments.simulated.world import World


def test_a_sample_survives_in_the_folder_and_another_host_reads_it(tmp_path):
    put_mixture(World(tmp_path), heusler("Fe", "V", "Al"), 0.8)
    sample = World(tmp_path).need("s1")
    assert sample.phases[0].target and sample.phases[0].mass_fraction == 0.8
    assert World(tmp_path).samples() == ["s1"]


def test_a_repeated_measurement_stands_in_the_history_once(tmp_path):
    world = World(tmp_path)
    put_mixture(world, heusler("Fe", "V", "Al"), 0.8)
    for command in ("xrd-1", "xrd-1", "vsm-1"):
        world.touch("s1", command, "x")
    assert [entry["command_id"] for entry in world.need("s1").history] == ["by-hand", "xrd-1", "vsm-1"]


def test_hosts_that_write_at_the_same_time_lose_nothing(tmp_path):
    put_mixture(World(tmp_path), heusler("Fe", "V", "Al"), 0.8)
    threads = [
        threading.Thread(target=lambda i=i: [World(tmp_path).touch("s1", f"c{i}-{k}", "x") for k in range(10)])
        for i in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(World(tmp_path).need("s1").history) == 41
    assert not list((tmp_path / "samples").glob("*.tmp"))


@pytest.mark.parametrize("name", ["../evil", "", "a/b", ".hidden", "x" * 300])
def test_an_id_that_is_no_file_name_is_refused(tmp_path, name):
    with pytest.raises(Refused, match="file name"):
        World(tmp_path).get(name)


def test_a_missing_sample_and_an_impossible_folder_say_what_to_do(tmp_path):
    with pytest.raises(Refused, match="make it first"):
        World(tmp_path).need("s9")
    (tmp_path / "file").write_text("")
    with pytest.raises(LabError, match="writable"):
        World(tmp_path / "file" / "world")
