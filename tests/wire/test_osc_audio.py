"""Audio datagrams: golden bytes that both languages agree on, and a parser that nothing upsets."""

from __future__ import annotations

import hashlib
import hmac
import os
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import OscMessageBuilder

from rtserver import _engine, osc
from rtserver.osc import addresses
from rtserver.osc.seal import STALE_US

KEY = b"correct horse battery staple"
NOW = 1_700_000_000_000_000
TONE = np.sin(np.arange(320, dtype=np.float32) / 7).astype(np.float32)


def python_packet(address: str, tags: str, *values: object) -> bytes:
    builder = OscMessageBuilder(address)
    for tag, value in zip(tags, values, strict=True):
        builder.add_arg(value, tag)  # type: ignore[arg-type]
    return bytes(builder.build().dgram)


def test_golden_bytes() -> None:
    audio = np.array([0.5, -1.0], np.float32)
    assert _engine.encode_audio("audio", 7, 3, 1000, audio) == (
        b"/rt/7/audio\0,ihb\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\x03\xe8\0\0\0\x08\0\0\x00\x3f\0\0\x80\xbf"
    )
    assert _engine.encode_audio("epoch", 2147483647, 1, offline=True) == (
        b"/rt/2147483647/epoch\0\0\0\0,ii\0\0\0\0\x01\0\0\0\x01"
    )
    sealed = _engine.encode_audio("epoch.reply", 7, 3, key=KEY, nonce=NOW)
    covered = b"/rt/7/epoch.reply\0\0\0,ihb\0\0\0\0\0\0\0\x03" + NOW.to_bytes(8, "big") + b"\0\0\0\x10"
    assert sealed == covered + hmac.digest(KEY, covered, "sha256")[:16]


def test_python_osc_reads_and_writes_the_same_bytes() -> None:
    blob = TONE.astype("<f4").tobytes()
    assert _engine.encode_audio("audio", 12, 5, 2**40, TONE) == python_packet("/rt/12/audio", "ihb", 5, 2**40, blob)
    reply = _engine.encode_audio("audio.reply", 12, 5, 2**40, TONE, concealed=99)
    message = OscMessage(reply)
    assert message.address == "/rt/12/audio.reply"
    assert message.params == [5, 2**40, 99, blob]


@pytest.mark.parametrize("entry", [m for m in addresses.MESSAGES if m.socket == "audio"], ids=lambda m: m.address)
def test_the_table_describes_what_is_sent(entry: osc.Message) -> None:
    kind = entry.address.removeprefix("/rt/<session>/")
    audio = TONE if "audio" in kind else None
    message = OscMessage(_engine.encode_audio(kind, 3, 1, 4, audio))
    assert message.address == entry.address.replace("<session>", "3")
    types = {"i": int, "h": int, "b": bytes}
    assert [types[a.tag] for a in entry.arguments] == [type(value) for value in message.params]


@pytest.mark.parametrize("key", [None, KEY])
@pytest.mark.parametrize("kind", ["epoch", "epoch.reply", "audio", "audio.reply"])
def test_what_is_written_is_read(kind: str, key: bytes | None) -> None:
    audio = TONE[:77] if "audio" in kind else None
    found = _engine.parse_audio(
        _engine.encode_audio(kind, 2**31 - 1, 9, 2**61, audio, concealed=5, offline=True, key=key, nonce=NOW)
    )
    assert isinstance(found, dict)
    np.testing.assert_array_equal(found.pop("audio"), TONE[:77] if "audio" in kind else TONE[:0])
    assert found == {
        "kind": kind,
        "session": 2**31 - 1,
        "epoch": 9,
        "frame": 2**61 if "audio" in kind else 0,
        "concealed": 5 if kind == "audio.reply" else 0,
        "offline": kind == "epoch",
        "sealed": key is not None,
    }


def test_the_largest_packet_fits_one_ethernet_frame() -> None:
    packet = _engine.encode_audio("audio.reply", 2**31 - 1, 1, 0, TONE, key=KEY, nonce=NOW)
    assert len(packet) == 1364 <= 1500 - 20 - 8


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"/",
        b"/rt/1/audio",
        b"/rt/1/audio\0",
        b"/rt/1/audio\0,ihb\0\0\0\0",
        b"#bundle\0\0\0\0\0\0\0\0\1",
        python_packet("/rt/0/audio", "ihb", 1, 0, b"\0\0\0\0"),
        python_packet("/rt/01/audio", "ihb", 1, 0, b"\0\0\0\0"),
        python_packet("/rt/2147483648/audio", "ihb", 1, 0, b"\0\0\0\0"),
        python_packet("/rt/1/audio/", "ihb", 1, 0, b"\0\0\0\0"),
        python_packet("/rt/1/audios", "ihb", 1, 0, b"\0\0\0\0"),
        python_packet("/rt/1/mix", "f", 1.0),
        python_packet("/rt/1/audio", "ib", 1, b"\0\0\0\0"),
        python_packet("/rt/1/audio", "ihbb", 1, 0, b"\0\0\0\0", b"\0\0\0\0"),
        python_packet("/rt/1/audio", "ihb", 0, 0, b"\0\0\0\0"),
        python_packet("/rt/1/audio", "ihb", -1, 0, b"\0\0\0\0"),
        python_packet("/rt/1/audio", "ihb", 1, -1, b"\0\0\0\0"),
        python_packet("/rt/1/audio", "ihb", 1, 2**62, b"\0\0\0\0"),
        python_packet("/rt/1/audio", "ihb", 1, 0, b"\0\0\0"),
        python_packet("/rt/1/audio", "ihb", 1, 0, bytes(4 * 321)),
        python_packet("/rt/1/audio", "ihb", 1, 0, bytes(4)) + bytes(4),
        python_packet("/rt/1/audio", "ihb", 1, 0, bytes(4))[:-8] + struct.pack(">i", -4),
        python_packet("/rt/1/audio", "ihb", 1, 0, bytes(8))[:-4],
        python_packet("/rt/1/audio", "ihbhb", 1, 0, bytes(4), 5, bytes(12)),
        python_packet("/rt/1/epoch", "ii", 1, 2),
        python_packet("/rt/1/epoch.reply", "i", -1),
        bytes(1500),
    ],
)
def test_other_shapes_are_malformed(datagram: bytes) -> None:
    assert _engine.parse_audio(datagram) == "malformed"


