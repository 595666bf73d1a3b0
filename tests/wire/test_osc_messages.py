"""The control protocol: golden bytes, round trips of every event, and refusals instead of exceptions."""

from __future__ import annotations

import dataclasses
import json
import shlex
import struct
import zlib
from pathlib import Path
from typing import get_args
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pythonosc.osc_message_builder import OscMessageBuilder

from rtserver import osc
from rtserver.osc import addresses, document, layouts
from rtserver.osc.codec import REPLY_BYTES_MAX, REQUEST_BYTES_MAX
from rtserver.osc.events import RefusalCode

CONNECT = osc.Connect(
    "osc", 48000, 128, 2, 4711, 0, "piano", margin="live", decoder="harp", seed=2**40, jitter_ms=12.5, session=3
)
EVENTS_TO_SERVER: list[osc.Event] = [
    CONNECT,
    osc.Connect("shm", 44100, 441, 1, 0),
    osc.Disconnect(7),
    osc.SetParameter(1, "mix", 0.25),
    osc.SetParameter(1, "decoder", "piano"),
    osc.SetParameter(1, "decoder", 2),
    osc.SetParameter(2**31 - 1, "seed", 2**63 - 1),
    osc.SetParameter(1, "fallback", "silence"),
    osc.SetParameter(1, "bypass", 1),
    osc.SetParameter(1, "panic", 1),
    osc.StatusRequest(),
    osc.ModelsRequest(),
    osc.Blend(1, 0.5, 2),
    osc.PresetSave(1, "evening"),
    osc.PresetRecall(1, "evening"),
    osc.PresetDelete("evening"),
    osc.PresetsRequest(),
]
EVENTS_TO_CLIENT: list[osc.Event] = [
    osc.Connected(1, "", 2, 50123, 128, 240, 0, 480, 240, 960, 2048, 48),
    osc.StatusReply('{"sessions": []}'),
    osc.ModelsReply("x" * 20000),
    osc.ErrorReply("out_of_range", "mix is 1.5"),
    osc.SetParameter(4, "output_gain_db", -6.0),
]


def message(address: str, tags: str, *values: object) -> bytes:
    builder = OscMessageBuilder(address)
    for tag, value in zip(tags, values, strict=True):
        builder.add_arg(value, tag)  # type: ignore[arg-type]
    return bytes(builder.build().dgram)


def bundle(time_tag: int, *elements: bytes) -> bytes:
    return b"#bundle\0" + struct.pack(">Q", time_tag) + b"".join(struct.pack(">i", len(e)) + e for e in elements)


def refusal(datagram: bytes, role: str = "server") -> osc.Refusal:
    (found,) = osc.decode(datagram, role)  # type: ignore[arg-type]
    assert isinstance(found, osc.Refusal), found
    return found


def test_golden_bytes() -> None:
    assert osc.encode(osc.SetParameter(1, "mix", 0.5)) == b"/rt/1/mix\0\0\0,f\0\0\x3f\x00\x00\x00"
    assert osc.encode(osc.StatusRequest()) == b"/rt/status\0\0,\0\0\0"
    assert osc.encode(osc.Connect("shm", 48000, 128, 1, 9, margin="live")) == (
        b"/rt/connect\0,siiiiisss\0\0shm\0\0\0\xbb\x80\0\0\0\x80\0\0\0\x01\0\0\0\x09\0\0\0\0\0\0\0\0"
        b"margin\0\0live\0\0\0\0"
    )


@pytest.mark.parametrize("event", EVENTS_TO_SERVER, ids=lambda e: type(e).__name__)
def test_requests_survive_the_wire(event: osc.Event) -> None:
    assert osc.decode(osc.encode(event), "server") == [event]


@pytest.mark.parametrize("event", EVENTS_TO_CLIENT, ids=lambda e: type(e).__name__)
def test_replies_survive_the_wire(event: osc.Event) -> None:
    assert osc.decode(osc.encode(event), "client") == [event]


def test_records_follow_the_table() -> None:
    """encode and decode pair a record's fields with the table's arguments by position."""
    for record, entry in ((osc.Connect, addresses.CONNECT), (osc.Connected, addresses.CONNECTED)):
        names = [field.name for field in dataclasses.fields(record)]
        assert names == [a.name for a in (*entry.arguments, *entry.options)]


@pytest.mark.parametrize(
    ("address", "tags", "value", "expected"),
    [
        ("/rt/1/mix", "i", 1, 1.0),
        ("/rt/1/mix", "d", 0.5, 0.5),
        ("/rt/1/seed", "i", 5, 5),
        ("/rt/1/seed", "f", 5.0, 5),
        ("/rt/1/bypass", "T", True, 1),
        ("/rt/1/bypass", "f", 0.0, 0),
        ("/rt/1/fallback", "i", 1, "silence"),
        ("/rt/1/decoder", "f", 3.0, 3),
        ("/rt/1/gate_db", "f", -90.0, -90.0),
    ],
)
def test_controllers_may_send_any_numeric_type(address: str, tags: str, value: object, expected: object) -> None:
    name = address.rsplit("/", 1)[1]
    assert osc.decode(message(address, tags, value)) == [osc.SetParameter(1, name, expected)]  # type: ignore[arg-type]


