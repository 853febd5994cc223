"""The lab file, its lease, and what it says to campaigns: without processes."""

from __future__ import annotations

import asyncio
import json
import stat
from pathlib import Path

import pytest

from actors.orders import Offer, Step, compile_recipe
from controller import events as ev
from controller.campaign import load_campaign, parse_campaign
from controller.errors import CampaignError, LabNeedsPerson, RunStateError
from controller.estop import find_lab, reset, stop
from controller.lab import Instrument, LabFile, own_envelope, parse_lab
from controller.lab_setup import check_lab, init_lab, write_host_config
from controller.lab_status import look_at_lab
from controller.labdir import LabDirectory, hold_lab
from controller.loop import Loop
from controller.replay import replay
from controller.rundir import RunDirectory
from controller.safety import Safety, misfits, narrowed
from controller.science import check_science
from controller.source import Source
from controller.state import State, decide, evolve
from instruments.errors import OutcomeUnknown
from instruments.host_config import HostConfig
from instruments.keys import load_registry
from instruments.limits import Bounds, Envelope
from models.route import Operation, Route
from tests.controller.fakes import OFFERS, FakeHands, FakeScience, fold

LAB = """\
name: north
clock: simulated
instruments:
  oven: {driver: none}
  meter: {driver: none}
safety:
  limits: {heat.x: {high: 0.8}}
"""

CAMPAIGN = """\
name: guest
budget: {experiments: 6}
space: {kind: parameters, parameters: {x: {low: 0, high: 1}}}
objectives: [{name: y}]
lab: the-lab
compute: {backend: local}
"""


def written(folder: Path, lab: str = LAB, campaign: str = CAMPAIGN) -> Path:
    (folder / "the-lab").mkdir(exist_ok=True)
    (folder / "the-lab" / "lab.yaml").write_text(lab)
    (folder / "guest.yaml").write_text(campaign)
    return folder / "guest.yaml"


def begun(folder: Path, lab: str = LAB, campaign: str = CAMPAIGN, offers: dict[str, Offer] = OFFERS) -> State:
    """The state of a campaign in a lab whose instruments have announced themselves."""
    journal = _journal(folder, lab, campaign, offers)
    state = fold(journal)
    journal.close()
    return state


def _journal(folder: Path, lab: str, campaign: str, offers: dict[str, Offer]):
    from controller.journal import Journal

    written(folder, lab, campaign)
    journal = Journal(folder / "journal.sqlite", create=True)
    started = ev.CampaignStarted(
        run_id="run",
        text=campaign,
        base_dir=str(folder),
        seed=0,
        budget=6,
        version="0",
        lab_file=str(folder / "the-lab" / "lab.yaml"),
        lab_text=lab,
    )
    journal.stage([started, ev.ControllerStarted(epoch=1, pid=1, host="here")])
    journal.stage([ev.InstrumentAnnounced(instrument=n, driver="fake", offers=(o,)) for n, o in offers.items()])
    journal.commit()
    return journal