def test_what_is_not_a_number_becomes_silence() -> None:
    audio = np.array([np.nan, 1.0, np.inf, -np.inf, -0.0], np.float32)
    found = _engine.parse_audio(_engine.encode_audio("audio", 1, 1, 0, audio))
    assert isinstance(found, dict)
    np.testing.assert_array_equal(found["audio"], np.array([0, 1, 0, 0, 0], np.float32))


@given(st.binary(max_size=400))
def test_any_bytes(datagram: bytes) -> None:
    assert isinstance(_engine.parse_audio(datagram), (str, dict))


@given(
    st.sampled_from(["epoch", "epoch.reply", "audio", "audio.reply"]),
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=4),
    st.integers(0, 2000),
)
def test_any_damage(kind: str, sealed: bool, damage: list[tuple[int, int]], cut: int) -> None:
    audio = TONE[:50] if "audio" in kind else None
    whole = _engine.encode_audio(kind, 42, 1, 7, audio, key=KEY if sealed else None, nonce=NOW)
    bent = bytearray(whole)
    for at, value in damage:
        bent[at % len(bent)] = value
    for datagram in (bytes(bent), bytes(bent[: cut % (len(bent) + 1)])):
        found = _engine.parse_audio(datagram)
        if isinstance(found, dict):
            assert len(found["audio"]) <= 320
            assert np.all(np.isfinite(found["audio"]))
            assert 1 <= found["session"] <= 2**31 - 1
        else:
            assert found == "malformed"
    if len(whole) > cut % (len(whole) + 1) > 0:
        assert _engine.parse_audio(whole[: cut % (len(whole) + 1)]) == "malformed"


def test_hmac_agrees_with_hashlib() -> None:
    random = np.random.default_rng(1)
    for key_bytes in (1, 16, 63, 64, 65, 200):
        for data_bytes in (0, 1, 55, 56, 63, 64, 65, 119, 120, 128, 1364):
            key, data = random.bytes(key_bytes), random.bytes(data_bytes)
            assert _engine.hmac_sha256(key, data) == hmac.new(key, data, hashlib.sha256).digest()


def test_hmac_of_the_standard() -> None:
    """RFC 4231, test case 2."""
    digest = _engine.hmac_sha256(b"Jefe", b"what do ya want for nothing?")
    assert digest.hex() == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"


def packet(nonce: int, key: bytes = KEY) -> bytes:
    return _engine.encode_audio("audio", 1, 1, 0, TONE[:4], key=key, nonce=nonce)


def test_both_languages_agree_on_seals() -> None:
    """The same order of packets gets the same verdicts from the C++ and the Python checker."""
    native, python = _engine.AudioSealChecker(KEY), osc.SealChecker(KEY)
    for nonce, key, verdict in (
        (NOW, KEY, ""),
        (NOW, KEY, "replayed"),
        (NOW + 5, KEY, ""),
        (NOW + 3, KEY, ""),
        (NOW + 3, KEY, "replayed"),
        (NOW + 9, b"other", "forged"),
        (NOW + 9, KEY, ""),
        (NOW - STALE_US, KEY, ""),
        (NOW - STALE_US - 1, KEY, "stale"),
        (NOW + STALE_US + 1, KEY, "stale"),
    ):
        datagram = packet(nonce, key)
        assert native.check(datagram, NOW) == verdict
        assert (python.check(datagram, "ihbhb", NOW) or "") == verdict


def test_every_byte_is_covered() -> None:
    whole = packet(NOW)
    for at in range(len(whole)):
        bent = bytearray(whole)
        bent[at] ^= 0x40
        assert _engine.AudioSealChecker(KEY).check(bytes(bent), NOW) == "forged"


def test_old_packets_stay_refused_when_memory_has_moved_on() -> None:
    checker = _engine.AudioSealChecker(KEY)
    for at in range(2000):
        assert checker.check(packet(NOW + at), NOW) == ""
    for at in range(0, 2000, 37):
        assert checker.check(packet(NOW + at), NOW) == "replayed"


def test_a_session_that_comes_back_refuses_what_it_heard_before() -> None:
    checker = _engine.AudioSealChecker(KEY, floor_nonce=NOW)
    assert checker.check(packet(NOW), NOW) == "replayed"
    assert checker.check(packet(NOW + 1), NOW) == ""


def test_keys_may_hold_any_bytes() -> None:
    key = os.urandom(8) + b"\0" + os.urandom(8)
    assert _engine.AudioSealChecker(key).check(packet(NOW, key), NOW) == ""
