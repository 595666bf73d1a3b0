"""Blending live: latents of two sessions mixed by one knob; nothing at all happens to them at 0."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from rtserver import osc
from rtserver.client import Bridge
from rtserver.connection import ControlConnection, ServerRefused
from rtserver.worker.blending import STALE_SECONDS, Blending
from tests.dashboard.page import with_page
from tests.dashboard.player import Player, sine
from tests.server.harness import ServerProcess, eventually, noise, through


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def latent(value: float, size: int = 4) -> np.ndarray:
    return np.full(size, value, np.float32)


def test_latents_are_mixed_by_the_amount_and_are_the_very_same_at_0() -> None:
    clock = Clock()
    blending = Blending(clock)
    own = latent(1.0)
    assert blending.mixed(1, own) is own
    blending.set(1, 0.25, 2)
    assert blending.mixed(1, own) is own  # nothing has come from there yet
    assert blending.mixed(2, latent(5.0))[0] == 5.0
    assert blending.mixed(1, own)[0] == 2.0
    blending.set(1, 1.0, 2)
    assert np.array_equal(blending.mixed(1, own), latent(5.0))
    blending.set(1, 0.0, 2)
    assert blending.mixed(1, own) is own


def test_a_source_that_stopped_or_does_not_fit_is_not_heard() -> None:
    clock = Clock()
    blending = Blending(clock)
    blending.set(1, 0.5, 2)
    blending.mixed(2, latent(5.0))
    clock.now = STALE_SECONDS + 0.01
    own = latent(1.0)
    assert blending.mixed(1, own) is own
    blending.mixed(2, latent(5.0, size=6))
    assert blending.mixed(1, own) is own


def test_the_other_sources_sound_comes_out_of_this_session(server: ServerProcess) -> None:
    """identity16k's latents are the sound itself, so its blend is a sum whose parts can be measured."""

    with (
        Player(server.port, sine(600.0), model="identity16k") as one,
        Player(server.port, sine(900.0), model="identity16k") as two,
    ):

        def heard() -> np.ndarray:
            async def act(page):
                await page.ask("watch", session=one.session)
                return [(await page.next("meters"))[str(one.session)] for _ in range(6)][-1]

            shown = with_page(server.port, act)
            return np.frombuffer(base64.b64decode(shown["out_spectrum"]), np.uint8)

        def peaks() -> tuple[int, int]:
            bands = heard()
            at = [round(96 * np.log(hz / 50) / np.log(160)) for hz in (600.0, 900.0)]
            low, high = (int(bands[max(0, place - 1) : place + 2].max()) for place in at)
            return low, high

        eventually(lambda: peaks()[0] > peaks()[1] + 60, "its own tone alone")
        with_page(server.port, lambda page: page.ask("blend", session=one.session, amount=0.5, source=two.session))
        eventually(lambda: abs(np.subtract(*peaks())) < 12 and min(peaks()) > 180, "both tones")
        with_page(server.port, lambda page: page.ask("blend", session=one.session, amount=1, source=two.session))
        eventually(lambda: peaks()[1] > peaks()[0] + 40, "the other tone alone")


def test_a_blend_of_0_changes_no_bit(server: ServerProcess) -> None:
    sound = noise(9600, seed=3)

    def played(blended: bool) -> np.ndarray:
        with Player(server.port, sine(500.0)) as other, Bridge(server.port, offline=True, seed=5) as bridge:
            if blended:
                ask = {"session": bridge.session, "source": other.session}
                with_page(server.port, lambda page: page.ask("blend", amount=0.5, **ask))
                with_page(server.port, lambda page: page.ask("blend", amount=0, **ask))
                Bridge(server.port).close()  # the worker does what it is told in order: now it has heard of the blends
            return through(bridge, sound, [128])

    assert np.array_equal(played(False), played(True))


def test_what_can_not_be_blended_is_refused(server: ServerProcess) -> None:
    with (
        Bridge(server.port, model="identity16k") as one,
        Bridge(server.port) as other,
        ControlConnection(port=server.port) as client,
        Bridge(server.port, model="loopback") as ring,
    ):
        refusals = [
            (osc.Blend(one.session, 0.5, 99999), "no session 99999"),
            (osc.Blend(one.session, 0.5, one.session), "itself"),
            (osc.Blend(one.session, 0.5, other.session), "blend one model"),
            (osc.Blend(ring.session, 0.5, one.session), "no latents"),
        ]
        for event, why in refusals:
            with pytest.raises(ServerRefused, match=why):
                client.request(event, osc.StatusReply)
        with pytest.raises(ValueError, match="amount"):
            osc.encode(osc.Blend(1, 1.5, 2))
