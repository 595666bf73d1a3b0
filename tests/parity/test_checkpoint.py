"""Packs: what is saved comes back; everything malformed, oversized or of another format is refused in one line."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from argparse import Namespace
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.decoder import Decoder
from models.encoder import Encoder
from rtserver import model_file, safe_load
from rtserver.errors import UserError
from rtserver.model_check import code_shapes, decoder_shapes, encoder_range_shapes, encoder_shapes
from rtserver.model_config import PRESETS, ConstantQConfig, DecoderConfig, EncoderConfig, ModelConfig

CONFIG = ModelConfig(
    preset="tiny",
    encoder=EncoderConfig(blocks=1, layers=3, channels=8, latent_channels=4, hop_samples=160),
    decoder=DecoderConfig(blocks=1, layers=3, residual_channels=8, skip_channels=12),
)


def content(config: ModelConfig = CONFIG) -> dict[str, Any]:
    torch.manual_seed(0)
    e, d = config.encoder, config.decoder
    decoders = {n: Decoder(d, e.latent_channels, e.hop_samples).state_dict() for n in ("piano", "cello")}
    return {
        "format": model_file.FORMAT,
        "config": config.to_dict(),
        "encoder": dict(Encoder(e).state_dict()),
        "decoders": {n: dict(w) for n, w in decoders.items()},
        "calibration": {},
        "card": {"steps": 3, "data": ["a", "b"], "loss": 1.5},
    }


def write(path: Path, values: Any) -> Path:
    torch.save(values, path)
    return path


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    return write(tmp_path / "tiny.pt", content())


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_shapes_are_those_of_the_pytorch_modules(name: str) -> None:
    e, d = PRESETS[name].encoder, PRESETS[name].decoder
    with torch.device("meta"):
        encoder, decoder = Encoder(e).state_dict(), Decoder(d, e.latent_channels, e.hop_samples).state_dict()
    assert encoder_shapes(e) == {n: tuple(t.shape) for n, t in encoder.items()}
    assert decoder_shapes(d, e.latent_channels) == {n: tuple(t.shape) for n, t in decoder.items()}


@pytest.mark.parametrize("half", [False, True])
def test_what_is_saved_comes_back(tmp_path: Path, half: bool) -> None:
    values = content()
    path = tmp_path / "sub" / "my pack.pt"
    model_file.save(path, CONFIG, values["encoder"], values["decoders"], values["card"], half=half)
    model = model_file.load(path)
    assert (model.name, model.config, model.card, model.kind) == ("my pack", CONFIG, values["card"], "model")
    assert list(model.decoders) == ["piano", "cello"]
    for name, tensor in values["encoder"].items():
        array = model.encoder[name]
        assert array.dtype == np.float32 and array.flags.c_contiguous
        expected = tensor.half().float() if half else tensor
        assert np.array_equal(array, expected.numpy())
    assert model.sha256 == __import__("hashlib").sha256(path.read_bytes()).hexdigest()
    every = [values["encoder"], *values["decoders"].values()]
    assert model.parameters == sum(t.numel() for weights in every for t in weights.values())
    assert [p.name for p in path.parent.iterdir()] == ["my pack.pt"], "no partial file stays behind"


def test_a_calibration_comes_back(tmp_path: Path) -> None:
    values = content()
    model_file.save(tmp_path / "m.pt", CONFIG, values["encoder"], values["decoders"], calibration=RANGES)
    found = model_file.load(tmp_path / "m.pt").calibration
    assert (found["version"], found["source"]) == (1, "a test")
    for part in ("decoders", "encoder"):
        assert list(found[part]) == list(RANGES[part])
        for name, array in found[part].items():
            assert array.dtype == np.float32 and np.array_equal(array, RANGES[part][name].numpy())
    model_file.save(tmp_path / "m.pt", CONFIG, values["encoder"], values["decoders"])
    assert model_file.load(tmp_path / "m.pt").calibration == {}


def test_codes_come_back(tmp_path: Path) -> None:
    values, wanted = content(), codes()
    ranges = {**RANGES, "codes": wanted}
    model_file.save(tmp_path / "m.pt", CONFIG, values["encoder"], values["decoders"], calibration=ranges, half=True)
    found = model_file.load(tmp_path / "m.pt").calibration
    assert list(found["codes"]) == ["piano", "cello"] and "codes_made_at_load" not in found
    for name, arrays in wanted.items():
        for kind, tensor in arrays.items():
            assert found["codes"][name][kind].dtype == (np.float32 if kind.endswith("_scale") else np.int8)
            np.testing.assert_array_equal(found["codes"][name][kind], tensor.numpy())


def test_half_precision_halves_the_file(tmp_path: Path) -> None:
    config = replace(CONFIG, decoder=DecoderConfig(blocks=1, layers=4))
    values = content(config)
    sizes = []
    for half in (False, True):
        model_file.save(tmp_path / "m.pt", config, values["encoder"], values["decoders"], half=half)
        sizes.append((tmp_path / "m.pt").stat().st_size)
    assert sizes[1] < 0.55 * sizes[0]


def test_half_precision_refuses_what_would_overflow(tmp_path: Path) -> None:
    values = content()
    values["encoder"]["input.bias"][0] = 1e6
    with pytest.raises(UserError, match="too large for float16"):
        model_file.save(tmp_path / "m.pt", CONFIG, values["encoder"], values["decoders"], half=True)


def test_save_refuses_what_load_would(tmp_path: Path) -> None:
    values = content()
    values["decoders"]["piano"].pop("logits.bias")
    with pytest.raises(UserError, match=r"decoder piano .*missing: logits\.bias"):
        model_file.save(tmp_path / "m.pt", CONFIG, values["encoder"], values["decoders"])
    assert not list(tmp_path.iterdir())


def test_packs_with_the_same_encoder_share_it(tmp_path: Path) -> None:
    values = content()
    a = model_file.load(write(tmp_path / "a.pt", values))
    values["decoders"].pop("cello")
    b = model_file.load(write(tmp_path / "b.pt", values))
    values["encoder"]["latent.bias"] = values["encoder"]["latent.bias"] + 1
    c = model_file.load(write(tmp_path / "c.pt", values))
    assert a.sha256 != b.sha256 and a.encoder_sha256 == b.encoder_sha256 != c.encoder_sha256


def test_decoders_are_chosen_by_name(pack: Path) -> None:
    model = model_file.load(pack)
    assert model.decoder_name() == "piano" and model.decoder_name("cello") == "cello"
    with pytest.raises(UserError, match="no decoder 'oboe'; it has: piano, cello"):
        model.decoder_name("oboe")
    assert model.decoder_config("piano") == {
        **{"blocks": 1, "layers": 3, "residual_channels": 8, "skip_channels": 12, "kernel_size": 2, "classes": 256},
        **{"latent_channels": 4, "hop_samples": 160, "mu_law": "rounded", "emphasis": 0.0, "prediction_order": 0},
    }


@pytest.mark.parametrize(("name", "hop"), [("loopback", 0), ("identity16k", 160)])
def test_probes_need_no_file(name: str, hop: int) -> None:
    probe = model_file.load(name)
    assert (probe.kind, probe.name, probe.path, probe.hop_samples) == (name, name, None, hop)
    assert probe.lookahead_samples == probe.parameters == 0


# --- names --------------------------------------------------------------------------------------------------------


def test_names_are_looked_up_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work, user = tmp_path / "work", tmp_path / "user"
    work.mkdir()
    user.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setattr(model_file, "user_data_folder", lambda: user)
    write(user / "flute.pt", content())
    assert model_file.find("flute") == user / "flute.pt" == model_file.find("flute.pt")
    write(work / "flute.pt", content())
    assert model_file.find("flute").resolve() == work / "flute.pt"
    assert model_file.find(str(user / "flute.pt")) == user / "flute.pt"
    assert "flute" in model_file.shipped()


@pytest.mark.parametrize(
    ("name", "message"),
    [("nothere", "not found"), ("sub/nothere.pt", "does not exist"), ("", "no model file"), (".", "is a folder")],
)
def test_missing_models_are_named(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        model_file.load(name)


# --- bad files ----------------------------------------------------------------------------------------------------


def refused(path: Path, match: str) -> None:
    with pytest.raises(UserError, match=match) as caught:
        model_file.load(path)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 500, message
    assert caught.value.exit_code != 0


class Exploit:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        return os.system, (self.command,)


def test_code_in_a_pack_is_never_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    values = content()
    values["card"] = {"note": Exploit(f"touch {mark}")}
    refused(write(tmp_path / "bad.pt", values), "could run code.*system.*refused")
    (tmp_path / "bare.pt").write_bytes(pickle.dumps(Exploit(f"touch {mark}")))
    refused(tmp_path / "bare.pt", "found a bare pickle")
    torch.save(values, tmp_path / "legacy.pt", _use_new_zipfile_serialization=False)
    refused(tmp_path / "legacy.pt", "not an instrument pack")
    assert not mark.exists()
    torch.load(tmp_path / "bad.pt", weights_only=False)
    assert mark.exists(), "the file did carry code"


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.999])
def test_truncated_files_are_refused(pack: Path, share: float) -> None:
    data = pack.read_bytes()
    pack.write_bytes(data[: int(len(data) * share)])
    refused(pack, "truncated|empty|not an instrument pack")


def test_flipped_bits_are_noticed(pack: Path) -> None:
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 0x10
    pack.write_bytes(data)
    refused(pack, "damaged")


@pytest.mark.parametrize(
    ("data", "match"),
    [(b"RIFF" + bytes(100), "a WAV file"), (os.urandom(1000), "not an instrument pack"), (b"hello", "something else")],
)
def test_other_files_are_refused(tmp_path: Path, data: bytes, match: str) -> None:
    (tmp_path / "x.pt").write_bytes(data)
    refused(tmp_path / "x.pt", match)


def test_an_ordinary_zip_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        archive.writestr("readme.txt", "hello")
    refused(tmp_path / "x.pt", "not one of torch.save")


def test_oversized_files_are_refused(pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safe_load, "MAX_FILE_BYTES", 1000)
    refused(pack, "larger than the limit")


def test_zip_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safe_load, "MAX_FILE_BYTES", 1 << 20)
    with zipfile.ZipFile(tmp_path / "x.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", bytes(4 << 20))
    refused(tmp_path / "x.pt", "unpacks to more than the limit")


def test_unreadable_files_are_refused(pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(self: Path, mode: str) -> io.BytesIO:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    refused(pack, "Permission denied")


def setter(*path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(values: dict[str, Any]) -> None:
        for key in path[:-1]:
            values = values[key]
        values[path[-1]] = value

    return change


def codes() -> dict[str, dict[str, torch.Tensor]]:
    """Weights in 4 bits of both decoders."""
    rng = np.random.default_rng(5)
    shapes = {name: code_shapes(CONFIG.decoder) for name in ("piano", "cello")}
    return {
        decoder: {
            name: torch.from_numpy(
                rng.uniform(0.1, 1.0, shape).astype(np.float32)
                if name.endswith("_scale")
                else rng.integers(-8, 8, shape).astype(np.int8)
            )
            for name, shape in of_decoder.items()
        }
        for decoder, of_decoder in shapes.items()
    }


def codes_with(name: str = "", value: Any = None, drop: str = "") -> Callable[[dict[str, Any]], None]:
    """A calibration with codes of which the piano's `name` is another (None: missing), or without a decoder."""
    given = codes()
    if name:
        given["piano"][name] = value
    if name and value is None:
        del given["piano"][name]
    given.pop(drop, None)
    return setter("calibration", value={**RANGES, "codes": given})


