import gzip
import json
from dataclasses import replace

import pytest
import torch

from models.knowledge.corpus import LABELS, Document, Span, read_annotated
from models.knowledge.recipes import Extractor
from models.knowledge.tagger import SETTINGS, train
from models.knowledge.trained_tagger import CORPUS
from models.roles import Knowledge

SMALL = {**SETTINGS, "width": 16, "hidden": 16, "epochs": 12, "dropout": 0.1, "rate": 2e-2}


def paragraphs(n=40):
    documents = []
    for i in range(n):
        metal, hot = ("Ba", "Sr", "Ca", "Pb")[i % 4], 800 + 10 * i
        text = f"{metal}TiO3 was prepared from {metal}CO3 and TiO2 . It was calcined at {hot} degC for {i + 1} h ."
        words = [(f"{metal}TiO3", "target"), ("prepared", "operation"), (f"{metal}CO3", "precursor")]
        words += [("calcined", "operation"), (f"{hot} degC", "temperature"), (f"{i + 1} h", "time")]
        spans = [Span(text.index(f" {w} ") + 1 if k else 0, 0, label) for k, (w, label) in enumerate(words)]
        spans = [Span(s.start, s.start + len(w), s.label) for s, (w, _) in zip(spans, words)]
        documents.append(Document(f"paper-{i}", text, tuple(spans)))
    return documents


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_it_learns_what_it_is_shown():
    documents = paragraphs()
    tagger = train(documents[:32], SMALL)
    right = sum(tuple(tagger.tag(d.text)) == d.spans for d in documents[32:])
    assert right >= 6


def test_equal_seeds_give_equal_taggers():
    a, b = (train(paragraphs(8), {**SMALL, "epochs": 2}) for _ in range(2))
    assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values()))


def test_an_empty_text_has_no_spans():
    assert train(paragraphs(4), {**SMALL, "epochs": 1}).tag("") == []


def test_annotated_papers_are_read_with_roles_and_units(tmp_path):
    text = "BaTiO3 was heated at 900 degC under N2 with 5 g of TiO2"
    at = {
        w: [text.index(w), text.index(w) + len(w)] for w in ("BaTiO3", "heated", "900", "degC", "N2", "5", "g", "TiO2")
    }
    at["g"] = [text.index(" g ") + 1, text.index(" g ") + 2]
    kinds = ["Material", "Operation", "Number", "Condition-Unit", "Material", "Number", "Amount-Unit", "Material"]
    entities = [[f"T{i}", k, [place], w] for i, (k, (w, place)) in enumerate(zip(kinds, at.items()))]
    roles = [["Recipe_Target", "T0"], ["Atmospheric_Material", "T4"], ["Recipe_Precursor", "T7"]]
    row = {
        "id": "x",
        "text": text,
        "entities": entities,
        "events": [["E1", "T1", roles]],
        "relations": [["R1", "Number_Of", "T2", "T3"], ["R2", "Number_Of", "T5", "T6"]],
    }
    file = tmp_path / "a.jsonl.gz"
    with gzip.open(file, "wt") as handle:
        handle.write(json.dumps(row))
    (document,) = read_annotated(file)
    assert [(text[s.start : s.end], s.label) for s in document.spans] == [
        ("BaTiO3", "target"),
        ("heated", "operation"),
        ("900 degC", "temperature"),
        ("N2", "atmosphere"),
        ("5 g", "amount"),
        ("TiO2", "precursor"),
    ]


def test_what_a_substance_does_is_learnt_and_told_as_a_material():
    documents = []
    for d in paragraphs():
        text = d.text.replace("TiO2 .", "water .")
        place = (text.index("water"), text.index("water") + 5)
        spans = tuple(sorted((*d.spans, Span(*place, "material"))))
        documents.append(replace(d, text=text, spans=spans, finer=(Span(*place, "material.solvent"),)))
    guesses = train(documents, SMALL).guesses(documents[0].text)
    assert guesses[next(s for s in documents[0].spans if s.label == "material")] > 0.5
    assert {s.label for s in guesses} <= set(LABELS)


def test_a_paper_whose_numbers_nobody_linked_teaches_nothing(tmp_path):
    text = "It was heated at " + " and ".join(f"{i}0 K" for i in range(10, 22))
    entities, relations = [["T0", "Operation", [[7, 13]], "heated"]], []
    for i in range(10, 22):
        at = text.index(f"{i}0 K")
        entities += [[f"N{i}", "Number", [[at, at + 3]], ""], [f"U{i}", "Condition-Unit", [[at + 4, at + 5]], ""]]
        relations.append([f"R{i}", "Number_Of", f"N{i}", f"U{i}"])
    file = tmp_path / "a.jsonl.gz"
    with gzip.open(file, "wt") as handle:
        for name, linked in (("linked", relations), ("not", [])):
            row = {"id": name, "text": text, "entities": entities, "events": [], "relations": linked}
            handle.write(json.dumps(row) + "\n")
    linked, unlinked = read_annotated(file)
    assert linked.complete and not unlinked.complete
    few = {**SMALL, "epochs": 1}
    with_it, without = train([linked, unlinked], few), train([linked], few)
    assert all(torch.equal(x, y) for x, y in zip(with_it.state_dict().values(), without.state_dict().values()))


def test_the_extractor_trains_itself_once_and_knows_what_it_read(tmp_path, monkeypatch):
    folder = tmp_path / "data" / "knowledge"
    folder.mkdir(parents=True)
    rows = []
    for d in paragraphs(40):
        entities, events, relations = [], [], []
        for i, s in enumerate(d.spans):
            if s.label in ("temperature", "time"):
                cut = d.text.index(" ", s.start)
                entities += [
                    [f"T{i}", "Number", [[s.start, cut]], ""],
                    [f"U{i}", "Condition-Unit", [[cut + 1, s.end]], ""],
                ]
                relations.append([f"R{i}", "Number_Of", f"T{i}", f"U{i}"])
            else:
                kind = "Operation" if s.label == "operation" else "Material"
                entities.append([f"T{i}", kind, [[s.start, s.end]], ""])
                role = {"target": "Recipe_Target", "precursor": "Recipe_Precursor"}.get(s.label)
                if role:
                    events.append([f"E{i}", f"T{i}", [[role, f"T{i}"]]])
        rows.append({"id": d.id, "text": d.text, "entities": entities, "events": events, "relations": relations})
    with gzip.open(folder / CORPUS, "wt") as handle:
        handle.write("\n".join(map(json.dumps, rows)))
    monkeypatch.setenv("ATHANOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("models.knowledge.trained_tagger.SETTINGS", SMALL)
    monkeypatch.setattr("models.knowledge.tagger.SETTINGS", SMALL)
    extractor = Extractor(tmp_path / "data")
    assert isinstance(extractor, Knowledge)
    text = "SrTiO3 was prepared from SrCO3 and TiO2 . It was calcined at 950 degC for 8 h ."
    spans = extractor.spans(text)
    assert len(list((tmp_path / "cache").glob("extraction-*.npz"))) == 1
    again = Extractor(tmp_path / "data")
    assert again.spans(text) == spans
    recipe = again.ingest(text)
    assert again.query("SrTiO3") == [recipe]
    assert again.query("gold") == []
    (route,) = again.routes(text)
    assert route.target == "SrTiO3" and "SrCO3" in route.precursors
    assert route.temperature_C is not None and route.temperature_C.value == 950
