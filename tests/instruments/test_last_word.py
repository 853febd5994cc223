"""What a host leaves for people beside its ledger."""

from __future__ import annotations

from instruments.last_word import KEPT, LastWord, read_last_word


def test_the_last_progress_of_each_recent_command_and_the_last_facts_survive_the_process(tmp_path):
    word = LastWord(tmp_path)
    word.progress("a", 0.2, "cold")
    word.progress("a", 0.5, "hot")
    word.facts({"temperature_C": 900})
    later = LastWord(tmp_path)
    later.progress("b", 0.1, "")
    said = read_last_word(tmp_path)
    assert (said["progress"]["a"]["fraction"], said["progress"]["a"]["message"]) == (0.5, "hot")
    assert said["progress"]["b"]["fraction"] == 0.1
    assert said["facts"]["values"] == {"temperature_C": 900}


def test_it_does_not_grow_and_a_broken_one_is_no_evidence_and_no_trouble(tmp_path):
    word = LastWord(tmp_path)
    for number in range(3 * KEPT):
        word.progress(str(number), 0.5, "")
    assert list(read_last_word(tmp_path)["progress"]) == [str(n) for n in range(2 * KEPT, 3 * KEPT)]
    (tmp_path / "last_word.json").write_text("{")
    assert read_last_word(tmp_path) == {}
    LastWord(tmp_path / "nowhere").facts({})