def dropper(*path: str) -> Callable[[dict[str, Any]], None]:
    def change(values: dict[str, Any]) -> None:
        for key in path[:-1]:
            values = values[key]
        del values[path[-1]]

    return change


def front_end(causal: bool = True, **fields: Any) -> Callable[[dict[str, Any]], None]:
    """Change a pack's config to a filter bank with these fields; its weights are another encoder's still."""

    def change(values: dict[str, Any]) -> None:
        values["config"]["encoder"] |= {"causal": causal, "front_end": asdict(ConstantQConfig()) | fields}

    return change


RANGES: dict[str, Any] = {
    "version": 1,
    "decoders": {"piano": torch.rand(3, 8), "cello": torch.rand(3, 8)},
    "encoder": {name: torch.rand(shape) for name, shape in encoder_range_shapes(CONFIG.encoder).items()},
    "source": "a test",
}


def encoder_ranges_with(value: float) -> dict[str, torch.Tensor]:
    """Ranges of the encoder, those of `hidden` all `value`."""
    ranges: dict[str, torch.Tensor] = RANGES["encoder"]
    return {**ranges, "hidden": torch.full_like(ranges["hidden"], value)}


BAD: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "other format": (setter("format", value="somebody-9"), "format 'somebody-9', expected 'rtserver-model-1'"),
    "no format": (dropper("format"), "expected the field `format`"),
    "unknown field": (setter("extra", value=1), "unknown fields: extra"),
    "no encoder": (dropper("encoder"), "field `encoder` must be a dictionary, found nothing"),
    "no decoders": (setter("decoders", value={}), "has 0 decoders"),
    "decoder name": (setter("decoders", "../x", value={}), "decoder name '../x'"),
    "decoder is no dictionary": (setter("decoders", "piano", value=3), "must be a dictionary of tensors, found int"),
    "config field missing": (dropper("config", "encoder"), "bad config"),
    "config field unknown": (setter("config", "encoder", "colour", value=1), "bad config.*colour"),
    "huge channels": (setter("config", "encoder", "channels", value=10**9), "encoder.channels must be .* 1 to 1024"),
    "text for a number": (setter("config", "decoder", "layers", value="ten"), "decoder.layers must be"),
    "boolean for a number": (setter("config", "decoder", "layers", value=True), "decoder.layers must be"),
    "number for a boolean": (setter("config", "encoder", "causal", value=1), "encoder.causal must be true or false"),
    "classes": (setter("config", "decoder", "classes", value=512), "decoder.classes must be 256, found 512"),
    "kernel": (setter("config", "decoder", "kernel_size", value=3), "decoder.kernel_size must be 2"),
    "rate": (setter("config", "sample_rate_hz", value=44100), "sample_rate_hz must be 16000, found 44100"),
    "mu-law": (setter("config", "mu_law", value="a"), "mu_law must be rounded or published"),
    "prediction": (
        setter("config", "decoder", "prediction_order", value=1025),
        "decoder.prediction_order must be a whole",
    ),
    "prediction of published codes": (
        lambda content: content["config"].update(
            mu_law="published", decoder={**content["config"]["decoder"], "prediction_order": 8}
        ),
        "mu_law must be rounded with a decoder.prediction_order, found published",
    ),
    "negative emphasis": (setter("config", "emphasis", value=-0.1), "emphasis must be a number 0 to 0.95, found -0.1"),
    "too much emphasis": (setter("config", "emphasis", value=0.96), "emphasis must be .*, found 0.96"),
    "emphasis of NaN": (setter("config", "emphasis", value=float("nan")), "emphasis must be .*, found nan"),
    "emphasis true": (setter("config", "emphasis", value=True), "emphasis must be .*, found True"),
    "emphasis in words": (setter("config", "emphasis", value="much"), "emphasis must be .*, found much"),
    "front end of nothing": (setter("config", "encoder", "front_end", value=7), "bad config"),
    "front end of a field": (setter("config", "encoder", "front_end", value={"colour": 1}), "bad config.*colour"),
    "note": (front_end(lowest_note=-1), "front_end.lowest_note must be a whole number 12 to 120, found -1"),
    "octaves": (front_end(octaves=10), "front_end.octaves must be .*, found 10"),
    "bins": (front_end(bins_per_octave=0), "front_end.bins_per_octave must be .*, found 0"),
    "periods": (front_end(periods=2.5), "front_end.periods must be .*, found 2.5"),
    "window": (front_end(window_samples=10**9), "front_end.window_samples must be .*, found 1000000000"),
    "window of less than a hop": (front_end(window_samples=159), r"at least a hop \(160\), found 159"),
    "filters": (
        front_end(bins_per_octave=96, window_samples=16384),
        "at most 4194304 bins times window_samples, found 672 bins of 16384 samples",
    ),
    "too high": (
        front_end(lowest_note=57),
        "must end below 8000 Hz, found 27358; fewer octaves or a lower lowest_note",
    ),
    "symmetric front end": (front_end(causal=False), "behind a front_end must be causal"),
    "missing tensor": (dropper("encoder", "layers.1.mix.bias"), "encoder .*missing: layers.1.mix.bias"),
    "extra tensor": (setter("decoders", "cello", "x.y", value=torch.ones(1)), "decoder cello .*not expected: x.y"),
    "other shape": (
        setter("decoders", "piano", "output.weight", value=torch.ones(8, 12, 1)),
        "decoder piano output.weight has shape 8x12x1, expected 12x12x1",
    ),
    "NaN": (setter("encoder", "input.bias", value=torch.full((8,), torch.nan)), "encoder input.bias holds NaN"),
    "Inf": (setter("encoder", "input.bias", value=torch.full((8,), torch.inf)), "encoder input.bias holds NaN"),
    "integers": (setter("encoder", "input.bias", value=torch.ones(8, dtype=torch.int64)), "found int64"),
    "sparse": (setter("encoder", "input.bias", value=torch.ones(8).to_sparse()), "dense tensor"),
    "no tensor": (setter("encoder", "input.bias", value=[0.0] * 8), "must be a dense tensor, found list"),
    "card with tensors": (setter("card", value={"x": torch.ones(2)}), "card may hold text"),
    "card too large": (setter("card", value={"x": "y" * (2 << 20)}), "larger or deeper than a card"),
    "calibration": (setter("calibration", value=[1]), "`calibration` must be a dictionary"),
    "calibration version": (setter("calibration", value={"version": 2}), "has version 2, expected 1"),
    "calibration field": (setter("calibration", value={**RANGES, "more": 1}), "may hold version, decoders"),
    "calibration decoder": (
        setter("calibration", value={**RANGES, "decoders": {"piano": torch.ones(3, 8)}}),
        "missing: cello",
    ),
    "calibration shape": (
        setter("calibration", value={**RANGES, "decoders": dict.fromkeys(("piano", "cello"), torch.ones(4, 8))}),
        "has shape 4x8, expected 3x8",
    ),
    "calibration nan": (
        setter("calibration", value={**RANGES, "encoder": encoder_ranges_with(float("nan"))}),
        "encoder hidden holds NaN",
    ),
    "calibration negative": (
        setter("calibration", value={**RANGES, "encoder": encoder_ranges_with(-1.0)}),
        "hidden holds negative numbers",
    ),
    "codes of too few": (codes_with(drop="cello"), "codes must be of the decoders piano, cello, found piano;"),
    "codes that are none": (setter("calibration", value={**RANGES, "codes": [1]}), "must be of the .*, found list"),
    "codes of a decoder that are none": (
        setter("calibration", value={**RANGES, "codes": {"piano": 3, "cello": 3}}),
        "codes of piano must be a dictionary",
    ),
    "codes without a scale": (codes_with("skip_scale", None), "codes of piano does not fit .*: missing: skip_scale"),
    "codes of another kind": (
        codes_with("now", torch.ones(3, 16, 8)),
        "piano now must hold int8 numbers, found float32",
    ),
    "codes of bytes": (codes_with("now", torch.ones(3, 16, 8, dtype=torch.uint8)), "int8 numbers, found uint8"),
    "codes of another shape": (
        codes_with("residual", torch.ones(3, 8, 4, dtype=torch.int8)),
        "piano residual has shape 3x8x4, expected 3x8x8",
    ),
    "codes of five bits": (
        codes_with("skip", torch.full((3, 12, 8), 8, dtype=torch.int8)),
        "piano skip must lie in -8 to 7, found 8 to 8",
    ),
    "codes below": (codes_with("skip", torch.full((3, 12, 8), -9, dtype=torch.int8)), "found -9 to -9"),
    "scales of nothing": (codes_with("now_scale", torch.zeros(3, 16)), "piano now_scale must be above 0"),
    "scales that are none": (codes_with("now_scale", torch.full((3, 16), torch.nan)), "now_scale holds NaN"),
    "scales of bytes": (
        codes_with("now_scale", torch.ones(3, 16, dtype=torch.int8)),
        "float32 or float16 .*found int8",
    ),
    "made at load": (
        setter("calibration", value={**RANGES, "codes_made_at_load": 1}),
        "codes_made_at_load must be true or false, found 1",
    ),
    "calibration source": (setter("calibration", value={**RANGES, "source": 3}), "source must be a text"),
}


@pytest.mark.parametrize("case", sorted(BAD))
def test_malformed_content_is_refused(tmp_path: Path, case: str) -> None:
    change, match = BAD[case]
    values = content()
    change(values)
    refused(write(tmp_path / "bad.pt", values), match)


def test_a_music_translation_checkpoint_is_recognised(tmp_path: Path) -> None:
    refused(write(tmp_path / "lastmodel_0.pth", {"encoder_state": {}}), "rtserver import-checkpoint")


def test_a_tensor_list_is_not_a_pack(tmp_path: Path) -> None:
    refused(write(tmp_path / "list.pt", [torch.ones(2)]), "not an instrument pack")
    refused(write(tmp_path / "args.pt", [Namespace(a=1)]), "could run code.*Namespace")


def test_an_old_torch_is_refused(pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", "2.9.1+cpu")
    refused(pack, r"PyTorch 2\.9\.1\+cpu can't read model files safely; expected 2\.10 or newer")
