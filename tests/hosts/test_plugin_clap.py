"""What a CLAP host may do to the plugin, with and without a server: ids, activation, blocks, parameters, threads."""

from __future__ import annotations

import numpy as np
import pytest

from tests.hosts.playing import NOBODY, Serve, Start, Variant, connected, loaded
from tests.hosts.signals import sine
from tests.server.harness import eventually

RATE = 48000


def test_the_factory_has_two_plugins_and_no_others(start_clap: Start, variant: Variant) -> None:
    host = loaded(start_clap, variant)
    found = host.ask("scan")
    bundles = variant[0]
    assert [p["id"] for p in found["plugins"]] == [bundles.clap_id, bundles.clap_mono_id]
    assert all("audio-effect" in p["features"] and p["version"] and p["name"] for p in found["plugins"])
    assert not found["descriptor_past_the_end"] and not found["unknown_factory"]
    for wrong in ("", "rtserver", "rtserver.bridge.", "RTSERVER.BRIDGE", "x" * 3000, "rtserver.bridge\x01"):
        assert not host.ask("create", wrong)["created"], wrong
    assert host.quit() == 0


def test_ports_parameters_and_extensions_are_what_hosts_need(start_clap: Start, variant: Variant) -> None:
    host = loaded(start_clap, variant)
    for identity, channels in ((variant[0].clap_id, 2), (variant[0].clap_mono_id, 1)):
        host.create(identity)
        described = host.ask("describe")
        assert described["inputs"][0] == channels and described["outputs"] == [channels]
        assert len(described["inputs"]) == 2, "the second is the side-chain"
        needed = {"clap.audio-ports", "clap.latency", "clap.params", "clap.state", "clap.render"}
        assert needed <= set(described["extensions"]) and "clap.no-such-extension" not in described["extensions"]
        wanted = {"Instrument", "Mix", "Input gain", "Output gain", "Gate", "Temperature", "Seed", "Fallback", "Margin"}
        assert wanted | {"Panic", "Bypass"} <= set(host.parameters)
        read_outs = {name for name, p in host.parameters.items() if p["read_only"]}
        assert read_outs == {"Latency", "Misses", "Connection", "Server load"}
        assert len({p["id"] for p in host.parameters.values()}) == len(host.parameters)
        for name, p in host.parameters.items():
            assert p["low"] <= p["initial"] <= p["high"] and p["low"] < p["high"]
            assert host.get(name) == p["initial"] or p["read_only"]
            for value in (p["low"], p["high"]):
                text = host.ask("text", p["id"], value)
                assert text["known"] and text["text"], name
                back = host.ask("value", p["id"], text["text"])
                if not p["read_only"] and name != "Instrument":
                    assert back["known"] and back["value"] == pytest.approx(value), (name, text)
    assert "dB" in host.text("Gate", -40) and "%" in host.text("Mix", 50)
    assert not host.ask("get", 4711)["known"] and not host.ask("text", 4711, 0)["known"]
    assert not host.ask("value", host.parameters["Mix"]["id"], "much")["known"]
    assert host.quit() == 0


def test_activation_at_any_rate_and_block_and_again(start_clap: Start, variant: Variant) -> None:
    host = loaded(start_clap, variant).create()
    for rate, block in ((44100, 32), (48000, 4096), (96000, 1), (192000, 16384), (22050, 64)):
        latency = host.activate(rate, block)
        assert latency > block
        _, report = host.play(sine(2048, rate), (min(block, 512),))
        assert report["errors"] == 0
        assert host.ask("latency")["latency"] == latency, "fixed while active"
        host.ask("deactivate")
        assert host.activate(rate, block) == latency
    for rate, block in ((0, 128), (-48000, 128), (1e9, 128), (48000, 0)):
        assert not host.ask("activate", rate, 1, block)["active"], (rate, block)
    assert host.activate(48000, 128) > 0
    assert host.ask("requests")["violations"] == []
    assert host.quit() == 0


@pytest.mark.parametrize("how", ["apart", "in_place"])
@pytest.mark.parametrize("served", [True, False], ids=["served", "alone"])
def test_blocks_of_any_size_come_back_after_exactly_the_reported_latency(
    start_clap: Start, variant: Variant, serve: Serve, served: bool, how: str
) -> None:
    """loopback plays its input, and without a server the dry signal is heard: in both cases every bit is known."""
    port = serve("loopback").port if served else NOBODY
    host = loaded(start_clap, variant, port).create()
    latency = host.activate(RATE, 512)
    if served:
        connected(host)
    x = np.random.default_rng(3).uniform(-1, 1, (RATE, 2)).astype(np.float32)
    pace = "sleep" if served else "free"
    y, report = host.play(x, (512, 1, 0, 37, 480, 512, 64, 0, 0, 511), pace, *([how] if how == "in_place" else []))
    assert report["errors"] == 0 and report["frames"] == len(x)
    assert np.allclose(y[latency:], x[:-latency], rtol=0, atol=1e-6), "fades between equal signals may round"
    assert not y[:latency].any()
    assert host.quit() == 0


