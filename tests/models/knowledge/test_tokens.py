from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from models.knowledge.tokens import sentences, tokenize


def words(text):
    return [t.text for t in tokenize(text)]


def test_formulas_stay_whole():
    assert words("LiNi0.5Mn1.5O4-δ from Ba(NO3)2·6H2O, (NH4)2HPO4 (99.9%).") == [
        "LiNi0.5Mn1.5O4-δ", "from", "Ba(NO3)2·6H2O", ",", "(NH4)2HPO4", "(", "99.9", "%", ")", ".",
    ]  # fmt: skip


def test_numbers_part_from_units_and_ranges_from_each_other():
    assert words("at 850°C for 12h, 960-970 degC") == [
        "at",
        "850",
        "°C",
        "for",
        "12",
        "h",
        ",",
        "960",
        "-",
        "970",
        "degC",
    ]


def test_sentences_end_at_full_stops_not_at_abbreviations():
    text = "It was heated, see Fig. 2. Then cooled.\nA title"
    tokens = tokenize(text)
    assert [text[tokens[a].start : tokens[b - 1].end] for a, b in sentences(text, tokens)] == [
        "It was heated, see Fig. 2.",
        "Then cooled.",
        "A title",
    ]


def test_a_number_that_cites_is_no_part_of_the_word_and_ends_the_sentence():
    text = "It was washed with water.11,12 Ho2O3[8] (>99%) was added."
    tokens = tokenize(text)
    assert words(text)[4:11] == ["water", ".", "11,12", "Ho2O3", "[8]", "(", ">"]
    assert [a for a, _ in sentences(text, tokens)] == [0, 7]
    assert words("ca. 1.5 g of LiNi0.5Mn1.5O4") == ["ca", ".", "1.5", "g", "of", "LiNi0.5Mn1.5O4"]


@given(st.text(max_size=80))
def test_tokens_are_the_text_itself(text):
    tokens = tokenize(text)
    assert all(text[t.start : t.end] == t.text and t.text for t in tokens)
    assert all(a.end <= b.start for a, b in pairwise(tokens))
    covered = "".join(t.text for t in tokens)
    assert covered == "".join(text.split())
    ranges = sentences(text, tokens)
    assert [i for a, b in ranges for i in range(a, b)] == list(range(len(tokens)))
