"""The GPU engine in this build of the module: compiled where nvcc is, absent without harm elsewhere."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmarks import cuda, cuda_build, cuda_reference
from benchmarks.cuda_library import Library
from rtserver import _engine, networks
from rtserver.model_config import DecoderConfig
from tests.cuda.conftest import Network

without_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="there is no nvcc here")
without_gpu = pytest.mark.skipif(_engine.cuda_devices() == 0, reason="there is no GPU here that CUDA can use")


class Pack:
    """As much of a pack as makes a decoder."""

    def __init__(self, network: Network) -> None:
        self.network, self.decoders = network, {"one": network.weights}
        self.calibration: dict[str, object] = {}

    def decoder_config(self, _: str) -> dict[str, object]:
        return self.network.config


@without_nvcc
def test_module_has_code_for_gpus() -> None:
    if not _engine.CUDA_ARCHITECTURES:
        pytest.skip("the module was built with -DRTSERVER_CUDA=OFF")
    targets = [int(name.partition("-")[0]) for name in _engine.CUDA_ARCHITECTURES.split(",")]
    assert min(targets) >= 80
    assert b"nv_fatbin" in Path(_engine.__file__).read_bytes()


def test_library_is_built_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_build, "nvcc", lambda: "nvcc")
    call = " ".join(cuda_build.command(Path("out/librtcuda.so")))
    for target in ("sm_80", "sm_86", "sm_89", "sm_90", "code=compute_90"):
        assert target in call
    for name in (*cuda_build.SOURCES, *cuda_build.SHARED_SOURCES):
        assert (cuda_build.ROOT / "csrc" / name).is_file()


@pytest.mark.skipif(_engine.cuda_devices() > 0, reason="there is a GPU here")
def test_without_gpu_the_cpu_plays_and_says_why() -> None:
    network = Network.random(DecoderConfig(1, 2, 8, 8))
    decoder, reason = networks.decoder_on(Pack(network), "one", "fp32", "cuda:0")  # type: ignore[arg-type]
    assert isinstance(decoder, _engine.Decoder)
    assert reason and "\n" not in reason
    assert networks.decoder_on(Pack(network), "one", "fp32", "cpu")[1] == ""  # type: ignore[arg-type]


@without_gpu
def test_gpu_gives_the_cpus_logits() -> None:
    network = Network.random(DecoderConfig(2, 5, 48, 80), hop=160)
    latents, codes = network.latents(3), network.codes(480)
    for precision in ("fp16", "bf16", "fp32", "int8"):
        decoder = _engine.CudaDecoder(network.config, network.weights, precision=precision)
        expected = cuda_reference.logits(network.config, network.weights, precision, latents, codes)
        assert np.abs(decoder.logits(latents, codes) - expected).max() < 2e-3
        runs = [decoder.open_slot(seed=4).generate(latents) for _ in range(10)]
        assert all(np.array_equal(run, runs[0]) for run in runs)


def test_benchmark_plays_what_it_will_check(library: Library) -> None:
    """The parts of benchmarks/cuda.py that need no clock, in emulation, at a size that it can bear."""
    subject = cuda.Subject(library, 0, layers=2, channels=4, hop=8)
    latents, codes = subject.latents(2), np.arange(16, dtype=np.uint8)
    expected = cuda_reference.logits(subject.config, subject.weights, "fp16", latents, codes)
    assert np.abs(subject.decoder(team_blocks=2).logits(latents, codes) - expected).max() < cuda.TOLERANCE
