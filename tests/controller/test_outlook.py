"""What a choice is told of the laboratory, and that a replay tells it the same."""

from __future__ import annotations

import pytest

from controller import events as ev
from controller.journal import Journal
from controller.replay import replay
from controller.rundir import RunDirectory
from tests.controller.fakes import CAMPAIGN, OFFERS, FakeHands, FakeScience, begin, fold, run

WEIGHING = CAMPAIGN.replace("batch:", "acquisition: {{name: pareto, effort: {{hours: {{heat: learned}}}}}}\nbatch:")


def begin_weighing(path, budget=6, hours=20):
    journal = Journal(path, create=True)
    text = WEIGHING.format(budget=budget, batch=1, clock="simulated")
    text = text.replace(f"experiments: {budget}", f"experiments: {budget}, hours: {hours}")
    journal.stage(
        [
            ev.CampaignStarted(run_id="run", text=text, base_dir="/", seed=0, budget=budget, version="0"),
            ev.ControllerStarted(epoch=1, pid=1, host="here"),
            *(ev.InstrumentAnnounced(instrument=n, driver="fake", offers=(o,)) for n, o in OFFERS.items()),
        ]
    )
    journal.commit()
    return journal, fold(journal)


def outlooks(journal):
    return [e.outlook for _, _, e in journal.read() if isinstance(e, ev.ChoiceOrdered)]


def test_an_order_says_which_instruments_are_idle_and_what_is_left(tmp_path):
    journal, state = begin_weighing(tmp_path / "j")
    science = FakeScience()
    run(journal, state, FakeHands(), science)
    first, *later = outlooks(journal)
    assert first.idle == ("meter", "oven")
    assert (first.budget_left, first.hours_left) == (1.0, 20.0)
    assert first.instruments["oven"].capabilities == ("heat",)
    assert any("oven" not in seen.idle and seen.wait_h("heat") > 0 for seen in later)
    left = [seen.budget_left for seen in outlooks(journal)]
    assert left == sorted(left, reverse=True)
    assert [order.outlook for order in science.orders] == outlooks(journal)


def test_observations_bring_the_hours_that_they_took(tmp_path):
    journal, state = begin_weighing(tmp_path / "j")
    science = FakeScience()
    run(journal, state, FakeHands(), science)
    hours = science.orders[-1].observations[0].hours
    assert hours["heat"] == pytest.approx(1.0)
    assert 0.1 < hours["measure"] < 0.3


def test_a_campaign_that_does_not_weigh_costs_is_told_nothing(tmp_path):
    journal, state = begin(tmp_path / "j")
    science = FakeScience()
    run(journal, state, FakeHands(), science)
    assert outlooks(journal) == [None] * len(outlooks(journal))
    assert all(not o.hours for order in science.orders for o in order.observations)
    assert "hours" not in science.orders[-1].observations[0].model_dump()


def test_the_order_in_which_reports_arrive_changes_no_outlook(tmp_path):
    found = []
    for jitter in (None, 1, 2):
        journal, state = begin_weighing(tmp_path / f"j{jitter}", budget=8)
        run(journal, state, FakeHands(jitter=jitter))
        found.append([seen.model_dump_json() for seen in outlooks(journal)])
    assert found[0] == found[1] == found[2]


def test_a_replay_derives_the_same_outlooks(tmp_path):
    (tmp_path / "run").mkdir()
    directory = RunDirectory(tmp_path / "run")
    journal, state = begin_weighing(directory.journal)
    run(journal, state, FakeHands())
    journal.close()
    assert replay(directory, science=FakeScience()) > 10
