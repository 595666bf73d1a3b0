"""The cache of prepared weights: the pack to the bit, nothing damaged or foreign is used, no torch on a hit."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtserver import _engine, cli, model_file, pipeline, prepared, prepared_format
from rtserver.model_check import code_shapes, decoder_shapes, encoder_range_shapes
from rtserver.model_file import Model
from rtserver.precision import resolve
from tests.server.harness import noise

HEADER_AT = 64


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(prepared.VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(prepared, "_warned", False)
    return tmp_path / "cache"


@pytest.fixture
def pack(tiny_pack: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(tiny_pack, tmp_path / "pack.pt"))


@pytest.fixture
def entry(cache: Path, pack: Path) -> Path:
    """The one entry, of `pack`."""
    prepared.load(pack)
    (found,) = cache.iterdir()
    return found


@pytest.fixture
def calibrated(tiny_pack: Path, tmp_path: Path) -> Path:
    model = model_file.load(tiny_pack)
    d = model.config.decoder
    rng = np.random.default_rng(0)
    ranges = {
        "version": 1,
        "decoders": {n: rng.random((len(d.dilations), d.residual_channels), np.float32) for n in model.decoders},
        "encoder": {
            n: rng.random(shape, np.float32) for n, shape in encoder_range_shapes(model.config.encoder).items()
        },
        "source": "a test",
    }
    path = tmp_path / "calibrated.pt"
    card = {"name": "ü", "list": [1, 2.5, None, True], "deep": {"x": 1e-300}}
    model_file.save(path, model.config, model.encoder, model.decoders, card, calibration=ranges)
    return path


@pytest.fixture
def coded(calibrated: Path, tmp_path: Path) -> Path:
    """A calibrated pack with weights in 4 bits, an odd number of them."""
    model = model_file.load(calibrated)
    d = replace(model.config.decoder, skip_channels=5)
    config = replace(model.config, decoder=d)
    rng = np.random.default_rng(1)
    decoders = {
        name: {n: np.ones(s, np.float32) for n, s in decoder_shapes(d, config.encoder.latent_channels).items()}
        for name in model.decoders
    }
    codes = {
        name: {
            n: rng.random(s, np.float32) + 0.1 if n.endswith("_scale") else rng.integers(-8, 8, s, np.int8)
            for n, s in code_shapes(d).items()
        }
        for name in model.decoders
    }
    path = tmp_path / "coded.pt"
    calibration = {**model.calibration, "codes": codes, "codes_made_at_load": True}
    model_file.save(path, config, model.encoder, decoders, calibration=calibration)
    return path


def assert_equal(one: Any, other: Any) -> None:
    """Equal in every value, type and bit, dictionaries also in order."""
    if isinstance(one, np.ndarray):
        assert one.dtype == other.dtype and one.dtype in (np.float32, np.int8) and one.shape == other.shape
        assert one.tobytes() == other.tobytes()
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            assert_equal(one[key], other[key])
    else:
        assert type(one) is type(other) and one == other


@pytest.mark.parametrize("which", ["pack", "calibrated", "coded"])
def test_a_hit_is_the_pack_to_the_bit(which: str, request: pytest.FixtureRequest, cache: Path) -> None:
    path = request.getfixturevalue(which)
    truth, miss = model_file.load(path), prepared.load(path)
    found = prepared.find(path)
    assert found is not None
    for model in (miss, found[0], prepared.load(path), prepared.open_image(str(found[1]), path, truth.sha256)):
        assert vars(truth).keys() - {"encoder_sha256"} == vars(model).keys() - {"encoder_sha256"}
        for name in vars(truth).keys() - {"encoder_sha256"}:
            assert_equal(getattr(truth, name), getattr(model, name))
        assert model.encoder_sha256 == truth.encoder_sha256
    if which == "coded":
        assert found[0].calibration["codes"]["piano"]["now"].dtype == np.int8
        return  # weights that are all the same play nothing
    wet = [pipeline.translate(model, noise(16000), 16000, seed=3) for model in (truth, found[0])]
    assert np.array_equal(*wet) and np.std(wet[0]) > 1e-3


def test_tensors_are_mapped_aligned_and_read_only(pack: Path, entry: Path) -> None:
    found = prepared.find(pack)
    assert found is not None
    for array in (*found[0].encoder.values(), *found[0].decoders["piano"].values()):
        assert array.ctypes.data % prepared_format.ALIGNMENT == 0 and not array.flags.writeable
        assert array.flags.c_contiguous and not array.flags.owndata


def test_an_entry_belongs_to_the_bytes_not_to_the_name(pack: Path, entry: Path, cache: Path, tmp_path: Path) -> None:
    twin = Path(shutil.copy(pack, tmp_path / "twin.pt"))
    found = prepared.find(twin)
    assert found is not None and found[1] == entry
    assert (found[0].name, found[0].path) == ("twin", twin)
    model = model_file.load(pack)
    model_file.save(pack, model.config, model.encoder, model.decoders, card={"name": "another"})
    assert prepared.find(pack) is None
    assert prepared.load(pack).card == {"name": "another"}
    assert len(list(cache.iterdir())) == 2


def test_the_folder_is_the_platforms(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(prepared.VARIABLE)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for platform, where in (
        ("linux", ".cache"),
        ("darwin", "Library/Caches"),
        ("win32", "AppData/Local"),
    ):
        monkeypatch.setattr(sys, "platform", platform)
        assert prepared.folder() == tmp_path / where / "rtserver" / "prepared"
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert prepared.folder() == tmp_path / "x" / "rtserver" / "prepared"
    monkeypatch.setenv(prepared.VARIABLE, "~/mine")
    assert prepared.folder() == tmp_path / "mine"
    monkeypatch.setenv(prepared.VARIABLE, "off")
    assert prepared.folder() is None


def test_folder_and_entry_are_private(cache: Path, pack: Path) -> None:
    before = os.umask(0)
    try:
        prepared.load(pack)
    finally:
        os.umask(before)
    (entry,) = cache.iterdir()
    assert cache.stat().st_mode & 0o777 == 0o700 and entry.stat().st_mode & 0o777 == 0o600


def test_a_folder_that_others_may_write_to_is_left_alone(
    cache: Path, pack: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache.mkdir()
    cache.chmod(0o1777)
    prepared.load(pack)
    assert cache.stat().st_mode & 0o7777 == 0o1777 and not list(cache.iterdir())
    assert "others may write there" in caplog.text


# --- what can't be trusted ----------------------------------------------------------------------------------------


def resealed(data: bytes, change: Callable[[dict[str, Any]], Any]) -> bytes:
    """A prepared file with another header and a checksum that fits, as somebody who means harm would write it."""
    prefix = prepared_format._PREFIX
    magic, version, length, _ = prefix.unpack(data[: prefix.size])
    header = json.loads(data[HEADER_AT : HEADER_AT + length])
    text = json.dumps(change(header) or header).encode()
    body = text + bytes(-len(text) % 64) + data[HEADER_AT + length + -length % 64 :]
    start = prefix.pack(magic, version, len(text), hashlib.sha256(body).digest())
    return start.ljust(HEADER_AT, b"\0") + body


def shape_of_first(shape: Any) -> Callable[[bytes], bytes]:
    def change(header: dict[str, Any]) -> None:
        header["tensors"][0][-1] = shape

    return lambda data: resealed(data, change)


def with_header(**fields: Any) -> Callable[[bytes], bytes]:
    return lambda data: resealed(data, lambda header: header.update(fields))


def config_with(part: str, name: str, value: Any) -> Callable[[bytes], bytes]:
    return lambda data: resealed(data, lambda header: header["config"][part].update({name: value}))


def tensors_with(change: Callable[[list[Any]], Any]) -> Callable[[bytes], bytes]:
    return lambda data: resealed(data, lambda header: header.update(tensors=change(header["tensors"])))


def flipped(at: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] if at >= 0 else data[:at] + b"\xff"


def with_nan(data: bytes) -> bytes:
    return resealed(data[:-64] + struct.pack("<f", np.nan) * 16, lambda header: None)


DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda data: b"", "0 bytes"),
    "a few bytes": (lambda data: data[:40], "40 bytes"),
    "header only": (lambda data: data[:64], "a header of .* bytes in a file of 64"),
    "truncated": (lambda data: data[:-64], "checksum"),
    "longer": (lambda data: data + bytes(64), "checksum"),
    "a bit of the magic": (flipped(3), "does not begin"),
    "a bit of the header": (flipped(HEADER_AT + 30), "checksum"),
    "a bit of a weight": (flipped(-7), "checksum"),
    "another version": (lambda data: data[:8] + struct.pack("<I", 99) + data[12:], "version 99"),
    "a huge header": (lambda data: data[:12] + struct.pack("<I", 0xFFFFFFFF) + data[16:], "a header of 4294967295"),
    "a pickle": (lambda data: b"\x80\x04" + data, "does not begin"),
    "no JSON": (lambda data: resealed(data, lambda header: "text"), ""),
    "deep JSON": (lambda data: resealed_text(data, b"[" * 100000), ""),
    "another pack": (with_header(sha256="0" * 64), "another pack"),
    "a huge shape": (shape_of_first([1 << 62, 1 << 62]), "beyond the end"),
    "a huge number": (shape_of_first([10**400]), "beyond the end"),
    "a negative shape": (shape_of_first([-16, 1, -3]), "a tensor of shape"),
    "a fractional shape": (shape_of_first([1.5]), "a tensor of shape"),
    "a true shape": (shape_of_first([True]), "a tensor of shape"),
    "many dimensions": (shape_of_first([1] * 70), "a tensor of shape"),
    "another shape": (shape_of_first([16, 3, 1]), "has shape 16x3x1, expected 16x1x3"),
    "a smaller shape": (shape_of_first([16, 1, 2]), ""),
    "a tensor twice": (tensors_with(lambda tensors: [tensors[0], *tensors]), "two tensors|beyond the end"),
    "one tensor too few": (tensors_with(lambda tensors: tensors[:-1]), "bytes, expected"),
    "no tensors": (tensors_with(lambda tensors: []), "bytes, expected"),
    "a tensor elsewhere": (tensors_with(lambda t: [["config", "x", t[0][-1]], *t[1:]]), ""),
    "a tensor nowhere": (tensors_with(lambda t: [["encoder", t[0][-1]], *t[1:]]), ""),
    "a tensor deeper": (tensors_with(lambda t: [["encoder", "a", "b", t[0][-1]], *t[1:]]), "no tensor can lie"),
    "a calibration that is none": (tensors_with(lambda t: [["calibration", "decoders", "x", t[0][-1]], *t[1:]]), ""),
    "absurd channels": (config_with("encoder", "channels", 10**9), "channels must be"),
    "another width": (config_with("decoder", "residual_channels", 17), "expected"),
    "another preset": (with_header(config={"preset": "x"}), "bad config"),
    "a card that is none": (with_header(card=3), "card must be a dictionary"),
    "no card": (lambda data: resealed(data, lambda header: {k: v for k, v in header.items() if k != "card"}), "card"),
    "NaN": (with_nan, "NaN"),
}


def resealed_text(data: bytes, text: bytes) -> bytes:
    prefix = prepared_format._PREFIX
    body = text + bytes(-len(text) % 64)
    start = prefix.pack(prepared_format.MAGIC, prepared_format.VERSION, len(text), hashlib.sha256(body).digest())
    return start.ljust(HEADER_AT, b"\0") + body


@pytest.mark.parametrize("case", sorted(DAMAGE))
def test_damaged_and_hostile_files_are_removed_and_made_again(
    case: str, pack: Path, entry: Path, caplog: pytest.LogCaptureFixture
) -> None:
    change, said = DAMAGE[case]
    sound = entry.read_bytes()
    entry.write_bytes(change(sound))
    caplog.set_level("INFO", "rtserver")
    assert prepared.find(pack) is None
    assert not entry.exists(), "what can't be used is removed"
    (record,) = caplog.records
    assert re.search(said, record.getMessage()), record.getMessage()
    prepared.load(pack)
    assert entry.read_bytes() == sound


@pytest.mark.parametrize("kind", ["readable by others", "writable by others", "a link", "a folder", "a pipe"])
def test_what_is_not_a_private_file_is_not_used(kind: str, pack: Path, entry: Path, tmp_path: Path) -> None:
    sound = entry.read_bytes()
    if kind.endswith("others"):
        entry.chmod(0o644 if kind.startswith("read") else 0o622)
    else:
        elsewhere = Path(shutil.copy(entry, tmp_path / "elsewhere"))
        entry.unlink()
        if kind == "a link":
            elsewhere.chmod(0o600)
            entry.symlink_to(elsewhere)
        elif kind == "a folder":
            entry.mkdir()
        else:
            os.mkfifo(entry)
    assert prepared.find(pack) is None
    truth, model = model_file.load(pack), prepared.load(pack)
    assert_equal(truth.encoder, model.encoder)
    if kind != "a folder":
        assert entry.read_bytes() == sound and not entry.is_symlink()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_an_entry_of_another_user_is_not_used(pack: Path, entry: Path) -> None:
    os.chown(entry, 12345, 12345)
    assert prepared.find(pack) is None and not entry.exists()


# --- writing ------------------------------------------------------------------------------------------------------


def test_writers_at_once_leave_one_sound_entry(cache: Path, pack: Path) -> None:
    model = model_file.load(pack)
    model.encoder_sha256  # noqa: B018  computed before the threads start
    failures: list[BaseException] = []
    done = threading.Event()

    def write() -> None:
        try:
            for _ in range(20):
                prepared.store(model)
        except BaseException as error:
            failures.append(error)

    def read() -> None:
        seen = 0
        while not done.is_set():
            seen += prepared.find(pack) is not None
        if not seen:
            failures.append(AssertionError("never found"))

    writers = [threading.Thread(target=write) for _ in range(4)]
    prepared.store(model)
    reader = threading.Thread(target=read)
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    assert not failures
    (left,) = cache.iterdir()
    assert left.read_bytes() == b"".join(prepared_format.pieces(model))


def test_the_least_recently_used_entries_go_first(cache: Path, pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_file.load(pack)
    entries = []
    for i in range(4):
        model_file.save(pack, model.config, model.encoder, model.decoders, card={"n": i})
        entries.append(prepared.store(model_file.load(pack)))
        os.utime(entries[-1], (1000 + i, 1000 + i))
    size = entries[0].stat().st_size
    model_file.save(pack, model.config, model.encoder, model.decoders, card={"n": 0})
    assert prepared.find(pack) is not None, "the oldest is used again, and so the newest"
    abandoned, fresh, foreign = (cache / name for name in (".partial-a", ".partial-b", "notes.txt"))
    for path in (abandoned, fresh, foreign):
        path.write_bytes(bytes(10))
    os.utime(abandoned, (time.time() - 7200,) * 2)
    monkeypatch.setattr(prepared, "MAX_TOTAL_BYTES", 3 * size + 100)
    model_file.save(pack, model.config, model.encoder, model.decoders, card={"n": 4})
    newest = prepared.store(model_file.load(pack))
    assert set(cache.iterdir()) == {entries[0], entries[3], newest, fresh, foreign}
    monkeypatch.setattr(prepared, "MAX_TOTAL_BYTES", 0)
    prepared.prune(cache, newest)
    assert set(cache.iterdir()) == {newest, fresh, foreign}, "the entry just written stays"


@pytest.mark.parametrize("how", ["a file in its place", "no space", "off"])
def test_a_cache_that_cannot_be_written_costs_a_warning(
    how: str, cache: Path, pack: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if how == "a file in its place":
        cache.write_text("")
    elif how == "off":
        monkeypatch.setenv(prepared.VARIABLE, "off")
    else:

        def full(descriptor: int, mode: str) -> Any:
            os.close(descriptor)
            return open("/dev/full", mode, buffering=0)

        monkeypatch.setattr(prepared.os, "fdopen", full)
    for _ in range(2):
        assert_equal(model_file.load(pack).encoder, prepared.load(pack).encoder)
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == (how != "off") and all("can't be kept in" in text for text in warnings)
    assert not cache.is_dir() or not list(cache.iterdir()), "no partial file stays behind"


def test_int8_is_not_served_by_an_entry_without_a_calibration(
    entry: Path, pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranges = {"version": 1, "decoders": {}, "encoder": {}, "source": "made"}

    def made(model: Model, precision: str) -> dict[str, Any]:
        d = model.config.decoder
        of_decoders = {n: np.ones((len(d.dilations), d.residual_channels), np.float32) for n in model.decoders}
        shapes = encoder_range_shapes(model.config.encoder)
        of_encoder = {n: np.ones(shape, np.float32) for n, shape in shapes.items()}
        return {**ranges, "decoders": of_decoders, "encoder": of_encoder} if precision == "int8" else {}

    monkeypatch.setattr(prepared, "calibration_for", made)
    assert prepared.find(pack, "fp32") is not None and prepared.find(pack, "bf16") is not None
    assert prepared.find(pack, "int8") is None and entry.exists()
    assert prepared.load(pack, "int8").calibration["source"] == "made"
    for precision in ("int8", "fp32"):
        found = prepared.find(pack, precision)
        assert found is not None and found[0].calibration["source"] == "made"


def test_int4_is_not_served_by_an_entry_without_codes(
    cache: Path, calibrated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_engine, "PRECISIONS", ("int4", "int8", "bf16", "fp32"))
    assert "codes" not in prepared.load(calibrated, "int8").calibration
    assert prepared.find(calibrated, "auto") is not None and prepared.find(calibrated, "int4") is None
    made = prepared.load(calibrated, "int4").calibration
    assert made["codes_made_at_load"] is True and set(made["codes"]) == {"piano", "strings"}
    found = prepared.find(calibrated, "int4")
    assert found is not None
    assert_equal(found[0].calibration, made)
    assert resolve("auto", found[0]) == "int8", "what lies in the cache doesn't choose"


# --- what comes of it ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["info", "translate"])
def test_commands_import_no_torch_on_a_hit(command: str, entry: Path, pack: Path, tmp_path: Path) -> None:
    import soundfile

    soundfile.write(tmp_path / "in.wav", noise(1600), 16000)
    files = [str(tmp_path / "in.wav"), "--model", str(pack), "-o", str(tmp_path / "out.wav")]
    arguments = {"info": ["info", str(pack)], "translate": ["translate", *files, "--precision", "fp32"]}[command]
    program = (
        "import sys; from rtserver import cli; status = cli.run(sys.argv[1:]);"
        "sys.exit(status or ('torch was imported' if 'torch' in sys.modules else 0))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_info_of_a_prepared_pack_is_that_of_the_pack(
    cache: Path, calibrated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = []
    for _ in range(2):
        assert cli.run(["info", str(calibrated), "--json"]) == 0
        told.append(json.loads(capsys.readouterr().out))
    assert told[0] == told[1] and told[0]["card"]["name"] == "ü"
