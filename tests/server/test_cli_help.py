"""The command line teaches itself: every command says what it does, every mistake gets one line."""

from __future__ import annotations

import subprocess
import sys

import pytest

COMMANDS = [
    "bench",
    "bench decoder",
    "bench encoder",
    "bench stream",
    "doctor",
    "devices",
    "info",
    "live",
    "status",
    "translate",
    "import-checkpoint",
]


def rtserver(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rtserver", *arguments], capture_output=True, text=True, timeout=120, check=False
    )


def test_root_help_names_every_command() -> None:
    told = rtserver("--help")
    assert told.returncode == 0
    for command in COMMANDS:
        assert command.split()[0] in told.stdout, command


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(command: str) -> None:
    told = rtserver(*command.split(), "--help")
    assert told.returncode == 0, told.stderr
    words = [line for line in told.stdout.splitlines() if line.strip() and "Usage" not in line and "─" not in line]
    assert len(words[0].split()) >= 4, "a sentence that says what the command does"


@pytest.mark.parametrize(
    "mistake",
    [
        ["frobnicate"],
        ["bench", "stream", "--blok", "3"],
        ["bench", "stream", "--block", "many"],
        ["doctor", "--port", "99999"],
    ],
)
def test_a_mistake_gets_one_line_and_a_status(mistake: list[str]) -> None:
    told = rtserver(*mistake)
    assert told.returncode != 0
    assert len(told.stderr.strip().splitlines()) == 1 and told.stderr.startswith("rtserver: error:"), told.stderr
    assert "Traceback" not in told.stderr
