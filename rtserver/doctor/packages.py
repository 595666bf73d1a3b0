"""What was installed, and whether it works: ONNX Runtime and its providers, graphics cards, audio devices."""

from __future__ import annotations

import subprocess
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from rtserver.doctor.check import Check


def onnx_runtime() -> Check:
    """Which of the two wheels is there, and which of its providers really open."""
    wheels = {name: found for name in ("onnxruntime", "onnxruntime-gpu") if (found := _version(name))}
    try:
        import onnxruntime as ort
    except ImportError as error:
        return Check(
            "ONNX Runtime",
            "unusable",
            f"missing: {error}",
            "`pip install onnxruntime` (NVIDIA: onnxruntime-gpu)",
            {"wheels": wheels},
        )
    named = list(ort.get_available_providers())
    working = [name for name in named if name == "CPUExecutionProvider" or _opens(ort, name)]
    data = {"wheels": wheels, "version": ort.__version__, "providers": working, "providers_named": named}
    found = f"{ort.__version__}, runs on {', '.join(name.removesuffix('ExecutionProvider') for name in working)}"
    if len(wheels) > 1:
        fix = (
            "both wheels are installed over one another: `pip uninstall onnxruntime onnxruntime-gpu`, then `make setup`"
        )
        return Check("ONNX Runtime", "warning", found, fix, data)
    if gpus() and "CUDAExecutionProvider" not in working:
        fix = "`RTSERVER_ORT=gpu setup/install` installs the wheel for NVIDIA cards"
        if "CUDAExecutionProvider" in named:
            fix = "its CUDA provider doesn't open: CUDA 12 and cuDNN 9 libraries are needed"
        return Check("ONNX Runtime", "note", found, fix, data)
    return Check("ONNX Runtime", "ok", found, "", data)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _opens(ort: Any, provider: str) -> bool:
    """Whether a session with this provider alone keeps it: a wheel names what it was built with, not what works."""
    if provider not in ("CUDAExecutionProvider", "CoreMLExecutionProvider", "DmlExecutionProvider"):
        return False
    from onnx import TensorProto, helper

    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "probe", value[:1], value[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(model.SerializeToString(), options, providers=[provider])
        session.run(None, {"x": np.ones(1, np.float32)})
    except Exception:  # whatever a driver raises means the same
        return False
    return provider in session.get_providers()


def gpus() -> list[str]:
    """Names of the NVIDIA cards whose driver answers."""
    try:
        listed = subprocess.run(
            ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in listed.stdout.splitlines() if line.strip()]


def graphics() -> Check:
    """GPUs, and torch's view of them."""
    names = gpus()
    data = {"gpus": names, "torch": _version("torch")}
    if not names:
        return Check("GPU", "ok", "none; the CPU does everything", "", data)
    return Check("GPU", "ok", ", ".join(names), "", data)


def audio_devices() -> Check:
    """Microphones and outputs, as PortAudio sees them."""
    try:
        import sounddevice
    except ImportError:
        return Check(
            "audio devices",
            "note",
            "sounddevice is not installed",
            "`pip install sounddevice` to play live",
            {"devices": []},
        )
    except OSError:
        return Check(
            "audio devices",
            "note",
            "PortAudio is missing",
            "`sudo apt-get install libportaudio2` to play live",
            {"devices": []},
        )
    devices: list[dict[str, Any]] = [
        {
            "name": str(device["name"]),
            "inputs": int(device["max_input_channels"]),
            "outputs": int(device["max_output_channels"]),
            "sample_rate_hz": int(device["default_samplerate"]),
        }
        for device in sounddevice.query_devices()
    ]
    inputs = sum(device["inputs"] > 0 for device in devices)
    outputs = sum(device["outputs"] > 0 for device in devices)
    found = f"{inputs} to record from, {outputs} to play to"
    if inputs and outputs:
        return Check("audio devices", "ok", found, "", {"devices": devices})
    fix = "plug in an interface to play live; a DAW, files and other programs work without"
    return Check("audio devices", "note", found, fix, {"devices": devices})