# The file


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("clock: simulated", "clok: simulated", "lab.yaml:2: clok: unknown key. Did you mean 'clock'?"),
        ("{driver: none}", "{drivr: none}", "lab.yaml:4: instruments.oven.drivr: unknown key. Did you mean 'driver'?"),
        ("{driver: none}", "{}", "lab.yaml:4: instruments.oven: driver is missing"),
        ("{high: 0.8}", "{high: 0.8, low: 0.9}", "lab.yaml:7: safety.limits.heat.x: low (0.9) must not be above"),
        ("heat.x", "x", "lab.yaml:6: safety: 'x' must be capability.parameter"),
        ("name: north", "name: north\nclock: wall", "lab.yaml:3: clock: given twice (first in line 2)"),
        ("  oven:", "  operator:", "'operator' is the name of a key of ours"),
        (
            "  oven: {driver: none}",
            "  oven: {driver: none, limits: {heat.x: {low: 0.9}}}",
            "instruments.oven and safety: heat.x: 0.9 ..  and  .. 0.8 have nothing in common",
        ),
        ("name: north", "policies: {unknown: {diffract: done}}", "lab.yaml:1: policies.unknown.diffract"),
        ("name: north", "listen: 5570", "lab.yaml:1: listen"),
    ],
)
def test_a_mistake_in_a_lab_file_is_named_with_its_line(old, new, said):
    with pytest.raises(CampaignError) as error:
        parse_lab(LAB.replace(old, new, 1), "lab.yaml")
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: a\nname: b\n", "mine.yaml:2: name: given twice (first in line 1)"),
        ("budget: {experiments: 3, experiments: 4}\n", "mine.yaml:1: experiments: given twice"),
        ("a: &x {k: 1, k: 2}\nb: *x\n", "mine.yaml:1: k: given twice"),
        ("space:\n  - {p: 1}\n  - q: 1\n    q: 2\n", "mine.yaml:4: q: given twice (first in line 3)"),
    ],
)
def test_a_key_that_is_given_twice_is_refused_wherever_it_is(text, said):
    with pytest.raises(CampaignError) as error:
        Source(text, "mine.yaml")
    assert said in str(error.value)


def test_the_same_key_in_two_places_is_no_mistake():
    assert Source("a: {k: 1}\nb: {k: 1}\nc: [{k: 1}, {k: 2}]\n", "mine.yaml").data["c"][1] == {"k": 2}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("lab: the-lab", "lab: the-lab\nplanner: {name: direct, capabilty: heat}", "guest.yaml:6: planner.capabilty: "),
        (
            "lab: the-lab",
            "lab: the-lab\nplanner:\n  name: nothing",
            "guest.yaml:6: planner: no 'nothing' among planners",
        ),
        (
            "objectives: [{name: y}]",
            "objectives:\n  - {name: y}\n  - {name: z, source: derived}",
            "guest.yaml:6: objec",
        ),
        (
            "{kind: parameters, parameters: {x: {low: 0, high: 1}}}",
            "\n  kind: table\n  file: missing.csv\n  parameters: [x]",
            "guest.yaml:5: space.file: ",
        ),
    ],
)
def test_what_a_campaign_names_wrongly_is_pointed_at_by_its_line(tmp_path, old, new, said):
    path = written(tmp_path, LAB.replace("driver: none", "driver: table"), CAMPAIGN.replace(old, new))
    campaign, text = load_campaign(path)
    with pytest.raises(CampaignError) as error:
        check_science(campaign, tmp_path, Source(text, "guest.yaml"))
    assert said in str(error.value)


def test_a_driver_that_is_not_there_is_pointed_at_too(tmp_path):
    inline = CAMPAIGN.replace("lab: the-lab", "lab:\n  instruments:\n    oven: {driver: nothing}")
    campaign = parse_campaign(inline, "guest.yaml")
    with pytest.raises(CampaignError, match=r"guest.yaml:7: lab.instruments.oven: "):
        check_science(campaign, tmp_path, Source(inline, "guest.yaml"))


# A campaign in a lab


def test_a_campaign_may_be_stricter_than_its_lab_and_never_laxer(tmp_path):
    lax, _ = load_campaign(written(tmp_path, campaign=CAMPAIGN + "safety: {limits: {heat.x: {high: 5}}}\n"))
    assert lax.safety.limits["heat.x"] == Bounds(high=0.8)
    strict, _ = load_campaign(
        written(tmp_path, campaign=CAMPAIGN + "safety: {limits: {heat.x: {low: 0, high: 0.5}}}\n")
    )
    assert strict.safety.limits["heat.x"] == Bounds(low=0, high=0.5)


