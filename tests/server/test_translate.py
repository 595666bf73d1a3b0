"""`rtserver translate`: any file, any rate; bad ones are told in one line and don't stop the others."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from rtserver import cli, model_file, translate_files
from rtserver.model_check import decoder_shapes, encoder_shapes
from rtserver.model_config import DecoderConfig, EncoderConfig, ModelConfig
from rtserver.pipeline import Translator, translate

CAUSAL = ModelConfig(
    encoder=EncoderConfig(blocks=1, layers=4, channels=16, latent_channels=8, hop_samples=160),
    decoder=DecoderConfig(blocks=1, layers=4, residual_channels=16, skip_channels=16),
)
AHEAD = ModelConfig(
    mu_law="published",
    encoder=EncoderConfig(blocks=1, layers=9, channels=8, latent_channels=8, hop_samples=320, causal=False),
    decoder=CAUSAL.decoder,
)


def weights(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {n: (rng.standard_normal(s) / np.sqrt(np.prod(s[1:]) or 1)).astype(np.float32) for n, s in shapes.items()}


def write_pack(path: Path, config: ModelConfig = CAUSAL) -> Path:
    shapes = decoder_shapes(config.decoder, config.encoder.latent_channels)
    decoders = {name: weights(shapes, seed) for seed, name in enumerate(("piano", "cello"), start=1)}
    model_file.save(path, config, weights(encoder_shapes(config.encoder), 0), decoders)
    return path


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pack(tmp_path_factory.mktemp("packs") / "tiny.pt")


def tone(rate: int = 16000, seconds: float = 0.25, channels: int = 1, hz: float = 440.0) -> np.ndarray:
    t = np.arange(int(rate * seconds)) / rate
    return np.repeat((0.5 * np.sin(2 * np.pi * hz * t)).astype(np.float32)[:, None], channels, axis=1)


def write(path: Path, audio: np.ndarray, rate: int = 16000, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, audio, rate, **{"subtype": "FLOAT" if path.suffix == ".wav" else None, **options})
    return path


def run(*arguments: object) -> int:
    return cli.run(["translate", *map(str, arguments)])


def report(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any], str]:
    code = run(*arguments, "--json")
    captured = capsys.readouterr()
    return code, json.loads(captured.out), captured.err


# --- the pipeline -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [CAUSAL, AHEAD], ids=["causal", "lookahead"])
@pytest.mark.parametrize("rate", [16000, 44100, 48000])
def test_any_partition_gives_the_same_bits(tmp_path: Path, config: ModelConfig, rate: int) -> None:
    model = model_file.load(write_pack(tmp_path / "m.pt", config))
    audio = tone(rate, 0.3, 2) + np.random.default_rng(0).normal(0, 0.05, (int(rate * 0.3), 2)).astype(np.float32)
    whole = translate(model, audio, rate, seed=3)
    assert whole.shape == (len(audio),) and whole.dtype == np.float32 and np.std(whole) > 1e-3
    translator = Translator(model)
    for sizes in ([1, 977, 13], [4096], [128]):
        stream = translator.open(rate, 2, seed=3)
        pieces, start, i = [], 0, 0
        while start < len(audio):
            size = sizes[i % len(sizes)]
            pieces.append(stream.push(audio[start : start + size]))
            start, i = start + size, i + 1
        assert np.array_equal(np.concatenate([*pieces, stream.finish()]), whole)
    assert not np.array_equal(translate(model, audio, rate, seed=4), whole)
    assert not np.array_equal(translate(model, audio, rate, "cello", seed=3), whole)


@pytest.mark.parametrize("rate", [16000, 22050, 44100, 48000, 96000])
def test_the_identity_probe_is_aligned(rate: int) -> None:
    audio = tone(rate, 0.5, hz=300.0)[:, 0]
    audio *= np.hanning(len(audio)).astype(np.float32)
    wet = translate(model_file.load("identity16k"), audio, rate)
    assert wet.shape == audio.shape
    # A frame late at 48 kHz would leave 2e-2 of the tone.
    assert np.max(np.abs(wet - audio)) < (1e-6 if rate == 16000 else 2e-3)


@pytest.mark.parametrize(("rate", "out_rate"), [(48000, 16000), (16000, 48000), (44100, 48000), (8000, 96000)])
def test_the_output_may_have_another_rate(rate: int, out_rate: int) -> None:
    stream = Translator(model_file.load("identity16k")).open(rate, output_rate_hz=out_rate)
    audio = tone(rate, 0.5, hz=300.0)[:, 0] * np.hanning(rate // 2).astype(np.float32)
    wet = np.concatenate([stream.push(audio), stream.finish()])
    expected = tone(out_rate, 0.5, hz=300.0)[:, 0] * np.hanning(out_rate // 2).astype(np.float32)
    assert len(wet) == out_rate // 2 and np.max(np.abs(wet - expected)) < 3e-3


def test_progress_is_told(pack: Path) -> None:
    heard: list[int] = []
    translate(model_file.load(pack), tone(8000, 2.5)[:, 0], 8000, progress=heard.append)
    assert heard == [8000, 16000, 20000]


# --- files --------------------------------------------------------------------------------------------------------


def test_a_file_becomes_a_file(tmp_path: Path, pack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path / "in.wav", tone(44100, 0.5, 2), 44100)
    code, found, _ = report(capsys, source, "--model", pack, "-o", tmp_path / "out.wav", "--seed", 5)
    assert code == 0 and (found["translated"], found["skipped"], found["failed"]) == (1, 0, 0)
    wet, rate = sf.read(tmp_path / "out.wav", dtype="float32")
    assert (rate, wet.shape) == (44100, (22050,))
    assert np.array_equal(wet, translate(model_file.load(pack), tone(44100, 0.5, 2), 44100, seed=5))
    record = found["files"][0]
    assert record["seconds"] == 0.5 and record["times_realtime"] > 0 and record["decoder"] == "piano"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.wav", "out.wav"]


def test_the_same_run_gives_the_same_bytes(tmp_path: Path, pack: Path) -> None:
    source = write(tmp_path / "in.wav", tone())
    assert run(source, "--model", pack, "-o", tmp_path / "a.wav") == 0
    first = (tmp_path / "a.wav").read_bytes()
    at = first.find(b"PEAK")
    assert at > 0 and first[at + 12 : at + 16] == bytes(4), "no time of day in the file"
    assert run(source, "--model", pack, "-o", tmp_path / "b.wav") == 0
    assert (tmp_path / "b.wav").read_bytes() == first


@pytest.mark.parametrize("suffix", [".flac", ".ogg", ".aiff", ".mp3", ".opus", ".w64", ".caf"])
def test_other_formats_come_and_go(tmp_path: Path, pack: Path, suffix: str) -> None:
    options = {".opus": {"format": "OGG", "subtype": "OPUS"}}.get(suffix, {})
    source = write(tmp_path / f"in{suffix}", tone(48000, 0.3), 48000, **options)
    assert run(source, "--model", pack, "-o", tmp_path / f"out{suffix}") == 0
    assert abs(sf.info(tmp_path / f"out{suffix}").duration - 0.3) < 0.06, "lossy formats pad"


def test_a_folder_is_mirrored_for_every_decoder(tmp_path: Path, pack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "in/a.wav", tone())
    write(tmp_path / "in/sub/deep/b.flac", tone())
    write(tmp_path / "in/sub/c.wav", tone())
    write(tmp_path / "in/sub/c.flac", tone())
    write(tmp_path / "in/.hidden/d.wav", tone())
    (tmp_path / "in/notes.txt").write_text("no audio")
    code, found, _ = report(capsys, tmp_path / "in", "-m", pack, "-o", tmp_path / "out", "--decoder", "all")
    assert code == 0 and found["translated"] == 8
    made = sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*") if p.is_file())
    below = ["a.wav", "sub/c.flac.wav", "sub/c.wav.wav", "sub/deep/b.wav"]
    assert made == sorted(f"{name}/{place}" for name in ("cello", "piano") for place in below)
    pair = [sf.read(tmp_path / "out" / name / "a.wav")[0] for name in ("cello", "piano")]
    assert not np.array_equal(*pair)


def test_an_output_folder_inside_the_input_is_not_translated_again(
    tmp_path: Path, pack: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "a.wav", tone())
    for expected in ((1, 0), (0, 1)):
        _, found, _ = report(capsys, tmp_path, "-m", pack, "-o", tmp_path / "out")
        assert (found["translated"], found["skipped"]) == expected


def test_several_decoders_of_one_file(tmp_path: Path, pack: Path) -> None:
    source = write(tmp_path / "in.wav", tone())
    assert run(source, "-m", pack, "-o", tmp_path / "o.wav", "--decoder", "piano", "--decoder", "cello") == 0
    assert (tmp_path / "o.piano.wav").is_file() and (tmp_path / "o.cello.wav").is_file()


def test_the_rate_can_be_chosen(tmp_path: Path, pack: Path) -> None:
    source = write(tmp_path / "in.wav", tone(44100, 0.5), 44100)
    assert run(source, "-m", pack, "-o", tmp_path / "out.wav", "--rate", 16000) == 0
    assert (sf.info(tmp_path / "out.wav").samplerate, sf.info(tmp_path / "out.wav").frames) == (16000, 8000)


# --- resuming -----------------------------------------------------------------------------------------------------


def test_what_is_done_is_skipped_and_what_changed_is_done_again(
    tmp_path: Path, pack: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "abc":
        write(tmp_path / f"in/{name}.wav", tone(hz=300.0 + ord(name)))
    out = tmp_path / "out"

    def counts(*more: object) -> tuple[int, int]:
        _, found, _ = report(capsys, tmp_path / "in", "-m", pack, "-o", out, *more)
        return found["translated"], found["skipped"]

    assert counts() == (3, 0)
    (out / "b.wav").unlink()
    assert counts() == (1, 2)
    assert counts("--seed", 1) == (3, 0)
    assert counts("--seed", 1) == (0, 3)
    now = ("--seed", 1, "--temperature", 0.9)
    assert counts(*now) == (3, 0)
    write(tmp_path / "in/a.wav", tone(hz=500.0))
    assert counts(*now) == (1, 2)
    assert counts(*now, "--force") == (3, 0)
    (out / "c.wav").write_bytes((out / "c.wav").read_bytes()[:40])
    assert counts(*now) == (1, 2)
    assert counts(*now, "--decoder", "cello") == (3, 0)


def test_an_interrupted_run_leaves_no_output_that_looks_done(
    tmp_path: Path, pack: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "ab":
        write(tmp_path / f"in/{name}.wav", tone(hz=300.0 + ord(name)))
    through = translate_files._through

    def interrupted(translator: Any, task: Any, *rest: Any) -> Any:
        counts = through(translator, task, *rest)
        if task.input.name == "b.wav":
            raise KeyboardInterrupt
        return counts

    monkeypatch.setattr(translate_files, "_through", interrupted)
    assert run(tmp_path / "in", "-m", pack, "-o", tmp_path / "out") == 130
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["a.wav"]
    monkeypatch.undo()
    _, found, _ = report(capsys, tmp_path / "in", "-m", pack, "-o", tmp_path / "out")
    assert (found["translated"], found["skipped"]) == (1, 1)


# --- bad input ----------------------------------------------------------------------------------------------------


def test_unusual_audio_is_translated(tmp_path: Path, pack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "in/one.wav", np.full((1, 1), 0.25, np.float32))
    write(tmp_path / "in/silent.wav", np.zeros((4000, 1), np.float32))
    write(tmp_path / "in/eight.wav", tone(48000, 0.1, 8), 48000)
    write(tmp_path / "in/fast.wav", tone(192000, 0.1, 2), 192000)
    write(tmp_path / "in/slow.wav", tone(8000, 0.1), 8000)
    write(tmp_path / "in/loud.wav", 8 * tone(16000, 0.1))
    bad = tone(16000, 0.1)
    bad[10], bad[20], bad[30] = np.nan, np.inf, -np.inf
    write(tmp_path / "in/nan.wav", bad)
    code, found, err = report(capsys, tmp_path / "in", "-m", pack, "-o", tmp_path / "out")
    assert code == 0 and found["failed"] == 0
    by_name = {Path(record["input"]).stem: record for record in found["files"]}
    frames = {"one": 1, "silent": 4000, "eight": 4800, "fast": 19200, "slow": 800, "loud": 1600, "nan": 1600}
    for name, count in frames.items():
        wet, _ = sf.read(tmp_path / f"out/{name}.wav")
        assert wet.shape == (count,) and np.isfinite(wet).all() and np.max(np.abs(wet)) <= 1.5, name
    assert by_name["nan"]["non_finite_samples"] == 3 and by_name["loud"]["clipped_samples"] > 1000
    lines = err.splitlines()
    assert len(lines) == 2 and all(line.startswith("rtserver: warning: ") for line in lines), err
    assert "3 samples are NaN or infinite" in err and "beyond full scale" in err


def test_eight_channels_are_their_mean(pack: Path) -> None:
    model = model_file.load(pack)
    audio = np.random.default_rng(2).uniform(-0.5, 0.5, (1600, 8)).astype(np.float32)
    mean = audio.mean(axis=1, dtype=np.float64).astype(np.float32)
    assert np.array_equal(translate(model, audio, 16000), translate(model, mean, 16000))


def test_bad_files_are_told_and_the_others_done(tmp_path: Path, pack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "in/good.wav", tone())
    write(tmp_path / "in/empty.wav", np.zeros((0, 1), np.float32))
    (tmp_path / "in/zero_bytes.wav").touch()
    (tmp_path / "in/text.wav").write_text("this is not audio" * 10)
    (tmp_path / "in/cut.flac").write_bytes(b"fLaC")
    write(tmp_path / "in/slow.wav", tone(4000, 0.1), 4000)
    write(tmp_path / "in/zz_good.wav", tone())
    code, found, err = report(capsys, tmp_path / "in", "-m", pack, "-o", tmp_path / "out")
    assert code == 1 and (found["translated"], found["failed"]) == (2, 5)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["good.wav", "zz_good.wav"]
    lines = err.splitlines()
    assert len(lines) == 6 and all(line.startswith("rtserver: error: ") for line in lines), err
    assert "empty.wav is empty" in err and "text.wav can't be read as audio" in err
    assert "slow.wav has a sample rate of 4000 Hz; supported are 8000 to 384000 Hz" in err
    assert lines[-1].startswith("rtserver: error: 5 of 7 outputs could not be made")


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert run(*arguments) == 2
    message = capsys.readouterr().err
    assert message.startswith("rtserver: error: ") and message.count("\n") == 1, message
    return message


def test_impossible_runs_are_refused(tmp_path: Path, pack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path / "in.wav", tone())
    other = write(tmp_path / "x/in.wav", tone())
    out = tmp_path / "out"
    assert "input nothere.wav does not exist" in refused(capsys, "nothere.wav", "-m", pack, "-o", out)
    assert "does not exist" in refused(capsys, "nothere.wav", "-m", pack, "-o", tmp_path / "out.wav")
    assert "would overwrite an input" in refused(capsys, source, "-m", pack, "-o", source)
    assert "has no decoder 'oboe'" in refused(capsys, source, "-m", pack, "-o", out, "--decoder", "oboe")
    assert "not found" in refused(capsys, source, "-m", "nomodel", "-o", out)
    assert "translates nothing" in refused(capsys, source, "-m", "loopback", "-o", out)
    assert "is one file but the input is many" in refused(capsys, source, other, "-m", pack, "-o", tmp_path / "o.wav")
    assert "two inputs would both be written" in refused(capsys, source, other, "-m", pack, "-o", out)
    assert "suffix that can't be written" in refused(capsys, source, "-m", pack, "-o", tmp_path / "out.doc")
    (tmp_path / "none").mkdir()
    assert "no audio files in" in refused(capsys, tmp_path / "none", "-m", pack, "-o", out)
    assert "unknown device 'tpu'" in refused(capsys, source, "-m", pack, "-o", out, "--device", "tpu")
    refused(capsys, source, "-m", pack, "-o", out, "--temperature", "9")
    assert not out.exists()


def test_an_output_that_cannot_be_written_is_told(
    tmp_path: Path, pack: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write(tmp_path / "in.wav", tone())
    (tmp_path / "file").touch()
    assert run(source, "-m", pack, "-o", tmp_path / "file/out") == 1
    assert "can't be written" in capsys.readouterr().err


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    rate, seconds = 16000, 300
    with sf.SoundFile(tmp_path / "long.wav", "w", rate, 1, subtype="PCM_16") as file:
        for _ in range(seconds):
            file.write(np.zeros(rate, np.float32))
    assert run(tmp_path / "long.wav", "-m", "identity16k", "-o", tmp_path / "first.wav") == 0, "imports are done"
    tracemalloc.start()
    try:
        assert run(tmp_path / "long.wav", "-m", "identity16k", "-o", tmp_path / "out.wav") == 0
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sf.info(tmp_path / "out.wav").frames == seconds * rate
    assert peak < 5e6, "the whole file as float32 would be 19 MB"
