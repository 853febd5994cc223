"""A batch waits until it is whole, and breaks as a whole."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from instruments.batches import Batches, fault_of_batch, fault_of_member
from instruments.driver import Capability
from instruments.messages import Command


def member(name: str, batch: tuple[str, ...], capability: str = "fire", sample: str = "", **parameters) -> Command:
    return Command(
        command_id=name,
        experiment="e",
        step=0,
        capability=capability,
        sample=sample or f"s{name}",
        parameters=parameters,
        batch=batch,
    )


@given(order=st.permutations("abcd"), repeated=st.lists(st.sampled_from("abcd")))
def test_members_may_come_in_any_order_and_again_and_go_out_in_theirs(order, repeated):
    batches, batch = Batches(), ("a", "b", "c", "d")
    for name in [*order[:-1], *(x for x in repeated if x != order[-1])]:
        assert batches.add(member(name, batch), 0.0) == []
        assert name in batches
    assert [x.command_id for x in batches.add(member(order[-1], batch), 0.0)] == list(batch)
    assert sorted(batches.drop(batch)) == list(batch)
    assert (len(batches), list(batches)) == (0, [])


def test_a_broken_batch_refuses_who_comes_later():
    batches, batch = Batches(), ("a", "b")
    batches.add(member("a", batch), 0.0)
    assert batches.broken(member("b", batch)) == ""
    assert batches.drop(batch, broken="too hot") == ["a"]
    assert batches.broken(member("b", batch)) == "too hot"
    assert batches.broken(member("b", ("b",))) == ""


def test_two_batches_wait_side_by_side_and_time_out_on_their_own():
    batches = Batches()
    batches.add(member("a", ("a", "b")), 0.0)
    batches.add(member("c", ("c", "d")), 5.0)
    assert batches.overdue(6.0, 4.0) == [("a", "b")]
    batches.drop(("a", "b"))
    assert batches.all() == [("c", "d")]
    assert batches.overdue(6.0, 4.0) == []


def test_who_cannot_be_a_member_is_told_why():
    fire = Capability("fire", batch=2)
    assert fault_of_member(member("a", ("a", "b")), fire) == ""
    assert "named in its batch" in fault_of_member(member("a", ("b", "c")), fire)
    assert "named in its batch" in fault_of_member(member("a", ("a", "a")), fire)
    assert "fire takes 2 samples" in fault_of_member(member("a", ("a", "b", "c")), fire)


def test_what_cannot_be_one_act_is_told_why():
    batch, hot = ("a", "b"), member("a", ("a", "b"), temperature_C=900, grams=1)
    assert fault_of_batch([hot, member("b", batch, temperature_C=900.0, grams=2)], ("temperature_C",)) == ""
    assert "one temperature_C" in fault_of_batch([hot, member("b", batch, temperature_C=800)], ("temperature_C",))
    assert "one temperature_C" in fault_of_batch([hot, member("b", batch)], ("temperature_C",))
    assert "asks for look" in fault_of_batch([hot, member("b", batch, "look", temperature_C=900)], ())
    assert "twice" in fault_of_batch([hot, member("b", batch, sample="sa", temperature_C=900)], ())
