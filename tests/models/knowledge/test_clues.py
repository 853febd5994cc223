import pytest

from models.knowledge.clues import Clues, metals_of, relation_of, verb_of
from models.knowledge.tokens import sentences, tokenize

TEXT = "10.1/x\nMaking BaTiO3 powder\n\nBaTiO3 was prepared from barium carbonate and TiO2 in ethanol ."


def read(text):
    tokens = tokenize(text)
    return Clues(text, tokens), [t.text for t in tokens], sentences(text, tokens)


@pytest.mark.parametrize(
    ("word", "metals"), [("BaTiO3", {"Ba", "Ti"}), ("strontium", {"Sr"}), ("ethanol", set()), ("NaCl", {"Na"})]
)
def test_metals_are_those_of_a_formula_or_an_element_by_name(word, metals):
    assert metals_of(word) == metals


def test_a_spoken_name_gives_both_its_words_the_formula():
    clues, words, _ = read(TEXT)
    at = words.index("barium")
    assert clues.formulas[at] == clues.formulas[at + 1] == "BaCO3"


def test_the_title_is_the_line_before_the_paragraph():
    assert read(TEXT)[0].title == {"Ba", "Ti"}
    assert read("BaTiO3 was prepared .")[0].title == frozenset()


def test_a_target_is_made_of_the_others_and_a_precursor_is_part_of_the_title():
    clues, words, _ = read(TEXT)
    assert "made of others" in clues.relation(words.index("BaTiO3"))
    assert "made of others" not in clues.relation(words.index("TiO2"))
    assert f"title:{relation_of(frozenset({'Ti'}), clues.title)}" in clues.relation(words.index("TiO2"))


def test_a_word_knows_the_verbs_around_it_and_the_preposition_before_it():
    clues, words, ranges = read(TEXT)
    begin, end = ranges[-1]
    told = clues.told(words, begin, end)[words.index("TiO2") - begin]
    assert {f"before={verb_of('prepared')}", "after=0", "preposition=and"} <= set(told)


@pytest.mark.parametrize(("mine", "other", "number"), [("", "A", 0), ("B", "A", 1), ("AB", "BC", 2), ("A", "AB", 3)])
def test_relations_have_numbers(mine, other, number):
    assert relation_of(frozenset(mine), frozenset(other)) == number