def test_panic_needs_no_argument() -> None:
    assert osc.decode(b"/rt/1/panic\0") == [osc.SetParameter(1, "panic", 1)]


@pytest.mark.parametrize(
    ("datagram", "code"),
    [
        (b"", "malformed"),
        (b"/rt", "malformed"),
        (b"hello world!", "malformed"),
        (b"/rt/status", "malformed"),
        (b"/rt/\xff\xfe\0\0,\0\0\0", "malformed"),
        (b"/rt/1/mix\0\0\0,f\0\0", "malformed"),
        (b"/rt/1/mix\0\0\0,f\0\0\x3f\0\0\0\0\0\0\0", "malformed"),
        (b"/rt/1/mix\0\0\0xf\0\0\x3f\0\0\0", "malformed"),
        (b"/rt/1/mix\0\0\0,Z\0\0", "malformed"),
        (b"/rt/1/mix\0\0\0,b\0\0\xff\xff\xff\xfc", "malformed"),
        (b"/rt/1/mix\0\0\0,b\0\0\x7f\xff\xff\xff", "malformed"),
        (b"/rt/status\0\0,\0\0\0" + b"\0" * REQUEST_BYTES_MAX, "oversized"),
        (message("/rt/nothing", ""), "unknown_address"),
        (message("/rt/0/mix", "f", 0.5), "unknown_address"),
        (message("/rt/4294967297/mix", "f", 0.5), "unknown_address"),
        (message("/rt/<session>/mix", "f", 0.5), "unknown_address"),
        (message("/rt/*/mix", "f", 0.5), "unknown_address"),
        (message("/rt/1/volume", "f", 0.5), "unknown_address"),
        (message("/rt/1/audio", "ihb", 1, 0, b"\0\0\0\0"), "misplaced"),
        (message("/rt/status.reply", "s", "{}"), "misplaced"),
        (message("/rt/1/mix", ""), "wrong_type"),
        (message("/rt/1/mix", "s", "loud"), "wrong_type"),
        (message("/rt/1/mix", "ff", 0.1, 0.2), "wrong_type"),
        (message("/rt/1/mix", "N", None), "wrong_type"),
        (message("/rt/1/seed", "f", 0.5), "wrong_type"),
        (message("/rt/disconnect", "s", "1"), "wrong_type"),
        (message("/rt/1/mix", "f", float("nan")), "out_of_range"),
        (message("/rt/1/mix", "f", float("inf")), "out_of_range"),
        (message("/rt/1/seed", "d", float("inf")), "wrong_type"),
        (message("/rt/1/mix", "f", 1.5), "out_of_range"),
        (message("/rt/1/gate_db", "f", 3.0), "out_of_range"),
        (message("/rt/1/seed", "h", -1), "out_of_range"),
        (message("/rt/1/fallback", "s", "loud"), "out_of_range"),
        (message("/rt/1/fallback", "i", 2), "out_of_range"),
        (message("/rt/1/decoder", "i", -1), "out_of_range"),
        (message("/rt/1/decoder", "s", "x" * 2000), "out_of_range"),
        (message("/rt/disconnect", "i", 0), "out_of_range"),
        (message("/rt/connect", "siiiiis", "tcp", 48000, 128, 1, 1, 0, ""), "out_of_range"),
        (message("/rt/connect", "siiiiis", "shm", 44, 128, 1, 1, 0, ""), "out_of_range"),
        (message("/rt/connect", "siiiiis", "shm", 48000, 128, 8, 1, 0, ""), "out_of_range"),
        (message("/rt/connect", "siiiiis", "shm", 48000, 0, 1, 1, 0, ""), "out_of_range"),
        (message("/rt/connect", "siiiiiss", "shm", 48000, 128, 1, 1, 0, "", "margin"), "wrong_type"),
        (message("/rt/connect", "siiiiissi", "shm", 48000, 128, 1, 1, 0, "", "seed", 1), "wrong_type"),
        (message("/rt/connect", "siiiiisss", "shm", 48000, 128, 1, 1, 0, "", "seed", "many"), "wrong_type"),
        (message("/rt/connect", "siiiiisss", "shm", 48000, 128, 1, 1, 0, "", "colour", "red"), "out_of_range"),
        (message("/rt/connect", "siiiiisss", "shm", 48000, 128, 1, 1, 0, "", "jitter_ms", "nan"), "out_of_range"),
    ],
)
def test_bad_requests_are_refused(datagram: bytes, code: str) -> None:
    found = refusal(datagram)
    assert found.code == code
    assert "\n" not in found.text and found.text


