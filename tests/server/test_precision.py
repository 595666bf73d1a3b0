"""`--precision`: what `auto` means, what is refused, and that every command says which one it ran."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtserver import _engine, cli, model_file, networks, pipeline, precision
from rtserver.errors import UserError
from rtserver.model_config import DecoderConfig
from rtserver.model_file import Model
from tests.server.harness import noise


def test_auto_is_int8_where_the_engine_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_engine, "PRECISIONS", ("fp32", "int8", "bf16"), raising=False)
    assert precision.available() == ("int8", "bf16", "fp32")
    assert precision.resolve("auto") == "int8"
    assert [precision.resolve(name) for name in ("int8", "bf16", "fp32")] == ["int8", "bf16", "fp32"]


def large(model: Model, **calibration: Any) -> Model:
    """The same pack as if its decoder were one of 40 layers and 128 channels."""
    decoder = DecoderConfig(blocks=4, layers=10, residual_channels=128, skip_channels=128)
    return replace(model, config=replace(model.config, decoder=decoder), calibration=calibration)


def test_auto_is_int4_for_large_packs_that_bring_their_codes(tiny_pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_engine, "PRECISIONS", ("int4", "int8", "bf16", "fp32"), raising=False)
    model = model_file.load(tiny_pack)
    codes = {"a": {"now": np.zeros(1, np.int8)}}
    assert precision.resolve("auto") == "int8"
    assert precision.resolve("auto", large(model, codes=codes)) == "int4"
    assert precision.resolve("int8", large(model, codes=codes)) == "int8"
    assert precision.resolve("auto", large(model)) == "int8"
    assert precision.resolve("auto", large(model, codes=codes, codes_made_at_load=True)) == "int8"
    assert precision.resolve("auto", replace(model, calibration={"codes": codes})) == "int8", "it is small"
    assert precision.resolve("auto", model_file.load("loopback")) == "int8"
    monkeypatch.setattr(_engine, "PRECISIONS", ("int8", "fp32"), raising=False)
    assert precision.resolve("auto", large(model, codes=codes)) == "int8"


def test_the_encoder_has_no_4_bits(tiny_pack: Path) -> None:
    assert [precision.of_encoder(name) for name in ("int4", "int8", "fp32")] == ["int8", "int8", "fp32"]
    model = model_file.load(tiny_pack)
    model = replace(model, calibration=precision.calibration_for(model, "int8"))
    assert networks.encoder(model, precision="int8").backend.endswith(" int8")


def test_auto_is_fp32_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_engine, "PRECISIONS", ("fp32",), raising=False)
    assert precision.resolve("auto") == "fp32"
    with pytest.raises(UserError, match=r"no precision int8; choose one of auto, fp32$"):
        precision.resolve("int8")


@pytest.mark.parametrize("wrong", ["float32", "int3", "", "INT8"])
@pytest.mark.parametrize(
    "command",
    [
        ["--model", "loopback"],
        ["translate", "in.wav", "--model", "identity16k", "-o", "out.wav"],
        ["bench", "decoder", "--layers", "5", "--channels", "8"],
        ["bench", "stream", "--model", "loopback"],
    ],
)
def test_other_names_are_refused_with_the_choices(
    command: list[str], wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in.wav").touch()
    assert cli.run([*command, "--precision", wrong]) == 2
    told = capsys.readouterr().err.strip()
    assert told == (
        f"rtserver: error: there is no precision {wrong!r}; choose one of {', '.join(('auto', *precision.available()))}"
    )


def test_status_and_bench_tell_what_auto_became(start_server: Any, tiny_pack: Path, capsys: Any) -> None:
    server = start_server("--model", str(tiny_pack))
    assert server.status()["worker"]["precision"] == precision.resolve("auto")
    assert cli.run(["bench", "decoder", "--model", str(tiny_pack), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["precision"] == precision.resolve("auto")


def test_a_file_says_its_precision_and_gets_the_bits_of_it(tiny_pack: Path) -> None:
    model = model_file.load(tiny_pack)
    wet = {name: pipeline.translate(model, noise(8000), 16000, precision=name) for name in ("auto", "fp32")}
    assert np.array_equal(wet["auto"], pipeline.translate(model, noise(8000), 16000, precision=precision.resolve()))
    assert pipeline.Translator(model).precision == precision.resolve()
    assert np.isfinite(wet["fp32"]).all() and np.std(wet["fp32"]) > 1e-3
