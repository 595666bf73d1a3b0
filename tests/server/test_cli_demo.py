"""The demo leaves sound, picture and figures; what it is given wrong it names in one line."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from rtserver import whistle
from rtserver.bench.own_server import free_port
from rtserver.whistle import Note


def demo(out: Path, *arguments: str, port: int | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rtserver.demo", "--out", str(out), "--port", str(port or free_port()), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)


def test_a_clip_of_any_kind_comes_out_aligned_and_in_tune(tmp_path: Path) -> None:
    whistled = whistle.synthesise([Note(0.2 + 0.4 * i, 0.38, pitch) for i, pitch in enumerate((72, 76, 79))], 44100)
    soundfile.write(tmp_path / "clip.wav", np.stack([whistled, 0.5 * whistled], axis=1), 44100)
    out = tmp_path / "out"
    done = demo(out, "--clip", str(tmp_path / "clip.wav"), "--model", "identity16k")
    assert done.returncode == 0, done.stderr
    assert "Try next:" in done.stdout

    report = json.loads((out / "demo.json").read_text())
    assert {"latency_frames", "round_trip_us", "misses", "blocks", "first_sound_s"} <= set(report)
    assert report["block_frames"] == 128 and report["sample_rate_hz"] == 48000
    assert report["pitch_agreement"]["within_50_cents"] > 0.95
    assert (out / "demo.png").read_bytes().startswith(b"\x89PNG")

    played, rate_hz = soundfile.read(out / "demo_input.wav", dtype="float32")
    heard, heard_rate_hz = soundfile.read(out / "demo.wav", dtype="float32")
    assert rate_hz == heard_rate_hz == 48000 and len(heard) >= len(played)
    if report["misses"] == 0:
        # Band-limited to 7 kHz on its way, else the same and not shifted by as much as a frame.
        assert np.abs(heard[: len(played)] - played).max() < 0.02


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        done = demo(tmp_path, "--model", "identity16k", port=port)
    assert done.returncode != 0
    assert f"port {port} is in use" in done.stderr and f"PORT={port + 1}" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("kind", ["missing", "text", "empty", "silent", "nan"])
def test_a_clip_that_cannot_be_played_is_named(tmp_path: Path, kind: str) -> None:
    clip = tmp_path / f"{kind}.wav"
    if kind == "text":
        clip.write_text("not sound")
    elif kind != "missing":
        values = {"empty": np.zeros(0), "silent": np.zeros(4800), "nan": np.full(4800, np.nan)}[kind]
        soundfile.write(clip, values.astype(np.float32), 48000, "FLOAT")
    done = demo(tmp_path / "out", "--clip", str(clip), "--model", "identity16k")
    assert done.returncode != 0
    assert len(done.stderr.strip().splitlines()) == 1 and str(clip) in done.stderr, done.stderr
    assert not (tmp_path / "out").exists()