def test_everything_of_both_envelopes_holds():
    lab = Safety.model_validate(
        {
            "allowed": {"sinter.gas": ["air", "N2"]},
            "forbidden": {"elements": ["Hg"]},
            "max": {"grams": 100, "money": 50},
            "prices": {"per_g": {"Fe": 1.0}, "per_hour": 2},
            "approval": {"above": {"sinter.T": 1200}, "people": 2, "timeout_h": 8, "on_timeout": "reject"},
        }
    )
    campaign = Safety.model_validate(
        {
            "allowed": {"sinter.gas": ["N2", "H2"]},
            "forbidden": {"elements": ["Cd"], "together": [["H2", "O2"]]},
            "max": {"grams": 500, "hours": 9},
            "prices": {"per_g": {"Fe": 0.1, "Co": 3.0}},
            "approval": {"above": {"sinter.T": 1000}},
        }
    )
    both = campaign.inside(lab)
    assert both.allowed == {"sinter.gas": ("N2",)}
    assert both.forbidden.elements == ("Hg", "Cd")
    assert both.forbidden.together == (("H2", "O2"),)
    assert (both.max.grams, both.max.hours, both.max.money) == (100, 9, 50)
    assert both.prices.per_g == {"Fe": 1.0, "Co": 3.0}, "a campaign cannot make things cheaper"
    assert both.approval is not None
    assert (both.approval.above, both.approval.people, both.approval.on_timeout) == ({"sinter.T": 1000}, 2, "reject")


def test_envelopes_that_exclude_each_other_are_a_mistake_of_the_campaign(tmp_path):
    path = written(tmp_path, campaign=CAMPAIGN + "safety: {limits: {heat.x: {low: 0.9}}}\n")
    with pytest.raises(CampaignError, match=r"guest.yaml:7: safety: together with .*lab.yaml: heat.x"):
        load_campaign(path)


def test_a_lab_that_is_not_there_is_said_clearly(tmp_path):
    with pytest.raises(CampaignError, match="Give the path of a lab file"):
        load_campaign(written(tmp_path, campaign=CAMPAIGN.replace("the-lab", "elsewhere")))


def test_the_journal_holds_the_lab_so_that_a_replay_needs_no_file(tmp_path):
    state = begun(tmp_path)
    (tmp_path / "the-lab" / "lab.yaml").unlink()
    again = RunDirectory(tmp_path).load()
    assert again.require() == state.require()
    assert again.require().safety.limits["heat.x"].high == 0.8


def test_a_lab_file_that_changes_counts_from_the_event_on(tmp_path):
    state = evolve(begun(tmp_path), ev.LabChanged(lab_text=LAB.replace("0.8", "0.2")))
    assert state.require().safety.limits["heat.x"].high == 0.2


def test_samples_of_two_campaigns_in_one_lab_have_different_names(tmp_path):
    state = begun(tmp_path)
    assert state.sample("E0001") == "run-E0001"


# The envelope, at each of its three places


def heat(**parameters) -> Step:
    return Step(capability="heat", parameters=parameters, quantities=())


def test_limits_and_words_are_judged_when_a_recipe_is_compiled():
    envelope = Envelope.model_validate(
        {"limits": {"heat.ramp_C_per_min": {"high": 10}}, "allowed": {"heat.gas": ["N2"]}}
    )
    routes = [
        Route(
            candidate="c",
            operations=(Operation(capability="heat", parameters={"ramp_C_per_min": ramp, "gas": gas}),),
            reason=f"{ramp} {gas}",
        )
        for ramp, gas in ((20, "N2"), (5, "H2"), (5, "N2"))
    ]
    (offer,) = narrowed(envelope, [Offer(capability="heat")])
    assert compile_recipe(routes, (offer,)).reason == "5 N2"
    assert compile_recipe(routes, (Offer(capability="heat"),)).reason == "20 N2", "it is the envelope that decides"


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"gas": "H2"}, "heat.gas = 'H2' is not allowed; allowed: N2, air"),
        ({"gas": ["N2", "H2"]}, "heat.gas = 'H2' is not allowed; allowed: N2, air"),
        ({"gas": 5}, "heat.gas = 5 is not allowed; allowed: N2, air"),
        ({}, "heat.gas is limited and the recipe does not give it"),
    ],
)
def test_a_word_that_is_not_allowed_is_refused(parameters, sentence):
    envelope = Envelope.model_validate({"allowed": {"heat.gas": ["N2", "air"]}})
    assert envelope.breaches("heat", parameters) == [sentence]
    assert not envelope.breaches("heat", {"gas": "air"})
    assert not envelope.breaches("melt", parameters)


