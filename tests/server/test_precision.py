"""`--precision`: what `auto` means, what is refused, and that every command says which one it ran."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtserver import _engine, cli, model_file, pipeline, precision
from rtserver.errors import UserError
from tests.server.harness import noise


def test_auto_is_int8_where_the_engine_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_engine, "PRECISIONS", ("fp32", "int8", "bf16"), raising=False)
    assert precision.available() == ("int8", "bf16", "fp32")
    assert precision.resolve("auto") == "int8"
    assert [precision.resolve(name) for name in ("int8", "bf16", "fp32")] == ["int8", "bf16", "fp32"]


def test_auto_is_fp32_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_engine, "PRECISIONS", ("fp32",), raising=False)
    assert precision.resolve("auto") == "fp32"
    with pytest.raises(UserError, match=r"no precision int8; choose one of auto, fp32$"):
        precision.resolve("int8")


@pytest.mark.parametrize("wrong", ["float32", "int4", "", "INT8"])
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