def test_a_refusal_names_what_was_expected() -> None:
    found = refusal(message("/rt/connect", "siiiiis", "shm", 48000, 128, 8, 1, 0, ""))
    assert found.answer == osc.ErrorReply("out_of_range", "/rt/connect: channels is 8, must be 1 to 2")


def test_answers_are_never_answered() -> None:
    """Two servers that refuse each other's refusals would never stop."""
    for datagram in (osc.encode(event) for event in EVENTS_TO_CLIENT if not isinstance(event, osc.SetParameter)):
        assert not refusal(datagram).answered
    assert refusal(message("/rt/1/mix", "f", 2.0)).answered
    assert not refusal(b"nonsense").answered


def test_bundles_are_opened_in_order() -> None:
    first, second = osc.SetParameter(1, "mix", 0.25), osc.SetParameter(1, "bypass", 1)
    inner = bundle(1, osc.encode(second))
    assert osc.decode(bundle(1, osc.encode(first), inner)) == [first, second]
    assert osc.decode(bundle(1)) == []


def test_a_bad_message_in_a_bundle_leaves_the_others() -> None:
    good = osc.SetParameter(1, "mix", 0.25)
    found = osc.decode(bundle(1, message("/rt/1/mix", "f", 9.0), osc.encode(good)))
    assert [type(item) for item in found] == [osc.Refusal, osc.SetParameter]


@pytest.mark.parametrize(
    ("datagram", "code"),
    [
        (b"#bundle\0\0\0\0\0", "malformed"),
        (bundle(1) + struct.pack(">i", -4), "malformed"),  # would run python-osc backwards for ever
        (bundle(1) + struct.pack(">i", 0), "malformed"),
        (bundle(1) + struct.pack(">i", 2**31 - 1), "malformed"),
        (bundle(1) + b"\0\0\0\4" + b"none", "malformed"),
        (bundle(1, *[osc.encode(osc.StatusRequest())] * 203), "oversized"),
        (bundle(2**64 - 1, osc.encode(osc.StatusRequest())), "future_time_tag"),
    ],
)
def test_bad_bundles_are_refused(datagram: bytes, code: str) -> None:
    assert refusal(datagram).code == code


def test_bundles_within_bundles_end() -> None:
    nested = osc.encode(osc.StatusRequest())
    for _ in range(150):
        nested = bundle(1, nested)
    assert refusal(nested).code == "malformed"


def test_time_tags_of_now_and_before_pass() -> None:
    now_s = 1_700_000_000
    for at_s, passes in ((now_s - 3600, True), (now_s + 0.01, True), (now_s + 1, False)):
        tag = int((at_s + 2_208_988_800) * 2**32)
        found = osc.decode(bundle(tag, osc.encode(osc.StatusRequest())), time_us=now_s * 1_000_000)
        assert (found == [osc.StatusRequest()]) == passes


def test_impossible_events_are_not_sent() -> None:
    for event in (
        osc.SetParameter(1, "mix", 2.0),
        osc.SetParameter(1, "volume", 1.0),
        osc.SetParameter(0, "mix", 1.0),
        osc.Connect("shm", 48000, 128, 3, 1),
        osc.Disconnect(0),
        osc.StatusReply("x" * REPLY_BYTES_MAX),
    ):
        with pytest.raises(ValueError, match=r"rt/|parameter|session"):
            osc.encode(event)


def check_total(found: list[osc.Event | osc.Refusal]) -> None:
    for item in found:
        if isinstance(item, osc.Refusal):
            assert item.text
        elif isinstance(item, osc.SetParameter):
            assert osc.decode(osc.encode(item), "server" if item.name not in ("mix",) else "client") == [item]


@given(st.binary(max_size=200))
def test_any_bytes(datagram: bytes) -> None:
    for role in ("server", "client"):
        check_total(osc.decode(datagram, role))  # type: ignore[arg-type]


@given(
    st.sampled_from([osc.encode(e) for e in (*EVENTS_TO_SERVER, osc.SetParameter(1, "mix", 0.5))])
    | st.just(bundle(1, *[osc.encode(e) for e in EVENTS_TO_SERVER])),
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), max_size=4),
    st.integers(0, 300),
)
def test_any_damage(datagram: bytes, damage: list[tuple[int, int]], cut: int) -> None:
    bent = bytearray(datagram)
    for at, value in damage:
        bent[at % len(bent)] = value
    for piece in (bytes(bent), bytes(bent[: cut % (len(bent) + 1)])):
        check_total(osc.decode(piece, "server"))


