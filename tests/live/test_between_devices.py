"""The room between two devices grows when gaps repeat, not for one, and not for ever."""

from __future__ import annotations

from rtserver.live.between_devices import Room


def test_one_gap_is_an_accident() -> None:
    room = Room(48000, 384)
    assert room.frames == 480
    assert not room.grows(0, 10.0) and not room.grows(1, 20.0) and not room.grows(2, 81.0)
    assert room.frames == 480, "more than a minute lies between the two"


def test_two_in_a_minute_are_not() -> None:
    room = Room(48000, 384)
    assert not room.grows(1, 20.0)
    assert not room.grows(1, 40.0)
    assert room.grows(2, 60.0) and room.frames == 720
    assert not room.grows(2, 61.0) and not room.grows(3, 62.0), "counting begins anew"
    assert room.grows(4, 63.0) and room.frames == 1080


def test_several_at_once() -> None:
    room = Room(48000, 384)
    assert room.grows(9, 5.0) and not room.grows(9, 6.0)


def test_it_ends_at_a_tenth_of_a_second() -> None:
    room = Room(48000, 384)
    assert sum(room.grows(2 * k, float(k)) for k in range(1, 40)) == 6
    assert room.frames == 4800
    assert Room(48000, 20000).frames == 4800


def test_a_device_that_returns_counts_from_nothing() -> None:
    room = Room(48000, 384)
    room.grows(1, 1.0)
    room.begin()
    assert not room.grows(1, 2.0)
    assert room.grows(2, 3.0)
