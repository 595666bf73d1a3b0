"""A wrong path or configuration ends every command of training with one line that says what to do."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

COMMANDS = {
    "training.train": (),
    "training.export": ("-o", "OUT"),
    "training.calibrate": ("--model", "piano.pt"),
    "training.distil": ("--teacher", "piano.pt"),
    "training.untrained": ("OUT",),
    "training.corpus.build": (),
    "training.evaluate.command": ("--model", "piano.pt"),
}


def run(module: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, config: Path) -> str:
    """The message that the command ended with."""
    arguments = [str(tmp_path / "out.pt") if a == "OUT" else a for a in COMMANDS[module]]
    monkeypatch.setattr("sys.argv", [module, *arguments, "--config", str(config)])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(module).main()
    assert not (tmp_path / "out.pt").exists()
    return str(ended.value.code)


@pytest.mark.parametrize("module", COMMANDS)
def test_a_configuration_that_is_not_there(module: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said = run(module, monkeypatch, tmp_path, tmp_path / "nowhere.toml")
    assert "nowhere.toml: no such configuration; those that come along are in training/configs" in said


@pytest.mark.parametrize("module", COMMANDS)
def test_a_configuration_that_is_none(module: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "wrong.toml").write_text("this is no TOML")
    assert "wrong.toml: not TOML" in run(module, monkeypatch, tmp_path, tmp_path / "wrong.toml")


def test_a_run_that_never_was(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(COMMANDS, "training.export", ("-o", "OUT", "--run", str(tmp_path / "no_run")))
    said = run("training.export", monkeypatch, tmp_path, Path("training/configs/live_cpu.toml"))
    assert "no_run" in said and "No such file" in said