@given(
    st.sampled_from([m.address.replace("<session>", "1") for m in addresses.MESSAGES]),
    st.lists(
        st.one_of(
            st.tuples(st.just("i"), st.integers(-(2**31), 2**31 - 1)),
            st.tuples(st.just("h"), st.integers(-(2**63), 2**63 - 1)),
            st.tuples(st.just("f"), st.floats(width=32)),
            st.tuples(st.just("d"), st.floats()),
            st.tuples(st.just("s"), st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20)),
            st.tuples(st.just("b"), st.binary(min_size=1, max_size=40)),
            st.tuples(st.sampled_from("TFN"), st.none()),
        ),
        max_size=10,
    ),
)
def test_any_arguments(address: str, arguments: list[tuple[str, object]]) -> None:
    datagram = message(address, "".join(tag for tag, _ in arguments), *(value for _, value in arguments))
    check_total(osc.decode(datagram, "server"))
    check_total(osc.decode(datagram, "client"))


def test_the_document_is_up_to_date() -> None:
    text = (Path(__file__).parents[2] / "docs" / "osc.md").read_text(encoding="utf-8")
    assert document.updated(text) == text, "run: python -m rtserver.osc docs/osc.md"
    for code in get_args(RefusalCode):
        assert f"`{code}`" in text


def test_the_layouts_are_up_to_date_and_send_what_the_server_takes() -> None:
    folder = Path(__file__).parents[2] / "docs" / "layouts"
    command = "run: python -m rtserver.osc docs/layouts/rtserver.tosc docs/layouts/rtserver.ReaperOSC"
    pattern = (folder / "rtserver.ReaperOSC").read_text(encoding="utf-8")
    assert pattern == layouts.reaper(), command
    xml = zlib.decompress((folder / "rtserver.tosc").read_bytes())
    assert xml == zlib.decompress(layouts.touchosc()), command
    sent = [line.split()[1][1:].replace("@", "7") for line in pattern.splitlines() if line.startswith("TRACK_")]
    sent += [part.findtext("value", "") for part in ElementTree.fromstring(xml).iterfind(".//osc/path/partial")]
    assert len(sent) == 14
    for address in sent:
        (found,) = osc.decode(message(address, "f", 0.0), "server")
        assert isinstance(found, osc.SetParameter), address


def test_a_fader_of_the_layout_covers_its_parameter() -> None:
    tree = ElementTree.fromstring(zlib.decompress(layouts.touchosc(3)))
    faders = {node.findtext(".//osc/path/partial/value"): node for node in tree.iterfind(".//node[@type='FADER']")}
    assert set(faders) == {f"/rt/3/{name}" for name, argument in addresses.PARAMETERS.items() if argument.tag == "f"}
    gate = faders["/rt/3/gate_db"].find(".//osc/arguments/partial")
    assert gate is not None and (gate.findtext("scaleMin"), gate.findtext("scaleMax")) == ("-90", "0")


def _typed(text: str) -> bytes:
    """A datagram from an example of the table: address, tags, values."""
    address, tags, *values = shlex.split(text)
    convert = {"i": int, "h": int, "f": float, "s": str}
    return message(address, tags[1:], *(convert[t](v) for t, v in zip(tags[1:], values, strict=True)))


@pytest.mark.parametrize("entry", [m for m in addresses.MESSAGES if m.example], ids=lambda m: m.address)
def test_the_examples_are_right(entry: osc.Message) -> None:
    role = "client" if entry.receiver == "client" else "server"
    (found,) = osc.decode(_typed(entry.example), role)  # type: ignore[arg-type]
    assert not isinstance(found, osc.Refusal), found


def test_oscquery_describes_what_the_control_port_takes() -> None:
    tree = osc.oscquery(values={3: {"mix": 0.5, "fallback": "dry"}})
    rt = tree["CONTENTS"]["rt"]["CONTENTS"]
    mix = rt["3"]["CONTENTS"]["mix"]
    assert mix == {
        "FULL_PATH": "/rt/3/mix",
        "DESCRIPTION": mix["DESCRIPTION"],
        "TYPE": "f",
        "ACCESS": 3,
        "RANGE": [{"MIN": 0, "MAX": 1}],
        "VALUE": [0.5],
    }
    assert rt["3"]["CONTENTS"]["fallback"]["RANGE"] == [{"VALS": ["dry", "silence"]}]
    assert rt["3"]["CONTENTS"]["gate_db"]["UNIT"] == ["dB"]
    assert rt["connect"]["TYPE"] == "siiiiis"
    assert "connected" not in rt and "audio" not in rt["3"]["CONTENTS"]
    addressed = {f"/rt/3/{name}" for name in (*addresses.PARAMETERS, "blend")}
    assert {leaf["FULL_PATH"] for leaf in rt["3"]["CONTENTS"].values()} == addressed
    json.dumps(tree)
    assert "3" not in osc.oscquery()["CONTENTS"]["rt"]["CONTENTS"]
