"""`bench decoder` as a function: its fields, its refusals, and what it says where PyTorch's column is missing."""

from __future__ import annotations

import sys

import pytest

from rtserver.bench import decoder
from rtserver.errors import UserError

FIELDS = [
    "device",
    "isa",
    "precision",
    "layers",
    "residual_channels",
    "skip_channels",
    "slots",
    "samples_per_second",
    "aggregate_samples_per_second",
    "times_realtime",
    "torch_times_realtime",
    "speedup_over_torch",
    "weight_bytes_per_sample",
    "roofline_ratio",
]


def test_three_columns_in_one_run() -> None:
    found = decoder.run(layers=6, channels=16, slots=2, seconds=0.1, precision="fp32")
    assert list(found) == FIELDS
    assert (found["layers"], found["residual_channels"], found["skip_channels"], found["slots"]) == (6, 16, 16, 2)
    assert found["times_realtime"] == pytest.approx(found["samples_per_second"] / 16000, rel=1e-3)
    assert found["aggregate_samples_per_second"] == pytest.approx(2 * found["samples_per_second"], rel=1e-3)
    assert found["speedup_over_torch"] > 1
    assert found["roofline_ratio"] > 0
    floats = 6 * (4 * 16 * 16 + 2 * 16 + 2 * (16 * 16 + 16)) + (3 * 16) + 2 * (16 * 16 + 16) + 256 * 17
    assert found["weight_bytes_per_sample"] == 4 * floats


def test_without_the_pytorch_definitions(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "models.decoder", None)
    found = decoder.run(layers=2, channels=8, seconds=0.01)
    assert found["torch_times_realtime"] is None and found["speedup_over_torch"] is None
    assert found["times_realtime"] > 0
    out, err = capsys.readouterr()
    assert out == "" and "PyTorch column left out" in err


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"preset": "studio"}, "no preset 'studio'"),
        ({"layers": 13}, "--layers is 13"),
        ({"layers": 0}, "--layers is 0"),
        ({"channels": 0}, "--channels is 0"),
        ({"slots": 0}, "--slots is 0"),
        ({"device": "cuda:0"}, "cuda:0"),
        ({"precision": "int3", "layers": 1, "channels": 1}, "int3"),
        ({"model": "identity16k"}, "is a probe"),
        ({"model": "piano.pt", "layers": 3}, "--model fixes the decoder"),
    ],
)
def test_wishes_that_make_no_network_are_refused(wishes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        decoder.run(**wishes)  # type: ignore[arg-type]


def test_layers_are_arranged_in_equal_blocks() -> None:
    shapes = {n: decoder.choose(None, None, n, 8).config.decoder for n in (1, 9, 24, 30, 40)}
    assert {n: (d.blocks, d.layers) for n, d in shapes.items()} == {
        1: (1, 1),
        9: (1, 9),
        24: (3, 8),
        30: (3, 10),
        40: (4, 10),
    }
