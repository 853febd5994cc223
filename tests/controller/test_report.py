"""The report: one page that needs nothing else, a table, crystals; at any moment of any kind of run."""

from __future__ import annotations

import csv
import io
import re
import sqlite3
from html.parser import HTMLParser
from itertools import pairwise
from math import comb
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from controller import events as ev
from controller.errors import RunStateError, StorageError
from controller.report import repetitions, write_report
from controller.report_baseline import baseline_of
from controller.report_data import collect, running_best
from controller.report_names import belief, formula, pretty, prototype, quantity
from controller.report_structures import conventional, measured_crystal, reflections
from controller.report_svg import Chart, nice_range, ticks
from models.observation import Prediction
from tests.controller import made_runs

# pymatgen calls spglib in the way that spglib 2.7 deprecates; nothing here can change that.
pytestmark = pytest.mark.filterwarnings("ignore:Set OLD_ERROR_HANDLING to false:DeprecationWarning")

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """What a browser would see: text, drawings, and everything that it would fetch or run."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.handlers: list[str] = []
        self.feed(text)
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "action", "data", "srcset", "xlink:href"):
                self.fetched.append(f"{tag} {name}={value}")
            if name.startswith("on"):
                self.handlers.append(f"{tag} {name}")

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open[-1:] == [tag], f"</{tag}> closes something else"
        self.open.pop()

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("style", "script"):
            self.words.append(data)


def written(scribe: made_runs.Scribe, out: Path, reason: str = "", **settings: Path) -> Page:
    return Page(write_report(scribe.close(reason), out, **settings).read_text(encoding="utf-8"))


def rows(out: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((out / "results.csv").read_text(encoding="utf-8"))))


@pytest.fixture(scope="module")
def magnets(tmp_path_factory) -> tuple[Page, Path]:
    """The report of a finished run of a prototype space."""
    folder = tmp_path_factory.mktemp("magnets")
    return written(made_runs.heusler(folder / "run"), folder / "out", "6 experiments done"), folder / "out"


def test_the_page_fetches_nothing_and_runs_nothing(magnets):
    page, out = magnets
    text = (out / "report.html").read_text(encoding="utf-8")
    assert page.fetched == []
    assert page.handlers == []
    assert "script" not in page.tags
    assert not re.search(r"https?://|@import|url\(", text)
    assert page.open == []


def test_the_headline_says_what_was_sought_and_found(magnets):
    page, _ = magnets
    wanted = "high saturation magnetization and low supply risk (HHI), with phase fraction at least 0.5"
    assert f"Sought: {wanted}" in page.text
    assert "among 105 candidates" in page.text
    assert "Found: Fe₂CoSi (L2₁) with saturation magnetization 1.85 T and supply risk (HHI) 2600" in page.text
    assert "The Pareto front has 3 results" in page.text


def test_the_page_explains_choices_failures_costs_and_provenance(magnets):
    page, _ = magnets
    assert "qLogNEHVI) in decision 5, with acquisition value −1.5; the best one left behind, L2_1-Fe2MnSi" in page.text
    assert "phase_fraction = 0.31, wanted >= 0.5" in page.text
    assert "melt temperature (°C) 1700" in page.text
    assert "events are as they were written" in page.text
    assert "upper bound for ferrimagnets" in page.text
    assert page.text.count("Pareto front") >= 3


def test_the_drawings_are_well_formed_and_named(magnets):
    _, out = magnets
    drawings = re.findall(r"<svg.*?</svg>", (out / "report.html").read_text(encoding="utf-8"), flags=re.S)
    assert len(drawings) >= 12  # discovery, hypervolume, front, two parities, five crystals, pattern, two of cost
    for drawing in drawings:
        assert ElementTree.fromstring(drawing).get("aria-label")
        assert "nan" not in drawing


def test_the_table_has_every_experiment_with_what_was_believed_and_found(magnets):
    _, out = magnets
    table = rows(out)
    assert [row["experiment"] for row in table] == [f"E000{k}" for k in range(1, 7)]
    assert table[4]["candidate"] == "L2_1-Fe2CoSi"
    assert float(table[4]["saturation_magnetization_T"]) == 1.85
    assert float(table[4]["predicted_saturation_magnetization_T_mean"]) == pytest.approx(1.95)
    assert table[3]["outcome"] == "failed_synthesis"
    assert table[3]["saturation_magnetization_T"] == ""
    assert [row["pareto_front"] for row in table] == ["false", "true", "false", "false", "true", "true"]
    assert float(table[0]["lab_hours"]) == pytest.approx(12.5)
    assert float(table[0]["lab_hours_furnace"]) == pytest.approx(12.0)


def test_each_cif_reads_back_as_the_crystal_at_its_measured_volume(magnets):
    from pymatgen.core import Structure

    _, out = magnets
    files = sorted((out / "cif").glob("*.cif"))
    assert len(files) == 5, "one for each feasible result"
    for file in files:
        crystal = Structure.from_file(file)
        assert crystal.volume / len(crystal) == pytest.approx(11.5, rel=1e-4)
    first = Structure.from_file(next(f for f in files if "Fe2CoSi" in f.name))
    assert first.composition.reduced_formula == "Fe2CoSi"
    assert first.get_space_group_info()[1] == 225


def test_hostile_names_stay_text(tmp_path):
    evil = '</svg><script>alert(1)</script><img src=x onerror=alert(2)>"\' onload="alert(3)'
    page = written(made_runs.heusler(tmp_path / "run", hostile=evil), tmp_path / "out", "done")
    assert "script" not in page.tags
    assert "img" not in page.tags
    assert page.handlers == []
    assert "<script>alert(1)</script>" in page.text, "it is shown as the text that it is"
    assert rows(tmp_path / "out")[1]["candidate"] == evil
    assert all(file.parent == tmp_path / "out" / "cif" for file in (tmp_path / "out").rglob("*.cif"))


@pytest.mark.parametrize("make", [made_runs.heusler, made_runs.table])
def test_a_run_without_results_has_a_report(tmp_path, make):
    page = written(make(tmp_path / "run", results=0), tmp_path / "out")
    assert "No experiment is finished yet" in page.text
    assert rows(tmp_path / "out") == []
    assert not (tmp_path / "out" / "cif").exists()


def test_a_run_with_only_failures_has_a_report(tmp_path):
    scribe = made_runs.heusler(tmp_path / "run", results=0)
    choice = made_runs.Choice(candidate=made_runs.ALLOYS[0][0], value=0.0, method="initial-design")
    scribe.finish(scribe.choose(choice, made_runs.Recipe(steps=())), "failed_measurement", {}, "no recipe: too hot")
    page = written(scribe, tmp_path / "out")
    assert "none counts as a result" in page.text
    assert "no recipe: too hot" in page.text


def test_a_report_can_be_written_while_an_experiment_is_under_way(tmp_path):
    scribe = made_runs.heusler(tmp_path / "run", results=2)
    scribe.order(scribe.choose_again("E0001"), "furnace")
    page = written(scribe, tmp_path / "out")
    assert "not finished; 1 under way" in page.text
    assert rows(tmp_path / "out")[2]["outcome"] == "under way"


def test_equal_journals_give_equal_reports(tmp_path):
    directory = made_runs.table(tmp_path / "run").close("done")
    first = write_report(directory, tmp_path / "one").read_bytes()
    assert write_report(directory, tmp_path / "two").read_bytes() == first


def test_a_report_replaces_an_older_one_with_its_crystals(tmp_path):
    written(made_runs.heusler(tmp_path / "run"), tmp_path / "out")
    written(made_runs.heusler(tmp_path / "other", results=1), tmp_path / "out")
    assert [file.name for file in (tmp_path / "out" / "cif").iterdir()] == ["E0001-L2_1-Co2MnSi.cif"]


def test_every_controller_that_had_the_run_is_listed(tmp_path):
    scribe = made_runs.heusler(tmp_path / "run", results=2)
    scribe.tell(ev.ControllerStarted(epoch=2, pid=4242, host="elsewhere"), ev.StopRequested(by="SIGINT"))
    page = written(scribe, tmp_path / "out")
    assert "2 controllers had the run" in page.text
    assert "elsewhere 4242" in page.text
    assert "stop requested by SIGINT" in page.text


def test_a_tampered_journal_is_reported_as_such(tmp_path):
    directory = made_runs.heusler(tmp_path / "run", results=2).close()
    with sqlite3.connect(directory.journal) as db:
        db.execute("UPDATE events SET body = replace(body, '3100.0', '2100.0') WHERE kind = 'experiment_finished'")
    db.close()
    assert "NOT INTACT" in Page(write_report(directory, tmp_path / "out").read_text(encoding="utf-8")).text


def test_no_run_and_no_place_to_write_are_told_apart(tmp_path):
    from controller.rundir import RunDirectory

    with pytest.raises(RunStateError, match="no run here"):
        write_report(RunDirectory(tmp_path), tmp_path / "out")
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="--out"):
        write_report(made_runs.table(tmp_path / "run", results=1).close(), tmp_path / "file" / "out")


def test_random_search_on_a_table_is_what_the_table_says(tmp_path):
    run = collect(made_runs.table(tmp_path / "run").close("done"))
    baseline = baseline_of(run, None)
    assert baseline.best is not None
    assert "1,000 random orders of the table's 40 candidates" in baseline.note
    middle = baseline.best.middle
    assert len(middle) == 8
    assert all(b >= a for a, b in pairwise(middle)), "the best so far never falls"
    # Exactly: the median of the best of 8 among these 40, from the order statistics of a draw without replacement.
    strengths = sorted(max(s for x, _, s in made_runs.table_rows() if x == k) for k in range(40))
    chance = [comb(i + 1, 8) / comb(40, 8) for i in range(40)]
    exact = next(s for s, p in zip(strengths, chance, strict=True) if p >= 0.5)
    assert middle[-1] == pytest.approx(exact, abs=3.5)
    # The run took x = 0 ... 7, the eight worst settings: chance does as well with its first draw or two.
    assert baseline.reach is not None
    assert baseline.reach <= 2


def test_a_changed_table_is_not_used(tmp_path):
    scribe = made_runs.table(tmp_path / "run")
    (tmp_path / "table.csv").unlink()
    baseline = baseline_of(collect(scribe.close("done")), None)
    assert baseline.best is None
    assert "cannot be simulated" in baseline.note


def test_nothing_is_invented_about_random_search_in_a_prototype_space(tmp_path):
    baseline = baseline_of(collect(made_runs.heusler(tmp_path / "run").close("done")), None)
    assert baseline.reach is None
    assert "no random search" in baseline.note
    assert baseline.best is not None
    assert len(baseline.best.middle) == 3, "it ends where the initial design ends"


def test_a_random_run_of_the_same_space_can_be_compared_with(tmp_path):
    run = made_runs.heusler(tmp_path / "run").close("done")
    other = made_runs.heusler(tmp_path / "other", results=3, acquisition="random").close()
    page = Page(write_report(run, tmp_path / "out", baseline=other.path).read_text(encoding="utf-8"))
    assert "chosen by “random” in the same space (3 experiments, seed 7" in page.text
    assert "this run was as good after 2 experiments as that one after 3" in page.text
    strange = made_runs.table(tmp_path / "elsewhere" / "run").close()
    with pytest.raises(RunStateError, match="space differ"):
        write_report(run, tmp_path / "out", baseline=strange.path)


def test_the_expected_reflections_are_those_of_the_face_centred_lattice():
    a_A, wavelength_A = 5.65, 1.54184
    row = _row(made_runs.alloy("Co", "Mn", "Si", a_A=a_A))
    structure = measured_crystal(row)
    assert structure is not None
    assert len(conventional(structure)) == 16
    indices = [np.array(x) for x in np.ndindex(9, 9, 9) if any(x)]
    unmixed = {int(x @ x) for x in indices if len(set((x % 2).tolist())) == 1}

    def place_of(square: int) -> float:
        return float(np.degrees(2 * np.arcsin(wavelength_A * np.sqrt(square) / (2 * a_A))))

    allowed = [place_of(square) for square in unmixed if wavelength_A * np.sqrt(square) < 2 * a_A]
    found = [place for place, _ in reflections(row, wavelength_A, 100.0)]
    assert all(min(abs(place - x) for x in allowed) < 0.01 for place in found)
    for strong in (8, 16, 24):  # 220, 400, 422: all atoms scatter in phase
        assert min(abs(place_of(strong) - x) for x in found) < 0.01


def _row(candidate):
    from controller.report_data import Row
    from controller.state import Experiment

    choice = made_runs.Choice(candidate=candidate, value=0.0, method="random")
    return Row(Experiment("E0001", choice, 1), 1, None, None, False, {}, None, None)


def test_names_and_numbers_read_as_people_write_them():
    assert pretty("saturation_magnetization_T") == "saturation magnetization (T)"
    assert pretty("cell_volume_A3_per_atom") == "cell volume (Å³/atom)"
    assert pretty("T") == "T"
    assert quantity("mass_loss_pct", -3.5) == "mass loss −3.5%"
    assert belief(Prediction(mean=1.13789, std=0.1474)) == "1.14 ± 0.15"
    assert belief(Prediction(mean=2466.2, std=0)) == "2466"
    assert formula("Co2MnSi") == "Co₂MnSi"
    assert prototype("L2_1") == "L2₁"


def test_ticks_are_round_and_inside():
    assert ticks(0, 60, count=6) == [0, 10, 20, 30, 40, 50, 60]
    assert ticks(0.13, 0.87, count=4) == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert ticks(0, 2.5, count=8, whole=True) == [0, 1, 2]
    low, high = nice_range([float("nan"), 3.0])
    assert low < 3 < high


def test_a_curve_breaks_where_nothing_is_known():
    chart = Chart((0, 4), (0, 1), x_label="x", y_label="<y>", title="t")
    chart.line([(0, 0.1), (1, float("nan")), (2, 0.5), (3, 0.6)], "curve")
    assert chart.svg().count("<polyline") == 2
    assert "&lt;y&gt;" in chart.svg()


def test_the_best_so_far_ignores_what_is_unknown():
    best = running_best(np.array([np.nan, 2.0, np.nan, 1.0, 3.0]))
    assert np.isnan(best[0])
    assert best[1:].tolist() == [2, 2, 2, 3]


def test_repetitions_are_listed_with_each_result_and_their_spread(tmp_path):
    scribe = made_runs.table(tmp_path / "run", results=3)
    name = scribe.choose_again("E0002")
    scribe.report(scribe.order(name, "bench"), {"strength_MPa": 21.0}, 1.0, {})
    scribe.finish(name, "measured", {"strength_MPa": 21.0})
    first = scribe.state.observations[1].values["strength_MPa"]
    page = written(scribe, tmp_path / "out")
    assert "Repetitions" in page.text
    assert "E0002, E0004" in page.text
    (one,) = repetitions(collect(scribe.directory))
    assert one["values"] == [first, 21.0]
    assert one["mean"] == pytest.approx((first + 21.0) / 2)
    assert one["std"] == pytest.approx(abs(first - 21.0) / 2**0.5)


def test_a_run_without_repetitions_has_no_such_list(magnets):
    page, _ = magnets
    assert "Repetitions" not in page.text
