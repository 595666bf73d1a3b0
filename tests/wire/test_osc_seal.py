"""Sealed messages: authentic, fresh and new, or refused."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from rtserver import osc
from rtserver.osc.seal import MAC_BYTES, STALE_US

KEY = b"correct horse battery staple"
NOW = 1_700_000_000_000_000
EVENT = osc.SetParameter(1, "mix", 0.5)


def sealed(nonce: int = NOW, key: bytes = KEY, event: osc.Event = EVENT) -> bytes:
    return osc.encode(event, osc.Sealer(key), nonce)


def verdict(checker: osc.SealChecker, datagram: bytes, now: int = NOW) -> str:
    (found,) = osc.decode(datagram, "server", checker, now)
    return found.code if isinstance(found, osc.Refusal) else "accepted"


def test_golden_bytes() -> None:
    covered = b"/rt/1/mix\0\0\0,fhb\0\0\0\0\x3f\0\0\0" + NOW.to_bytes(8, "big") + b"\0\0\0\x10"
    seal = hmac.new(KEY, covered, hashlib.sha256).digest()[:MAC_BYTES]
    assert sealed() == covered + seal
    assert seal.hex() == "63b2332a9a76c512802ae0562abbeb13"


def test_a_sealed_message_passes_once() -> None:
    checker = osc.SealChecker(KEY)
    assert osc.decode(sealed(), "server", checker, NOW) == [EVENT]
    assert verdict(checker, sealed()) == "replayed"
    assert verdict(checker, sealed(NOW + 1)) == "accepted"
    assert verdict(checker, sealed()) == "replayed"


def test_requests_with_options_keep_them_under_a_seal() -> None:
    event = osc.Connect("osc", 48000, 128, 1, 1, margin="live", seed=3)
    assert osc.decode(sealed(event=event), "server", osc.SealChecker(KEY), NOW) == [event]


def test_reordered_messages_pass() -> None:
    checker = osc.SealChecker(KEY)
    assert [verdict(checker, sealed(NOW + at)) for at in (5, 1, 4, 2, 3)] == ["accepted"] * 5


@pytest.mark.parametrize(("offset", "expected"), [(0, "accepted"), (STALE_US, "accepted"), (STALE_US + 1, "stale")])
def test_a_minute_and_no_longer(offset: int, expected: str) -> None:
    assert verdict(osc.SealChecker(KEY), sealed(NOW - offset)) == expected
    assert verdict(osc.SealChecker(KEY), sealed(NOW + offset)) == expected


def test_every_byte_is_covered() -> None:
    whole = sealed()
    for at in range(len(whole)):
        bent = bytearray(whole)
        bent[at] ^= 1
        assert verdict(osc.SealChecker(KEY), bytes(bent)) != "accepted", at


def test_other_keys_and_no_seal() -> None:
    checker = osc.SealChecker(KEY)
    assert verdict(checker, sealed(key=b"other")) == "forged"
    assert verdict(checker, osc.encode(EVENT)) == "unsealed"
    assert verdict(checker, sealed()) == "accepted"


def test_forgeries_leave_no_trace() -> None:
    """Otherwise an attacker could burn nonces before the owner uses them."""
    checker = osc.SealChecker(KEY, memory=4)
    for at in range(100):
        assert verdict(checker, sealed(NOW + at, key=b"other")) == "forged"
    assert verdict(checker, sealed(NOW)) == "accepted"


def test_what_memory_forgets_stays_refused() -> None:
    checker = osc.SealChecker(KEY, memory=8)
    for at in range(20):
        assert verdict(checker, sealed(NOW + at)) == "accepted"
    assert all(verdict(checker, sealed(NOW + at)) == "replayed" for at in range(20))


def test_memory_is_freed_with_time() -> None:
    checker = osc.SealChecker(KEY, memory=8)
    for at in range(50):
        now = NOW + at * (STALE_US // 2)
        assert verdict(checker, sealed(now), now) == "accepted"
    assert len(checker._order) <= 4


def test_seals_are_ignored_without_a_key() -> None:
    assert osc.decode(sealed(), "server") == [EVENT]


def test_nonces_rise_even_when_the_clock_does_not() -> None:
    sealer = osc.Sealer(KEY)
    assert [sealer.next_nonce(10), sealer.next_nonce(10), sealer.next_nonce(5)] == [10, 11, 12]


def test_an_empty_key_is_refused() -> None:
    for kind in (osc.Sealer, osc.SealChecker):
        with pytest.raises(ValueError, match="key is empty"):
            kind(b"")
