"""Reports that the controller has not acknowledged: sent again, ever more rarely, until it has."""

from __future__ import annotations

import math

import pytest

from instruments.ledger import Ledger
from instruments.messages import Report
from instruments.unheard import RESEND_MAX_S, Unheard
from tests.instruments.test_ledger import command


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite", min_free_bytes=0, instrument="a")
    ledger.start(command("c1"), 1)
    yield ledger
    ledger.close()


def report(status="ok"):
    return Report(command_id="c1", status=status)


def test_a_report_is_due_at_once_and_then_ever_more_rarely(ledger):
    unheard = Unheard(ledger)
    assert unheard.next_due == math.inf
    ledger.finish(report())
    unheard.add(report(), stored=True)
    now, waits = 100.0, []
    assert unheard.due(now) == ["c1"]
    for _ in range(6):
        unheard.sent("c1", now)
        assert unheard.due(now) == []
        waits.append(unheard.next_due - now)
        now = unheard.next_due
        assert unheard.due(now) == ["c1"]
    assert waits == sorted(waits) and waits[0] < waits[-1] == RESEND_MAX_S


def test_one_that_is_acknowledged_is_never_due_again_and_stays_findable(ledger):
    unheard = Unheard(ledger)
    ledger.finish(report())
    unheard.add(report(), stored=True)
    unheard.acknowledged("c1")
    assert unheard.next_due == math.inf and ledger.unacknowledged() == []
    assert unheard.find("c1") == report()


def test_one_that_could_not_be_stored_is_found_and_an_acknowledgement_does_not_end_it(ledger):
    unheard = Unheard(ledger)
    unheard.add(report(), stored=False)
    assert unheard.find("c1") == report() and ledger.report("c1") is None
    unheard.acknowledged("c1")
    assert unheard.due(1.0) == ["c1"]
    ledger.finish(report())
    unheard.add(report(), stored=True)
    unheard.acknowledged("c1")
    assert unheard.due(math.inf) == [] and ledger.unacknowledged() == []


def test_what_an_earlier_process_left_is_due_at_once(ledger):
    ledger.finish(report())
    assert Unheard(ledger).due(0.0) == ["c1"]