def test_a_recipe_that_no_instrument_may_carry_out_never_reaches_the_lab(tmp_path):
    lab = LAB.replace("oven: {driver: none}", "oven: {driver: none, limits: {heat.x: {high: 0.4}}}")
    journal = _journal(tmp_path, lab, CAMPAIGN, OFFERS)
    hands = FakeHands()
    loop = Loop(fold(journal), journal, FakeScience(), hands)
    asyncio.run(loop.run())
    xs = {e.id: float(e.candidate.parameters["x"]) for e in loop.state.experiments.values()}
    assert {c.split("/")[1] for c in hands.executed} == {name for name, x in xs.items() if x <= 0.4}
    high = next(e for e in loop.state.experiments.values() if 0.4 < xs[e.id] <= 0.8)
    assert "never sent to the lab: oven: heat.x" in high.reason


def test_before_dispatch_a_step_goes_only_to_an_instrument_that_may_take_it(tmp_path):
    lab = LAB.replace(
        "  oven: {driver: none}", "  a-oven: {driver: none, limits: {heat.x: {high: 0.1}}}\n  oven: {driver: none}"
    )
    offers = {"a-oven": OFFERS["oven"], **OFFERS}
    journal = _journal(tmp_path, lab, CAMPAIGN, offers)
    went: list[tuple[str, float]] = []

    class Hands(FakeHands):
        async def execute(self, instrument, command):
            went.append((instrument, float(command.parameters["x"])))
            return await super().execute(instrument, command)

    loop = Loop(fold(journal), journal, FakeScience(), Hands())
    asyncio.run(loop.run())
    assert any(name == "oven" for name, _ in went)
    assert all(x <= 0.1 for name, x in went if name == "a-oven")


def test_a_drivers_own_limits_differ_between_instruments_too():
    offer = Offer(capability="heat", limits={"x": (0.0, 0.5)})
    assert misfits(Envelope(), offer, heat(x=0.6)) == ["x = 0.6 is outside 0.0 .. 0.5"]
    assert not misfits(Envelope(), offer, heat(x=0.5))


def test_recipes_are_compiled_for_what_some_instrument_may_do(tmp_path):
    lab = LAB.replace(
        "  oven: {driver: none}", "  a-oven: {driver: none, limits: {heat.x: {high: 0.1}}}\n  oven: {driver: none}"
    )
    offers = {
        "a-oven": Offer(capability="heat", limits={"x": (0, 3)}),
        "oven": Offer(capability="heat", limits={"x": (1, 5)}),
    }
    (offer,) = begun(tmp_path, lab, offers=offers).offers()
    assert offer.limits == {"x": (0, 5)}


def test_a_host_is_told_the_labs_envelope_and_its_own():
    lab = LabFile(
        instruments={
            "oven": Instrument(driver="d", limits={"heat.x": Bounds(low=0.1)}),
            "other": Instrument(driver="d"),
        },
        safety=Safety(limits={"heat.x": Bounds(high=0.8)}),
    )
    assert own_envelope(lab, Safety(), "oven").limits == {"heat.x": Bounds(low=0.1, high=0.8)}
    assert own_envelope(lab, Safety(), "other").limits == {"heat.x": Bounds(high=0.8)}


# The folder


