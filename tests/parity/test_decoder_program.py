"""The decoder without Python: under sanitizers, on other processors; AVX-VNNI's kernels by AVX-512's instructions.

One C++ program (decoder_program.cpp) reads golden files with PyTorch's logits and runs every instruction set, precision
and promise about streams. What an emulator or a compiler is missing for is skipped; `.ci/run` installs them.
RTSERVER_VALGRIND=1 adds Valgrind and another build of the kernels, which take minutes: `make sanitize`.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from models.decoder import Decoder as TorchDecoder
from rtserver import _engine
from rtserver.model_config import DecoderConfig
from tests.parity.nearest_codes import nearest_codes
from tests.parity.networks import pytorch_logits
from tests.programs.build import build
from tests.programs.variants import ARM_COMPILER, ARM_DECODER, SANITIZED_DECODER, decoder

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="cross compilers and emulators are looked for on Linux"),
    pytest.mark.timeout(1200),  # the first test of a build compiles the engine
]

# As in test_engine_logits.py; int8 and int4 have the same bits on every processor.
TOLERANCE = {"fp32": 1e-4, "bf16": 1e-4, "int8": 0.0, "int4": 0.0}

# name: decoder, latent channels, hop, samples. Small, for an emulator takes a hundred times as long. The first three
# are longer than their receptive field.
CASES = {
    "1x32": (DecoderConfig(1, 1, 32, 32), 4, 5, 15),
    "3x1": (DecoderConfig(1, 3, 1, 1), 1, 7, 28),
    "odd": (DecoderConfig(2, 2, 37, 53), 5, 9, 27),
    "7x48": (DecoderConfig(1, 7, 48, 48), 3, 9, 18),
    "7x96": (DecoderConfig(1, 7, 96, 96), 4, 4, 8),
    "30x64": (DecoderConfig(3, 10, 64, 64), 4, 3, 6),
    "56x32": (DecoderConfig(7, 8, 32, 32), 4, 4, 8),
    "4x128": (DecoderConfig(2, 2, 128, 128), 16, 6, 12),
    "1x256": (DecoderConfig(1, 1, 256, 256), 2, 4, 8),
    "predictive": (DecoderConfig(1, 3, 32, 32, prediction_order=20), 4, 10, 330),  # two sets of coefficients and more
}
EMULATED = ["1x32", "3x1", "odd", "7x48", "4x128", "predictive"]


def write_golden(path: Path, tensors: dict[str, np.ndarray]) -> None:
    """The format of decoder_program.cpp."""
    with path.open("wb") as file:
        for name, values in tensors.items():
            file.write(struct.pack("<i", len(name)) + name.encode())
            file.write(struct.pack(f"<i{values.ndim}q", values.ndim, *values.shape))
            file.write(np.ascontiguousarray(values, "<f4").tobytes())


def golden_tensors(name: str) -> dict[str, np.ndarray]:
    decoder, latent_channels, hop, samples = CASES[name]
    torch.manual_seed(0)
    module = TorchDecoder(decoder, latent_channels, hop).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(1.5)  # away from the linear part of the gates
    rng = np.random.default_rng(1)
    latents = rng.standard_normal((samples // hop, latent_channels)).astype(np.float32)
    codes = rng.integers(0, 256, samples).astype(np.uint8)
    expected = pytorch_logits(module, latents, codes)
    config = vars(decoder) | {"latent_channels": latent_channels, "hop_samples": hop}
    weights = {k: v.detach().numpy().copy() for k, v in module.state_dict().items()}
    scalar = _engine.Decoder(config, weights, isa="scalar")
    ranges = scalar.input_ranges(latents, codes)
    widths = (decoder.residual_channels, decoder.skip_channels, latent_channels)
    numbers = (decoder.blocks, decoder.layers, *widths, hop, decoder.prediction_order)
    tensors = weights | {"config": np.array(numbers), "latents": latents, "codes": codes, "ranges": ranges}
    quantised: dict[str, Any] = {"calibration": ranges, "codes": nearest_codes(weights, ranges)}
    tensors |= {f"codes.{k}": v for k, v in quantised["codes"].items()}
    tensors["logits.fp32"] = expected
    for precision in set(_engine.PRECISIONS) - {"fp32"}:  # of another processor: the scalar reference of this one
        other = _engine.Decoder(config, weights, isa="scalar", precision=precision, **quantised)
        tensors[f"logits.{precision}"] = other.logits(latents, codes)
    return tensors


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a golden file for each case."""
    folder = tmp_path_factory.mktemp("golden")
    for name in CASES:
        write_golden(folder / name, golden_tensors(name))
    return folder


class Line(NamedTuple):
    file: str
    precision: str
    isa: str
    golden: float  # greatest difference of the logits to those of the golden file
    scalar: float  # and to the scalar reference's
    broken: str


def parse(output: str) -> Iterator[Line]:
    for line in output.splitlines():
        path, precision, isa, *values = line.split()
        golden, scalar, broken = (value.split("=")[1] for value in values)
        yield Line(Path(path).name, precision, isa, float(golden), float(scalar), broken)


