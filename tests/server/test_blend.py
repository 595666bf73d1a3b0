"""`rtserver blend`: two passages as one, crossfaded in the latent; what can't be is told in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from rtserver import cli, model_file
from rtserver.blending import blend, crossfade
from rtserver.errors import UserError
from rtserver.pipeline import Translator, translate
from tests.server.test_translate import AHEAD, CAUSAL, tone, write, write_pack


@pytest.fixture(scope="module")
def packs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("packs")
    return {"causal": write_pack(folder / "causal.pt", CAUSAL), "ahead": write_pack(folder / "ahead.pt", AHEAD)}


def run(*arguments: object) -> int:
    return cli.run(["blend", *map(str, arguments)])


def test_weights_go_from_one_to_the_other() -> None:
    a, b = np.full((10, 2), 1.0, np.float32), np.full((8, 2), 3.0, np.float32)
    mixed = crossfade(a, b, 4)
    assert mixed.shape == (14, 2)
    assert np.array_equal(mixed[:6], a[:6]) and np.array_equal(mixed[10:], b[4:])
    assert np.allclose(mixed[6:10, 0], [1.25, 1.75, 2.25, 2.75])
    assert np.array_equal(crossfade(a, b, 0), np.concatenate([a, b]))
    with pytest.raises(ValueError, match="9 hops"):
        crossfade(a, b, 9)


@pytest.mark.parametrize("name", ["causal", "ahead"])
def test_before_the_crossfade_it_is_the_translation(packs: dict[str, Path], name: str) -> None:
    """Up to there the latents are those of A alone, so the samples are what `translate` gives, to the bit."""
    translator = Translator(model_file.load(packs[name]))
    first, second = tone(16000, 0.4)[:, 0], tone(16000, 0.4, hz=660.0)[:, 0]
    first[0] = 0.1  # `translate` begins with the first sample that is not zero
    alone = translate(translator.model, first, 16000, "piano", seed=5)
    # An encoder that looks ahead hears silence after A's end in both; a translation is as long as its input.
    both = blend(translator, (first, 16000), (second, 16000), "piano", 0.1, seed=5)
    assert len(both) == 16000 * 7 // 10
    until = 16000 * 3 // 10 - 160
    assert np.array_equal(both[:until], alone[:until]) and alone[:until].any()
    assert not np.array_equal(both[until + 400 : 6400], alone[until + 400 :])


def test_a_passage_into_itself_and_no_crossfade(packs: dict[str, Path]) -> None:
    translator = Translator(model_file.load(packs["causal"]))
    a = (tone(16000, 0.2)[:, 0], 16000)
    latents = translator.embed(*a)
    assert np.allclose(crossfade(latents, latents, len(latents)), latents, atol=1e-6)
    assert len(blend(translator, a, a, crossfade_s=0.0)) == 6400


def test_files_of_other_rates_and_channels(
    packs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = write(tmp_path / "a.wav", tone(44100, 0.3, 2), 44100), write(tmp_path / "b.flac", tone(48000, 0.5), 48000)
    out = tmp_path / "new" / "out.wav"
    options = ("--model", packs["causal"], "-o", out, "--crossfade-seconds", 0.2, "--decoder", "cello")
    assert run(a, b, *options, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["decoder"] == "cello" and said["crossfade_seconds"] == 0.2 and said["sample_rate_hz"] == 44100
    played, rate = sf.read(out)
    assert rate == 44100 and len(played) == pytest.approx(0.6 * 44100, abs=441)
    assert played.any() and said["seconds"] == pytest.approx(len(played) / 44100, abs=1e-5)
    before = out.read_bytes()
    assert run(a, b, *options, "--quiet") == 0
    assert sf.read(out)[0].tolist() == played.tolist() and len(out.read_bytes()) == len(before)
    assert run(a, b, *options, "--seed", 1, "--rate", 16000) == 0
    assert sf.info(out).samplerate == 16000
    assert not list(out.parent.glob("*.part"))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["{a}", "{folder}/none.wav"], "does not exist"),
        (["{a}", "{text}"], "can't be read as audio"),
        (["{a}", "{empty}"], "is empty"),
        (["{a}", "{b}", "--crossfade-seconds", "3"], "choose --crossfade-seconds 0.20 or less"),
        (["{a}", "{b}", "--decoder", "kazoo"], "kazoo"),
        (["{a}", "{b}", "--model", "identity16k"], "no latent"),
        (["{a}", "{b}", "-o", "{a}"], "would overwrite an input"),
        (["{a}", "{b}", "-o", "{folder}/out.txt"], "suffix that can't be written"),
        (["{a}"], "'B'"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(
    packs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    places = {
        "a": write(tmp_path / "a.wav", tone(16000, 0.2)),
        "b": write(tmp_path / "b.wav", tone(16000, 0.3)),
        "empty": write(tmp_path / "empty.wav", tone()[:0]),
        "text": tmp_path / "text.wav",
        "folder": tmp_path,
    }
    places["text"].write_text("not audio", encoding="utf-8")
    given = [argument.format(**places) for argument in arguments]
    given += [] if "-o" in given else ["-o", str(tmp_path / "out.wav")]
    given += [] if "--model" in given else ["--model", str(packs["causal"])]
    assert run(*given) != 0
    said = capsys.readouterr().err.strip()
    assert told in said and said.startswith("rtserver: error: ") and "\n" not in said
    assert not (tmp_path / "out.wav").exists()


def test_a_probe_has_nothing_to_embed() -> None:
    with pytest.raises(UserError, match="no encoder"):
        Translator(model_file.load("identity16k")).embed(tone()[:, 0], 16000)