def test_a_lab_is_made_private_and_more_names_keep_what_exists(tmp_path):
    folder = tmp_path / "north"
    lines = init_lab(folder, hosts=["kiln"], operators=["ada"], observers=["bob"])
    assert any("kiln has a key and is not in" in line for line in lines)
    assert {p.name: stat.S_IMODE(p.stat().st_mode) for p in (folder / "keys").iterdir()} == dict.fromkeys(
        (
            *("controller.key", "operator.key", "ada.key", "bob.key", "kiln.key", "furnace.key", "diffractometer.key"),
            "registry.json",
        ),
        384,
    )
    secret, text = (folder / "keys" / "ada.key").read_text(), (folder / "lab.yaml").read_text()
    init_lab(folder, observers=["eve"])
    assert (folder / "keys" / "ada.key").read_text() == secret
    assert (folder / "lab.yaml").read_text() == text
    roles = {entry.name: entry.role for entry in load_registry(folder / "keys").keys}
    assert (roles["ada"], roles["bob"], roles["eve"], roles["kiln"]) == ("operator", "observer", "observer", "host")
    assert "ok. north" in check_lab(folder)[0]
    with pytest.raises(CampaignError, match="choose another name"):
        init_lab(folder, observers=["ada"])


def test_a_check_names_drivers_and_keys_that_are_missing(tmp_path):
    folder = tmp_path / "north"
    init_lab(folder)
    file = folder / "lab.yaml"
    file.write_text(file.read_text().replace("simulated.diffractometer", "simulated.diffractometre"))
    with pytest.raises(CampaignError, match=r"lab.yaml:\d+: instruments.diffractometer.*no driver|diffractometre"):
        check_lab(folder)
    file.write_text(file.read_text().replace("diffractometre", "diffractometer").replace("  furnace:", "  oven:"))
    with pytest.raises(CampaignError, match=r"lab.yaml:\d+: instruments.oven: it has no key"):
        check_lab(folder)


def test_the_file_of_a_host_elsewhere_has_addresses_limits_and_no_end(tmp_path):
    folder = tmp_path / "north"
    init_lab(folder)
    lines = write_host_config(folder, "furnace", "tcp://lab-pc:5570", tmp_path / "out.json")
    assert any("furnace.key" in line for line in lines)
    config = HostConfig.load(tmp_path / "out.json")
    assert config.endpoints == {"work": "tcp://lab-pc:5570", "stop": "tcp://lab-pc:5571"}
    assert config.envelope.breaches("sinter", {"temperature_C": 1600, "atmosphere": "air"})
    assert (config.keys, config.workdir, config.linger_s) == (tmp_path / "keys", tmp_path / "furnace", None)
    with pytest.raises(CampaignError, match="no instrument 'kiln'"):
        write_host_config(folder, "kiln", "tcp://lab-pc:5570", tmp_path / "x.json")
    with pytest.raises(CampaignError, match="is no address"):
        write_host_config(folder, "furnace", "lab-pc", tmp_path / "x.json")


def test_one_controller_has_the_lab_and_each_has_a_higher_epoch_whatever_its_run(tmp_path):
    lab = LabDirectory(tmp_path / "lab")
    with hold_lab(lab, run=tmp_path / "one", campaign="first") as mine:
        assert mine["epoch"] == 1
        second = hold_lab(lab, run=tmp_path / "two", campaign="second")
        with pytest.raises(RunStateError, match=r"campaign first, run .*one, epoch 1"):
            second.__enter__()
        assert (lab.holder() or {})["campaign"] == "first"
    assert lab.holder() is None
    with lab.lock.open("a") as file:
        file.write('{"epoch": 77, "run"')  # a crash has torn the line: it was never used
    with hold_lab(lab, run=tmp_path / "two", campaign="second", at_least=5) as mine:
        assert mine["epoch"] == 6
    assert lab.runs() == [tmp_path / "one", tmp_path / "two"]


# Emergency stop of a lab in which nothing runs