def run(command: list[str | Path], golden: Path, names: list[str] | None = None) -> list[Line]:
    """What the program says of the named golden files, judged; every case and precision is among it."""
    names = names or list(CASES)
    result = subprocess.run([*command, *(golden / n for n in names)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    lines = list(parse(result.stdout))
    assert {(line.file, line.precision) for line in lines} == {(n, p) for n in names for p in _engine.PRECISIONS}
    for line in lines:
        assert line.broken == "none", line
        assert line.golden <= TOLERANCE[line.precision], line
        assert line.scalar <= TOLERANCE[line.precision], line
    return lines


def isas(lines: list[Line], precision: str) -> set[str]:
    return {line.isa for line in lines if line.precision == precision}


def emulator(name: str) -> str:
    """qemu-`name`, or the test is skipped."""
    found = shutil.which(f"qemu-{name}-static") or shutil.which(f"qemu-{name}")
    if not found:
        pytest.skip(f"qemu-{name} is not installed (Debian: qemu-user-static)")
    return found


slow = pytest.mark.skipif(not os.environ.get("RTSERVER_VALGRIND"), reason="takes minutes; make sanitize runs it")


@pytest.fixture(scope="module")
def sanitized_decoder() -> Path:
    return build(SANITIZED_DECODER)


@pytest.fixture(scope="module")
def native() -> Path:
    return build(decoder("native"))


@pytest.fixture(scope="module")
def swapped() -> Path:
    """With AVX-VNNI's integer kernels in the place of AVX2's."""
    if os.uname().machine != "x86_64":
        pytest.skip("x86 only")
    return build(decoder("swapped", "-DAVXVNNI_FOR_AVX2=ON"))


@pytest.fixture(scope="module")
def arm_decoder() -> Path:
    if not ARM_COMPILER:
        pytest.skip("aarch64-linux-gnu-g++ is not installed (Debian: g++-aarch64-linux-gnu)")
    return build(ARM_DECODER)


def test_clean_under_address_and_undefined_behaviour_sanitizers(sanitized_decoder: Path, golden: Path) -> None:
    lines = run([sanitized_decoder], golden)
    assert {line.isa for line in lines} == set(_engine.available_isas())


@pytest.mark.parametrize(("fault", "found"), [("overflow", "heap-buffer-overflow"), ("undefined", "runtime error")])
def test_the_sanitizers_find_planted_faults(sanitized_decoder: Path, fault: str, found: str) -> None:
    result = subprocess.run([sanitized_decoder, f"plant-{fault}"], capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert found in result.stderr


def test_wrong_logits_are_seen(sanitized_decoder: Path, tmp_path: Path) -> None:
    tensors = golden_tensors("odd")
    tensors["layers.3.dilated.weight"][0, 0, 0] += 0.1
    write_golden(tmp_path / "odd", tensors)
    with pytest.raises(AssertionError, match="Line"):
        run([sanitized_decoder], tmp_path, ["odd"])


def test_neon_under_qemu(arm_decoder: Path, golden: Path) -> None:
    lines = run([emulator("aarch64"), "-cpu", "max", arm_decoder], golden, EMULATED)
    assert isas(lines, "fp32") == isas(lines, "bf16") == {"scalar", "neon"}
    assert isas(lines, "int8") == isas(lines, "int4") == {"scalar", "neon", "neondot"}


def test_neon_without_dot_products_under_qemu(arm_decoder: Path, golden: Path) -> None:
    lines = run([emulator("aarch64"), "-cpu", "cortex-a53", arm_decoder], golden, ["odd", "7x48"])
    assert {line.isa for line in lines} == {"scalar", "neon"}


@slow
def test_scalar_needs_no_vector_extension(swapped: Path, golden: Path) -> None:
    """A processor of 2008 under qemu: one instruction of AVX anywhere on the scalar path would end the program."""
    lines = run([emulator("x86_64"), "-cpu", "Nehalem", swapped], golden, ["odd", "7x48"])
    assert {line.isa for line in lines} == {"scalar"}


@slow
def test_avxvnni_kernels_by_means_of_avx512(swapped: Path, golden: Path) -> None:
    if "avx512vnni" not in _engine.available_isas():
        pytest.skip("this processor lacks AVX-512 VNNI")
    lines = run([swapped], golden)
    assert "avx2" in isas(lines, "int8") & isas(lines, "int4")  # AVX-VNNI's, by that name


@slow
@pytest.mark.timeout(3600)
def test_clean_under_valgrind(native: Path, golden: Path) -> None:
    """Every byte that decides something was written before, which the sanitizers above don't see. AVX2 at most."""
    valgrind = shutil.which("valgrind")
    if not valgrind:
        pytest.skip("valgrind is not installed")
    lines = run([valgrind, "-q", "--error-exitcode=9", "--leak-check=full", native], golden)
    assert isas(lines, "fp32") == {isa for isa in _engine.available_isas() if isa in {"scalar", "avx2"}}
