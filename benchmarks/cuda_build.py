"""Builds the GPU engine as a library of its own, with one call of nvcc: `python -m benchmarks.cuda_build LIBRARY`.

It has machine code for every GPU named below and its own C++ and CUDA runtimes, so it can be carried to a machine that
has a driver and no compiler. Needs no GPU, and none of the project's Python packages.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ARCHITECTURES = (80, 86, 89, 90)
SOURCES = ("cuda/c_api.cpp", "cuda/decoder.cpp", "cuda/pack.cpp", "cuda/device_cuda.cu")
SHARED_SOURCES = ("cpu/decoder_weights.cpp", "cpu/linear_prediction.cpp", "cpu/tensors.cpp")


def nvcc() -> str | None:
    """The compiler, or None."""
    return shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")


def command(library: Path, architectures: tuple[int, ...] = ARCHITECTURES) -> list[str]:
    """The call of nvcc."""
    compiler = nvcc()
    if compiler is None:
        raise FileNotFoundError("nvcc")
    targets = [f"-gencode=arch=compute_{n},code=sm_{n}" for n in architectures]
    newest = max(architectures)
    targets.append(f"-gencode=arch=compute_{newest},code=compute_{newest}")  # for GPUs to come
    options = ["-std=c++20", "-O3", "-fmad=false", "-shared", "-cudart", "static", "-I", str(ROOT / "csrc")]
    options += ["-Xcompiler", "-fPIC,-fvisibility=hidden,-ffp-contract=off,-static-libstdc++,-static-libgcc"]
    sources = [str(ROOT / "csrc" / name) for name in SOURCES + SHARED_SOURCES]
    return [compiler, *options, *targets, "-o", str(library), *sources]


def build(library: Path, architectures: tuple[int, ...] = ARCHITECTURES) -> None:
    """Raises FileNotFoundError without nvcc, CalledProcessError when it refuses."""
    library.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(command(library, architectures), check=True)


if __name__ == "__main__":
    build(Path(sys.argv[1] if len(sys.argv) > 1 else "out/librtcuda.so"))
