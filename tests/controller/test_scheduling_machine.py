"""Random labs, random recipes, everything that can happen to them: no collision, no deadlock."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from controller import events as ev
from controller.problem import ScheduleProblem
from controller.state import State
from tests.controller.pure_lab import PureLab, offer, step

CAPABILITIES = ("grind", "fire", "look")

offers = st.builds(
    lambda name, batch: offer(name, batch, ["programme"] if batch > 1 else [], idempotent=name == "look"),
    st.sampled_from(CAPABILITIES),
    st.integers(1, 3),
)
steps = st.builds(
    lambda name, wait, programme, hours: step(name, wait, programme=programme, hours=hours),
    st.sampled_from(CAPABILITIES),
    st.none() | st.sampled_from([0.0, 0.5, 3.0]),
    st.integers(1, 2),
    st.sampled_from([0.5, 2.0]),
)


class Lab(RuleBasedStateMachine):
    """Whatever happens, what must hold of places and orders holds, and the lab never stands still for no reason."""

    lab: PureLab

    @initialize(data=st.data())
    def begin(self, data):
        names = [f"i{k}" for k in range(data.draw(st.integers(1, 4), "instruments"))]
        instruments = {
            n: data.draw(st.lists(offers, min_size=1, max_size=2, unique_by=lambda o: o.capability)) for n in names
        }
        offered = {o.capability for one in instruments.values() for o in one}
        recipe = st.lists(steps.filter(lambda s: s.capability in offered), min_size=1, max_size=4)
        recipes = data.draw(st.lists(recipe, min_size=1, max_size=7), "recipes")
        self.lab = PureLab(
            recipes,
            instruments,
            check=self.check,
            slots={name: data.draw(st.integers(1, 3)) for name in names if data.draw(st.booleans())},
            storage=data.draw(st.none() | st.integers(1, 4), "storage"),
            scheduler=data.draw(st.sampled_from(["plain", "optimal", "auto"]), "scheduler"),
            max_faults=2,
        )
        self.lab.settle()

    def check(self, state: State, event: ev.Event) -> None:
        """What must hold of an order at the moment when it is given."""
        if not isinstance(event, ev.CommandOrdered):
            return
        instrument, one = state.instruments[event.instrument], state.experiments[event.experiment]
        assert not state.latched and not state.stopping
        assert not instrument.absent and not instrument.retired
        assert set(instrument.running) <= set(event.batch), "a command to a busy instrument"
        assert not one.command_id and not one.ended and not one.outcome and one.step == event.step
        assert state.now_s <= one.due_s, "processed after its time had run out"
        wanted = one.next_step
        assert wanted is not None and wanted.capability in instrument.offers
        name, _, slot = event.position.rpartition("/")
        room = state.require().lab.instruments[name].slots or max(o.batch for o in instrument.offers.values())
        assert name == event.instrument and 1 <= int(slot) <= room
        lying = instrument.lying.get(int(slot))
        assert lying is None or lying == one.id or not state.filing.runs(state.experiments[lying].command_id)
        if event.batch:
            assert event.command_id in event.batch
            assert 2 <= len(event.batch) <= min(instrument.offers[wanted.capability].batch, room)
            for other in set(event.batch) & set(state.commands):
                mate = state.experiments[state.commands[other].order.experiment].next_step
                assert mate is not None and mate.capability == wanted.capability
                assert mate.parameters["programme"] == wanted.parameters["programme"]

    @invariant()
    def every_sample_has_a_place_of_its_own(self):
        if not hasattr(self, "lab"):
            return
        state = self.lab.state
        places = [one.position for one in state.experiments.values() if one.position]
        assert len(set(places)) == len(places), places
        storage = state.require().lab.storage
        assert storage is None or len(state.homes) <= storage
        begun = {one.id for one in state.active.values() if one.position}
        assert begun == set(state.homes.values())
        for name, instrument in state.instruments.items():
            for slot, who in instrument.lying.items():
                assert state.experiments[who].position == f"{name}/{slot}"
            assert {state.commands[c].order.experiment for c in instrument.running} <= set(instrument.lying.values())

    @invariant()
    def it_stands_still_only_for_a_reason(self):
        if not hasattr(self, "lab"):
            return
        state = self.lab.state
        trouble = state.unknown() or state.latched or state.stopping or state.scheduling
        trouble = trouble or any(not instrument.in_service for instrument in state.instruments.values())
        if state.filing.quiet and not trouble:
            assert state.finished, "deadlock"

    def running(self):
        return self.lab.running() if hasattr(self, "lab") else []

    @precondition(lambda self: self.running())
    @rule(data=st.data(), status=st.sampled_from(["ok", "ok", "ok", "failed", "fault", "untouched", "refused"]))
    def report(self, data, status):
        self.lab.report(data.draw(st.sampled_from(self.running())), status)
        self.lab.settle()

    @precondition(lambda self: self.running())
    @rule(data=st.data())
    def whole_act_ends(self, data):
        order = self.lab.state.commands[data.draw(st.sampled_from(self.running()))].order
        for name in order.batch or (order.command_id,):
            if name in self.running():
                self.lab.report(name)
        self.lab.settle()

    @precondition(lambda self: self.running())
    @rule(data=st.data())
    def outcome_unknown(self, data):
        self.lab.tell(ev.OutcomeUnknown(command_id=data.draw(st.sampled_from(self.running())), evidence="?"))
        self.lab.settle()

    @precondition(lambda self: hasattr(self, "lab") and self.lab.state.unknown())
    @rule(data=st.data(), verdict=st.sampled_from(["done", "failed", "discard", "repeat"]))
    def reconcile(self, data, verdict):
        name = data.draw(st.sampled_from([c.order.command_id for c in self.lab.state.unknown()]))
        self.lab.tell(ev.Reconciled(command_id=name, verdict=verdict, by="me"))
        self.lab.settle()

    @rule(data=st.data(), returns=st.booleans())
    def lose(self, data, returns):
        name = data.draw(st.sampled_from(sorted(self.lab.state.instruments)))
        self.lab.tell(ev.OutOfService(instrument=name, reason="silent", returns=returns))
        self.lab.settle()

    @rule(data=st.data())
    def come_back(self, data):
        name = data.draw(st.sampled_from(sorted(self.lab.state.instruments)))
        self.lab.tell(ev.BackInService(instrument=name))
        self.lab.settle()

    @rule(hours=st.sampled_from([0.1, 1.0, 5.0]))
    def time_passes(self, hours):
        self.lab.pass_time(hours)
        self.lab.settle()

    @rule(reset=st.booleans())
    def stop(self, reset):
        if reset:
            self.lab.tell(ev.StopReset(by="me", reason="fine"))
        else:
            self.lab.tell(ev.StopLatched(by="me"))
        self.lab.settle()

    @rule(hours=st.sampled_from([0.0, 2.0]))
    def another_controller(self, hours):
        self.lab.tell(ev.StopRequested(by="SIGTERM"))
        self.lab.settle()
        epoch = self.lab.state.epoch + 1
        self.lab.tell(ev.ControllerStarted(epoch=epoch, pid=1, host="here", away_s=3600 * hours))
        self.lab.settle()

    @precondition(lambda self: hasattr(self, "lab") and self.lab.state.scheduling)
    @rule(data=st.data())
    def a_schedule_comes(self, data):
        """As wild as can be: schedules are never obeyed blindly."""
        problem = self.lab.state.scheduling
        assert problem is not None
        self.lab.tell(wild_schedule(problem, data))
        self.lab.settle()

    def teardown(self):
        if not hasattr(self, "lab"):
            return
        lab = self.lab
        lab.tell(ev.StopReset(by="me", reason="over"))
        for _ in range(300):
            lab.tell(ev.ControllerStarted(epoch=lab.state.epoch + 1, pid=1, host="here"))
            for command in lab.state.unknown():
                lab.tell(ev.Reconciled(command_id=command.order.command_id, verdict="done", by="me"))
            if lab.state.scheduling is not None:
                lab.tell(ev.ScheduleMade(schedule=lab.state.scheduling.number, acts=(), reason="none today"))
            lab.settle()
            self.every_sample_has_a_place_of_its_own()
            self.it_stands_still_only_for_a_reason()
            if lab.state.finished:
                break
            for name in lab.running():
                lab.report(name)
            lab.pass_time(0.1)
        assert lab.state.finished, "it never ends"
        assert all(lab.outcomes().values())
        assert not lab.state.homes
        assert not lab.state.filing.waiting


def wild_schedule(problem: ScheduleProblem, data: st.DataObject) -> ev.ScheduleMade:
    """Acts that fit the problem's instruments and batches, in a random order, with random omissions."""
    acts: list[ev.Act] = []
    for job in problem.jobs:
        for work in job.works:
            instrument, room = data.draw(st.sampled_from(work.options))
            start_s = problem.now_s + data.draw(st.sampled_from([0.0, 1000.0, 50_000.0]))
            mates = [k for k, a in enumerate(acts) if a.instrument == instrument and len(a.works) < room]
            if mates and data.draw(st.booleans()):
                act = acts[mates[0]]
                acts[mates[0]] = act.model_copy(update={"works": (*act.works, (job.experiment, work.step))})
            elif data.draw(st.integers(0, 5)):
                works = ((job.experiment, work.step),)
                acts.append(ev.Act(instrument=instrument, works=works, start_s=start_s))
    return ev.ScheduleMade(schedule=problem.number, acts=tuple(acts), solver="dice")


TestLab = Lab.TestCase
TestLab.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
