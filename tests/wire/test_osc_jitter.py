"""The jitter buffer: order restored, holes declared and concealed, everything counted, no bit lost without loss."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rtserver import _engine

FADE = 16
JITTER = 200
WINDOW = 4096
B = 50  # frames a packet


def stream(packets: int) -> NDArray[np.float32]:
    return (0.1 + np.arange(packets * B) % 97 / 100).astype(np.float32)


def packet(audio: NDArray[np.float32], index: int) -> tuple[int, NDArray[np.float32]]:
    return index * B, audio[index * B : (index + 1) * B]


def run(order: list[int], audio: NDArray[np.float32], jitter: int = JITTER) -> tuple[NDArray[np.float32], object]:
    buffer = _engine.JitterBuffer(WINDOW, jitter, FADE)
    out = []
    for index in order:
        buffer.push(*packet(audio, index))
        out.append(buffer.pop())
    return np.concatenate(out) if out else np.zeros(0, np.float32), buffer


def test_in_order_passes_at_once() -> None:
    audio = stream(20)
    buffer = _engine.JitterBuffer(WINDOW, JITTER, FADE)
    for index in range(20):
        assert buffer.push(*packet(audio, index)) == "accepted"
        np.testing.assert_array_equal(buffer.pop(), packet(audio, index)[1])
    assert (buffer.lost, buffer.late, buffer.duplicates, buffer.concealed) == (0, 0, 0, 0)


def test_behind_a_hole_everything_waits() -> None:
    audio = stream(10)
    buffer = _engine.JitterBuffer(WINDOW, JITTER, FADE)
    buffer.push(*packet(audio, 0))
    buffer.pop()
    for index in (2, 3, 4):  # the frame JITTER past the first missing one is the first of packet 5
        buffer.push(*packet(audio, index))
        assert len(buffer.pop()) == 0
    buffer.push(*packet(audio, 1))
    np.testing.assert_array_equal(buffer.pop(), audio[B : 5 * B])
    assert buffer.concealed == 0


def test_loss_is_declared_when_a_frame_jitter_past_the_hole_has_come() -> None:
    audio = stream(10)
    buffer = _engine.JitterBuffer(WINDOW, JITTER, FADE)
    buffer.push(*packet(audio, 0))
    buffer.pop()
    buffer.push(B + JITTER - 1, audio[:1])
    assert len(buffer.pop()) == 0
    buffer.push(B + JITTER, audio[:1])
    assert len(buffer.pop()) == 1
    assert (buffer.lost, buffer.concealed) == (1, 1)


def test_a_hole_fades_out_and_in() -> None:
    audio = stream(12)
    out, buffer = run([i for i in range(12) if i != 3], audio)
    assert buffer.lost == 1
    assert buffer.concealed == B
    hole = slice(3 * B, 4 * B)
    np.testing.assert_array_equal(out[: 3 * B], audio[: 3 * B])
    np.testing.assert_array_equal(out[4 * B + FADE :], audio[4 * B + FADE : len(out)])
    mirrored = audio[3 * B - FADE : 3 * B][::-1]
    assert np.all(out[hole][:FADE] <= mirrored) and np.all(out[hole][:FADE] >= 0)
    np.testing.assert_array_equal(out[hole][FADE:], 0)
    assert abs(out[3 * B] - out[3 * B - 1]) < 0.02  # no click going in
    assert out[4 * B] < 0.02  # nor coming out
    assert np.all(out[4 * B : 4 * B + FADE] <= audio[4 * B : 4 * B + FADE])


def test_a_hole_shorter_than_the_fade_is_crossed_smoothly() -> None:
    audio = np.ones(40 * B, np.float32)
    buffer = _engine.JitterBuffer(WINDOW, 0, FADE)
    buffer.push(0, audio[:100])
    buffer.push(104, audio[:200])
    out = buffer.pop()
    assert buffer.concealed == 4
    assert np.max(np.abs(np.diff(out))) < 0.2
    np.testing.assert_array_equal(out[104 + FADE :], 1)


def test_late_and_duplicate_packets_are_dropped_and_told_apart() -> None:
    audio = stream(20)
    buffer = _engine.JitterBuffer(WINDOW, JITTER, FADE)
    for index in [i for i in range(20) if i != 3]:
        buffer.push(*packet(audio, index))
        buffer.pop()
    assert buffer.push(*packet(audio, 3)) == "late"
    assert buffer.push(*packet(audio, 4)) == "duplicate"
    assert buffer.push(*packet(audio, 19)) == "duplicate"
    assert len(buffer.pop()) == 0
    assert (buffer.late, buffer.duplicates) == (1, 2)


def test_overlapping_packets_fill_what_is_missing() -> None:
    audio = stream(4)
    buffer = _engine.JitterBuffer(WINDOW, JITTER, FADE)
    buffer.push(0, audio[:60])
    buffer.push(40, audio[40:120])
    buffer.push(100, audio[100:])
    np.testing.assert_array_equal(buffer.pop(), audio)


def test_beyond_the_window_nothing_is_taken() -> None:
    buffer = _engine.JitterBuffer(WINDOW, JITTER, FADE)
    assert buffer.push(WINDOW - B, np.ones(B, np.float32)) == "accepted"
    assert buffer.push(WINDOW - B + 1, np.ones(B, np.float32)) == "too_far"
    assert buffer.push(2**61, np.ones(B, np.float32)) == "too_far"
    buffer.reset(2**61)
    assert buffer.push(2**61, np.ones(B, np.float32)) == "accepted"
    np.testing.assert_array_equal(buffer.pop(), np.ones(B))


def test_losing_the_first_packet_keeps_the_count() -> None:
    audio = stream(10)
    out, _ = run(list(range(1, 10)), audio)
    np.testing.assert_array_equal(out[:B], 0)
    np.testing.assert_array_equal(out[B + FADE :], audio[B + FADE : len(out)])


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.sampled_from([4, 50, 200]))
def test_shuffling_within_the_jitter_changes_no_bit(seed: int, jitter_packets: int) -> None:
    """Packets delayed by less than the buffer waits for come out as if they had never been late."""
    random = np.random.default_rng(seed)
    count = 60
    audio = stream(count)
    jitter = jitter_packets * B
    window = min(jitter // B - 1, count)
    arrival = np.arange(count) + random.uniform(0, max(window - 1, 0), count)
    order = [int(i) for i in np.argsort(arrival)]
    doubled = [i for i in order for _ in range(1 + int(random.random() < 0.2))]
    buffer = _engine.JitterBuffer(2 * count * B, jitter, FADE)
    out = []
    for index in doubled:
        buffer.push(*packet(audio, index))
        out.append(buffer.pop())
    np.testing.assert_array_equal(np.concatenate(out), audio)
    assert (buffer.lost, buffer.late, buffer.concealed) == (0, 0, 0)
    assert buffer.duplicates == len(doubled) - count


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.floats(0, 0.6))
def test_any_network(seed: int, loss: float) -> None:
    """Whatever is lost, doubled or reordered: frames keep their place, and what is heard was sent or is counted."""
    random = np.random.default_rng(seed)
    count = 120
    audio = stream(count)
    kept = [i for i in range(count) if random.random() >= loss]
    arrival = {i: i + random.exponential(2.0) for i in kept}
    order = sorted(arrival, key=lambda i: arrival[i])
    out, buffer = run(order, audio)
    assert len(out) == buffer.next_frame <= count * B
    assert np.all(np.isfinite(out)) and np.max(np.abs(out), initial=0.0) <= 2 * np.max(audio)
    different = int(np.count_nonzero(out != audio[: len(out)]))
    assert different <= buffer.concealed + FADE * max(buffer.lost, 1) * (buffer.concealed > 0)
    if len(kept) == count and buffer.late == 0:
        assert buffer.concealed == 0


def test_a_frame_waits_no_longer_than_the_jitter() -> None:
    random = np.random.default_rng(3)
    audio = stream(400)
    buffer = _engine.JitterBuffer(WINDOW, JITTER, FADE)
    heard = 0
    for index in range(400):
        if random.random() < 0.2:
            continue
        buffer.push(*packet(audio, index))
        heard += len(buffer.pop())
        assert heard >= (index + 1) * B - JITTER
    assert buffer.concealed > 0


@pytest.mark.parametrize("fade", [0, 1])
def test_no_fade_is_possible(fade: int) -> None:
    buffer = _engine.JitterBuffer(WINDOW, 0, fade)
    buffer.push(0, np.ones(10, np.float32))
    buffer.push(20, np.ones(10, np.float32))
    out = buffer.pop()
    assert len(out) == 30
    np.testing.assert_array_equal(out[11:20], 0)
