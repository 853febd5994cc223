"""The wire: what goes in comes out, and nothing else gets in."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instruments import messages
from instruments.arrays import ArrayHeader, from_array
from instruments.driver import Capability, Limit
from instruments.errors import ProtocolError
from instruments.messages import CapabilityInfo, Command, Inbox, Known, Message, Outbox, Report, decode, encode

names = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)
facts = st.dictionaries(
    st.text(max_size=8),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**53), 2**53)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)


def report(**changes) -> Report:
    header, frame = from_array("pattern", [[1.0, 2.0], [3.0, math.nan]])
    given = {"command_id": "run/e1/0/0", "status": "ok", "readings": {"moment_A_m2": 1.5}, "arrays": (header,)}
    return Report(**{**given, **changes}).with_frames([frame])


def message_json(body: dict, **envelope) -> bytes:
    head = {"protocol": 1, "id": "m", "session": "s", "epoch": 0, "sequence": 1, "sent": "", "body": body}
    return json.dumps({**head, **envelope}).encode()


def same(a: dict[str, float], b: dict[str, float]) -> bool:
    return a.keys() == b.keys() and all(x == b[k] or (math.isnan(x) and math.isnan(b[k])) for k, x in a.items())


@given(st.dictionaries(names, st.floats(), max_size=5))
def test_readings_survive_the_wire_exactly_nan_and_infinities_included(readings):
    sent = Report(command_id="c", status="ok", readings=readings)
    frames = Outbox("s").wrap(sent)
    json.loads(frames[0], parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    received = decode(frames).body
    assert isinstance(received, Report)
    assert same(received.readings, sent.readings)


@given(names, names, names, facts, st.integers(0, 2**63 - 1))
def test_commands_survive_the_wire_exactly(command_id, capability, sample, parameters, seed):
    sent = Command(
        command_id=command_id,
        experiment="e",
        step=3,
        capability=capability,
        sample=sample,
        parameters=parameters,
        seed=seed,
    )
    assert decode(Outbox("s", 7).wrap(sent)).body == sent


def test_a_report_can_be_written_to_a_journal_and_read_back():
    sent = Report(command_id="c", status="failed", readings={"x": math.inf, "y": math.nan}, message="no phase")
    read = Report.model_validate_json(sent.model_dump_json())
    assert same(read.readings, sent.readings)
    assert read.message == sent.message


def test_arrays_travel_as_raw_frames_with_their_shape():
    received = decode(Outbox("s").wrap(report())).body
    assert isinstance(received, Report)
    assert received.array("pattern").shape == (2, 2)
    assert received.array("pattern")[0].tolist() == [1.0, 2.0]
    assert math.isnan(received.array("pattern")[1, 1])
    with pytest.raises(KeyError):
        received.array("nothing")


def test_a_known_answer_carries_the_report_with_its_arrays():
    received = decode(Outbox("s").wrap(Known(command_id="c", state="done", report=report()))).body
    assert isinstance(received, Known)
    assert received.report is not None
    assert received.report.array("pattern")[0, 1] == 2.0


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "int32", "uint32", "uint16", "uint8", ">f8", ">i4"])
def test_numpy_arrays_of_every_allowed_kind_arrive_as_they_left(dtype):
    np = pytest.importorskip("numpy")
    value = np.arange(6).reshape(2, 3).astype(dtype).T
    header, frame = from_array("a", value)
    sent = Report(command_id="c", status="ok", arrays=(header,)).with_frames([frame])
    received = decode(Outbox("s").wrap(sent)).body
    assert isinstance(received, Report)
    assert (received.array("a") == value).all()


@pytest.mark.parametrize("value", [[[1.0], [1.0, 2.0]], ["a"], [None], [[1.0], 2.0]])
def test_what_is_no_array_of_numbers_is_refused(value):
    with pytest.raises(ProtocolError):
        from_array("a", value)


def test_an_array_of_strings_or_objects_is_refused():
    np = pytest.importorskip("numpy")
    with pytest.raises(ProtocolError, match="dtype"):
        from_array("a", np.array(["x"]))
    with pytest.raises(ProtocolError, match="dtype"):
        from_array("a", np.array([object()]))


def test_a_damaged_array_is_refused_by_its_digest():
    head, frame = Outbox("s").wrap(report())
    damaged = bytes([frame[0] ^ 1]) + frame[1:]
    with pytest.raises(ProtocolError, match="SHA-256"):
        decode([head, damaged])


@pytest.mark.parametrize("frames", [[], [b"short"], [b"x" * 32, b"x" * 32]])
def test_missing_short_and_surplus_raw_frames_are_refused(frames):
    head, _ = Outbox("s").wrap(report())
    with pytest.raises(ProtocolError):
        decode([head, *frames])


def test_a_header_that_promises_terabytes_is_refused_before_anything_is_read():
    header = {"name": "a", "dtype": "float64", "shape": [67_108_864, 67_108_864], "sha256": "0" * 64}
    body = {"verb": "report", "command_id": "c", "status": "ok", "arrays": [header]}
    with pytest.raises(ProtocolError, match="its header says"):
        decode([message_json(body), b""])
    with pytest.raises(ProtocolError, match="shape"):
        decode([message_json({**body, "arrays": [{**header, "shape": [-1, -8]}]}), b"x" * 64])


def test_an_array_above_the_limit_is_refused():
    header = {"name": "a", "dtype": "uint8", "shape": [(32 << 20) + 1], "sha256": "0" * 64}
    body = {"verb": "report", "command_id": "c", "status": "ok", "arrays": [header]}
    with pytest.raises(ProtocolError, match="too large"):
        decode([message_json(body), bytes((32 << 20) + 1)])


good = {"verb": "acknowledge", "command_id": "c"}


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{}",
        b"[" * 100_000,
        message_json(good)[:-5],
        message_json(good, protocol=2),
        message_json(good, epoch=-1),
        message_json(good, epoch="1"),
        message_json(good, sequence=1.5),
        message_json(good, extra=1),
        message_json({**good, "extra": 1}),
        message_json({"verb": "format_disk"}),
        message_json({"command_id": "c"}),
        message_json({**good, "command_id": ""}),
        message_json({**good, "command_id": "with space"}),
        message_json({**good, "command_id": "x" * 201}),
        message_json({**good, "command_id": 5}),
        message_json({"verb": "report", "command_id": "c", "status": "fine"}),
        message_json({"verb": "report", "command_id": "c", "status": "ok", "readings": {"x": "1.0"}}),
        message_json({"verb": "report", "command_id": "c", "status": "ok", "readings": {"x": True}}),
        message_json({"verb": "report", "command_id": "c", "status": "ok", "readings": {"x": math.nan}}),
        message_json({"verb": "report", "command_id": "c", "status": "ok", "duration_s": math.nan}),
        message_json({"verb": "report", "command_id": "c", "status": "ok", "duration_s": "NaN"}),
        message_json({"verb": "progress", "command_id": "c", "fraction": 1.5}),
        message_json({"verb": "heartbeat", "lease_s": math.inf}),
        message_json(good) + b" " * (messages.MAX_JSON_BYTES + 1),
    ],
)
def test_what_is_not_the_protocol_is_refused(frame):
    with pytest.raises(ProtocolError):
        decode([frame])


def test_a_bare_infinity_is_refused_and_a_written_one_is_read():
    body = '{"verb":"report","command_id":"c","status":"ok","readings":{"x":%s}}'
    head = message_json({}).decode().replace('"body": {}', '"body": %s')
    for bare in ("Infinity", "-Infinity", "NaN", "1e999"):
        with pytest.raises(ProtocolError, match="not JSON"):
            decode([(head % (body % bare)).encode()])
    read = decode([(head % (body % '"-Infinity"')).encode()]).body
    assert isinstance(read, Report)
    assert read.readings["x"] == -math.inf


@given(st.lists(st.binary(max_size=200), max_size=4))
def test_random_bytes_are_always_a_protocol_error(frames):
    with pytest.raises(ProtocolError):
        decode(frames)


@given(st.data())
def test_a_mutated_message_is_read_or_refused_but_never_breaks_the_reader(data):
    head, *rest = Outbox("s").wrap(report())
    at = data.draw(st.integers(0, len(head) - 1))
    cut = data.draw(st.integers(0, 4))
    mutated = head[:at] + data.draw(st.binary(max_size=4)) + head[at + cut :]
    try:
        message = decode([mutated, *rest])
    except ProtocolError:
        return
    assert isinstance(message, Message)


@pytest.mark.parametrize("value", [math.nan, math.inf, (1, 2), {"a": [{"b": math.nan}]}, object(), b"x"])
def test_command_parameters_must_be_finite_json(value):
    with pytest.raises(ValueError):
        Command(command_id="c", experiment="e", step=0, capability="x", sample="s", parameters={"p": value})


def test_a_message_too_large_to_send_says_so_to_the_sender():
    large = Command(
        command_id="c", experiment="e", step=0, capability="x", sample="s", parameters={"p": "x" * (1 << 20)}
    )
    with pytest.raises(ProtocolError, match="send numbers as arrays"):
        Outbox("s").wrap(large)


def test_frames_that_no_header_announces_cannot_be_sent():
    message = decode(Outbox("s").wrap(messages.Heartbeat()))
    with pytest.raises(ProtocolError):
        encode(message, [b"surplus"])


def test_capabilities_keep_their_infinite_limits():
    capability = Capability("melt", {"current_A": Limit(0, 200), "mass_g": Limit(low=0)}, {"mass_g": Limit()}, True)
    sent = messages.Announce(instrument="furnace", capabilities=(CapabilityInfo.of(capability),))
    received = decode(Outbox("s").wrap(sent)).body
    assert isinstance(received, messages.Announce)
    assert received.capabilities[0].capability() == capability


def test_a_capability_tells_how_many_samples_it_takes_and_what_they_must_share():
    capability = Capability("fire", batch=6, programme=("temperature_C", "hours"))
    assert CapabilityInfo.of(capability).capability() == capability
    with pytest.raises(ValueError):
        CapabilityInfo.of(Capability("fire", batch=0))


def test_a_repeated_message_is_not_fresh_and_a_new_session_starts_anew():
    inbox, outbox = Inbox(), Outbox("first")
    one, two = (decode(outbox.wrap(messages.Heartbeat())) for _ in range(2))
    assert inbox.fresh(one)
    assert inbox.fresh(two)
    assert not inbox.fresh(two)
    assert not inbox.fresh(one)
    assert inbox.fresh(decode(Outbox("second").wrap(messages.Heartbeat())))


def test_command_ids_differ_wherever_anything_differs():
    ids = {
        messages.command_id(run, experiment, step, attempt)
        for run in ("r1", "r2")
        for experiment in ("e1", "e2")
        for step in (0, 1)
        for attempt in (0, 1)
    }
    assert len(ids) == 16
    assert messages.command_id("r1", "e1", 0) == messages.command_id("r1", "e1", 0, 0)


def test_a_wrong_header_cannot_be_made():
    with pytest.raises(ValueError):
        ArrayHeader(name="a", dtype="object", shape=(1,), sha256="0" * 64)  # type: ignore[arg-type]


def test_the_protocol_document_holds_the_schema_of_this_code():
    text = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
    written = text.split("```json schema\n", 1)[1].split("\n```", 1)[0]
    fix = "run: python -m instruments.schema docs/protocol.md"
    assert json.loads(written) == json.loads(json.dumps(messages.json_schema())), fix
    for verb in messages.json_schema()["properties"]["body"]["discriminator"]["mapping"]:
        assert f"`{verb}`" in text.split("```json schema")[0], f"docs/protocol.md does not explain {verb}"
