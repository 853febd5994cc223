"""An act that provably did not happen is ordered again as it was: a mishap must change no decision."""

from __future__ import annotations

from controller import events as ev
from controller.records import Schedule
from tests.controller.pure_lab import PureLab, offer, step


def again(lab: PureLab, orders: list[ev.CommandOrdered]) -> None:
    """The last orders are ``orders`` with the next attempt and new ids."""
    new = lab.orders()[-len(orders) :]
    assert [o.attempt for o in new] == [o.attempt + 1 for o in orders]
    ids = tuple(o.command_id for o in new)
    assert not set(ids) & {o.command_id for o in orders}
    assert all(o.batch == (ids if len(ids) > 1 else ()) for o in new)
    same = {"command_id", "attempt", "batch"}
    assert [o.model_dump(exclude=same) for o in new] == [o.model_dump(exclude=same) for o in orders]


def test_nobody_slips_in_between():
    lab = PureLab(
        [[step("fire"), step("gauge")], [step("gauge")]], {"kiln": [offer("fire")], "gauge": [offer("gauge")]}
    )
    lab.settle()
    fire, gauge = lab.running("E0001")[0], lab.running("E0002")[0]
    lab.report(fire)
    lab.settle()  # the first sample waits for the gauge now, and is the more urgent one
    order = next(o for o in lab.orders() if o.command_id == gauge)
    lab.report(gauge, "untouched")
    lab.settle()
    again(lab, [order])


def test_a_batch_stays_together_and_waits_until_all_of_it_has_said_so():
    lab = PureLab([[step("fire")]] * 4, {"kiln": [offer("fire", batch=2)]}, clock="simulated")
    lab.settle()
    orders = lab.orders()
    assert [o.experiment for o in orders] == ["E0001", "E0002"]
    lab.state.schedule = schedule = Schedule(1, {}, {})
    lab.report(orders[1].command_id, "untouched")
    assert lab.settle() == []
    lab.report(orders[0].command_id, "untouched")
    lab.settle()
    assert len(lab.orders()) == 4
    again(lab, orders)
    assert lab.state.schedule is schedule, "nothing has happened that it did not foresee"


def test_of_a_batch_that_was_done_in_part_only_the_rest_is_ordered_again():
    lab = PureLab([[step("fire")]] * 2, {"kiln": [offer("fire", batch=2)]}, clock="simulated")
    lab.settle()
    first, second = lab.orders()
    lab.report(first.command_id, "untouched")
    lab.report(second.command_id, "ok")
    lab.settle()
    assert [(o.experiment, o.attempt, o.batch) for o in lab.orders()[2:]] == [("E0001", 1, ())]


def test_nothing_is_ordered_again_after_a_stop():
    lab = PureLab([[step("fire")]], {"kiln": [offer("fire")]})
    lab.settle()
    (order,) = lab.orders()
    lab.tell(ev.StopRequested(by="Ada"))
    lab.report(order.command_id, "untouched")
    lab.settle()
    assert lab.orders() == [order]
    lab.tell(ev.ControllerStarted(epoch=2, pid=2, host="here"))
    lab.settle()
    again(lab, [order])


def test_what_has_waited_too_long_meanwhile_is_not_ordered_again():
    lab = PureLab([[step("mix", 1.0), step("fire")]], {"mixer": [offer("mix")], "kiln": [offer("fire")]})
    lab.settle()
    lab.report(lab.running()[0])
    lab.settle()
    fire = lab.running()[0]
    lab.tell(ev.OutcomeUnknown(command_id=fire, evidence="nobody knows", facts={}))
    lab.pass_time(2.0)
    lab.settle()
    lab.tell(ev.Reconciled(command_id=fire, verdict="repeat", by="Ada", reason="it is cold and empty", readings={}))
    lab.settle()
    assert [order.experiment for order in lab.orders()] == ["E0001"] * 2
    assert lab.outcomes() == {"E0001": "failed_measurement"}
    assert "expired: waited 2 h, at most 1 h" in lab.state.experiments["E0001"].reason