@pytest.mark.parametrize("by", ["Bypass", "Mix"])
def test_bypass_and_no_mix_are_the_input_to_the_bit(start_clap: Start, variant: Variant, serve: Serve, by: str) -> None:
    host = loaded(start_clap, variant, serve("identity16k").port).create()
    latency = host.activate(RATE, 256)
    connected(host)
    host.set(by, 1 if by == "Bypass" else 0)
    x = np.random.default_rng(4).uniform(-1, 1, (RATE, 2)).astype(np.float32)
    y, _ = host.play(x, (256,), "sleep")
    assert np.array_equal(y[latency:], x[:-latency])
    assert host.quit() == 0


def test_automation_reaches_the_sound_without_a_step(start_clap: Start, variant: Variant, serve: Serve) -> None:
    host = loaded(start_clap, variant, serve("loopback").port).create()
    latency = host.activate(RATE, 128)
    connected(host)
    x = sine(RATE, RATE)
    host.event(RATE // 4, "Output gain", -20)
    host.event(RATE // 2, "Output gain", 0)
    host.event(RATE * 3 // 4, "Bypass", 1)
    y, _ = host.play(x, (128,), "sleep")
    assert host.get("Bypass") == 1 and host.get("Output gain") == 0
    gain = np.linalg.norm(y[RATE * 3 // 8 : RATE * 7 // 16]) / np.linalg.norm(
        x[RATE * 3 // 8 - latency : RATE * 7 // 16 - latency]
    )
    assert gain == pytest.approx(0.1, rel=1e-3)
    assert np.array_equal(y[-4800:], x[-4800 - latency : -latency])
    assert np.max(np.abs(np.diff(y, axis=0))) < 1.2 * np.max(np.abs(np.diff(x, axis=0)))
    assert host.quit() == 0


def test_unknown_and_wild_parameter_events_are_harmless(start_clap: Start, variant: Variant) -> None:
    host = loaded(start_clap, variant).create()
    host.activate(RATE, 128)
    for number in (4711, 2**32 - 1, *(p["id"] for p in host.parameters.values())):
        for value in ("1e308", "-1e308"):
            host.ask("event", 100, number, value)
    y, report = host.play(sine(4800, RATE), (128,))
    assert report["errors"] == 0 and np.isfinite(y).all()
    for name, p in host.parameters.items():
        assert p["low"] <= host.get(name) <= p["high"], name
    assert host.quit() == 0


@pytest.mark.parametrize("extension", ["clap.latency", "all"])
def test_a_latency_that_changes_asks_for_a_restart_whatever_the_host_has(
    start_clap: Start, variant: Variant, serve: Serve, extension: str
) -> None:
    every = ["clap.latency", "clap.thread-check", "clap.params", "clap.state"]
    port = serve("loopback").port
    host = loaded(start_clap, variant, port, without=every if extension == "all" else [extension]).create()
    latency = host.activate(RATE, 128)
    connected(host)
    host.event(1000, "Margin", 2)
    host.play(sine(4800, RATE), (128,))
    eventually(lambda: host.ask("requests")["restart"] >= 1, "a restart asked for")
    assert host.ask("latency")["latency"] == latency, "never while active"
    host.ask("deactivate")
    assert host.activate(RATE, 128) > latency
    assert host.ask("requests")["latency_changed"] == 0 and host.ask("requests")["violations"] == []
    assert host.quit() == 0


def test_a_host_with_the_latency_extension_is_told_during_activation(start_clap: Start, variant: Variant) -> None:
    host = loaded(start_clap, variant).create()
    latency = host.activate(RATE, 128)
    host.ask("deactivate")
    host.set("Margin", 2)
    assert host.activate(RATE, 128) > latency
    told = host.ask("requests")
    assert told["violations"] == []
    assert host.quit() == 0


def test_everything_may_be_asked_while_the_audio_thread_plays(
    start_clap: Start, variant: Variant, serve: Serve
) -> None:
    host = loaded(start_clap, variant, serve("loopback").port).create()
    host.activate(RATE, 64)
    connected(host)
    for frame in range(0, 2 * RATE, 500):
        host.event(frame, "Mix", frame % 101)
    host.start(sine(2 * RATE, RATE), (64, 0, 13), "sleep")
    while host.ask("position")["frames"] < 1.8 * RATE:
        host.ask("storm", 20)
    y, report = host.finish()
    assert report["errors"] == 0 and np.isfinite(y).all() and report["sleeps"] == 0
    assert host.ask("requests")["violations"] == []
    assert host.quit() == 0


def test_a_reset_forgets_what_was_on_its_way(start_clap: Start, variant: Variant) -> None:
    host = loaded(start_clap, variant).create()
    latency = host.activate(RATE, 128)
    host.play(sine(latency, RATE), (128,))
    host.ask("reset")
    y, _ = host.play(np.zeros((2 * latency, 2), np.float32), (128,))
    assert not y.any()
    assert host.quit() == 0


def test_many_instances_one_after_the_other_leave_nothing_behind(
    start_clap: Start, variant: Variant, serve: Serve
) -> None:
    server = serve("loopback")
    host = loaded(start_clap, variant, server.port)
    for _ in range(5):
        host.create()
        host.activate(RATE, 128)
        connected(host)
        host.ask("destroy")
    eventually(lambda: not server.status()["sessions"], "every session ended")
    assert host.quit() == 0