def test_a_stop_of_an_idle_lab_is_latched_and_ended_by_a_person_alone(tmp_path):
    init_lab(tmp_path / "north")
    lab, runs = find_lab(tmp_path / "north")
    outcome = stop(lab, runs, by="Ada", reason="smoke")
    assert (outcome.through, outcome.complete, set(outcome.acknowledged_ms)) == (
        "signal",
        True,
        {"furnace", "diffractometer"},
    )
    latched = lab.stop()
    assert latched is not None
    assert (latched.reason, latched.reset_by) == ("Ada: smoke", "")
    stop(lab, runs, by="Bob", reason="me too")
    assert lab.stop() == latched, "the first stop is the one that counts"
    found = look_at_lab(lab)
    assert (found["holder"], found["emergency_stop"]["reason"]) == (None, "Ada: smoke")
    reset(lab, runs, by="Ada", reason="steam")
    assert lab.stop() is not None
    assert lab.stop().reset_by == "Ada"  # type: ignore[union-attr]
    stop(lab, runs, by="Bob", reason="again")
    assert lab.stop().reset_by == "", "a new stop ends a reset that nobody has been told of"  # type: ignore[union-attr]


def test_what_cannot_be_read_counts_as_a_stop(tmp_path):
    lab = LabDirectory(tmp_path)
    assert lab.stop() is None
    (tmp_path / "stop.json").write_text("{")
    assert lab.stop() is not None


def test_a_remote_host_cannot_be_told_without_a_controller_and_is_named(tmp_path):
    init_lab(tmp_path / "north")
    file = tmp_path / "north" / "lab.yaml"
    file.write_text(file.read_text().replace("driver: simulated.diffractometer", "remote: true"))
    outcome = stop(*find_lab(tmp_path / "north"), by="Ada", reason="smoke")
    assert outcome.acknowledged_ms == {"furnace": 0.0, "diffractometer": None}
    assert not outcome.complete


# Policy


def unknown_run(folder: Path, policy: str, capability: str):
    lab = LAB.replace("name: north", f"name: north\npolicies: {{unknown: {policy}}}")
    journal = _journal(folder, lab, CAMPAIGN, OFFERS)
    lost: list[str] = []

    def answer(command):
        if command.capability == capability and not lost:
            lost.append(command.command_id)
            return {"raise": OutcomeUnknown(command.command_id, "the host is gone", {"door": "open"})}
        return {}

    return journal, Loop(fold(journal), journal, FakeScience(), FakeHands(answer))


def test_a_policy_decides_at_once_for_what_may_be_done_twice_and_the_replay_agrees(tmp_path):
    journal, loop = unknown_run(tmp_path, "{measure: repeat}", "measure")
    asyncio.run(loop.run())
    assert loop.state.finished
    (verdict,) = [event for _, _, event in journal.read() if isinstance(event, ev.Reconciled)]
    assert (verdict.by, verdict.verdict) == ("policy", "repeat")
    assert "policies.unknown.measure" in verdict.reason
    assert replay(RunDirectory(tmp_path), science=FakeScience()) > 10


def test_a_policy_never_decides_for_what_does_harm_when_done_twice(tmp_path):
    _, loop = unknown_run(tmp_path, "{heat: repeat}", "heat")
    with pytest.raises(LabNeedsPerson, match="outcome unknown"):
        asyncio.run(loop.run())


def test_after_an_emergency_stop_a_person_looks_whatever_the_policy_says(tmp_path):
    journal, loop = unknown_run(tmp_path, "{measure: repeat}", "measure")
    loop.append([ev.StopLatched(by="Ada")])
    state = loop.state
    assert not [e for e in decide(state).events if isinstance(e, ev.Reconciled)]
    journal.close()


def test_what_the_driver_last_said_is_kept_with_an_unknown_outcome(tmp_path):
    journal, loop = unknown_run(tmp_path, "{}", "heat")
    with pytest.raises(LabNeedsPerson):
        asyncio.run(loop.run())
    (command,) = loop.state.unknown()
    assert command.facts == {"door": "open"}
    (event,) = [e for _, _, e in journal.read() if isinstance(e, ev.OutcomeUnknown)]
    assert json.loads(event.model_dump_json())["facts"] == {"door": "open"}
