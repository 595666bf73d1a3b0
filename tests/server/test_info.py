"""`rtserver info` and `bench encoder`: the fields others rely on, and one line for what can't be shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rtserver import cli
from rtserver.bench import encoder as encoder_bench
from rtserver.errors import UserError
from tests.server.harness import words


def test_info_has_the_promised_fields(tiny_pack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["info", str(tiny_pack), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    expected = {
        **{"format": "rtserver-model-1", "preset": "live", "sample_rate_hz": 16000, "hop_samples": 160},
        **{"lookahead_samples": 0, "latent_channels": 8, "decoders": ["piano", "strings"]},
        "card": {"name": "untrained"},
    }
    assert {key: found[key] for key in expected} == expected
    assert found["parameters"] > 1000 and len(found["sha256"]) == 64


def test_info_is_readable(tiny_pack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["info", str(tiny_pack)]) == 0
    shown = words(capsys.readouterr().out)
    for text in ("1 x 6 layers, 16 channels, causal", "160 samples at 16000 Hz (10 ms)", "piano, strings", "untrained"):
        assert text in shown


@pytest.mark.parametrize(("probe", "hop"), [("loopback", 0), ("identity16k", 160)])
def test_info_of_a_probe(probe: str, hop: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["info", probe, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["format"], found["hop_samples"], found["decoders"], found["parameters"]) == ("probe", hop, [], 0)
    assert cli.run(["info", probe]) == 0


def test_info_of_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["info", "nothere"]) == 2
    assert capsys.readouterr().err.startswith("rtserver: error: model nothere not found")


def test_bench_encoder_has_the_promised_fields(tiny_pack: Path) -> None:
    found = encoder_bench.run(model=str(tiny_pack), seconds=0.1)
    assert (found["device"], found["hop_samples"], found["channels"]) == ("cpu", 160, 16)
    assert found["backend"].startswith("engine ") and found["backend"].endswith(found["precision"])
    assert found["times_realtime"] > 0 and found["hops"] > 1 and "onnxruntime" not in found
    assert found["hop_us"]["p50"] <= found["hop_us"]["p99"] <= found["hop_us"]["max"]
    live = encoder_bench.run(seconds=0.01, precision="fp32", onnx=True)
    assert (live["channels"], live["layers"], live["causal"], live["precision"]) == (128, 30, True, "fp32")
    beside = live["onnxruntime"]
    assert beside["backend"].startswith("onnxruntime ") and beside["hops"] == live["hops"]


def test_bench_encoder_refuses_what_has_no_encoder(tiny_pack: Path) -> None:
    for options, message in (
        ({"model": "loopback"}, "is a probe"),
        ({"preset": "nothere"}, "no preset 'nothere'; choose one of paper, live"),
        ({"preset": "live", "model": str(tiny_pack)}, "exclude each other"),
    ):
        with pytest.raises(UserError, match=message):
            encoder_bench.run(**options)
