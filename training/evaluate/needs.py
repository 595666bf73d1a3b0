"""What the evaluation needs beyond the product, and what to type where it is missing."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from rtserver.errors import UserError


def needs_librosa() -> Any:
    """librosa, or a UserError that says how to install it."""
    try:
        import librosa
    except ImportError:
        raise UserError("the paper's pitch tracks need librosa: `pip install 'rtserver[train]'`") from None
    return librosa


def basic_pitch_network() -> Path | None:
    """The ONNX file in the wheel of basic-pitch (Apache-2.0), which needs not be imported; None if it isn't there."""
    found = importlib.util.find_spec("basic_pitch")
    for folder in (found.submodule_search_locations or []) if found else []:
        path = Path(folder, "saved_models", "icassp_2022", "nmp.onnx")
        if path.exists():
            return path
    return None


BASIC_PITCH = "onset and note F1 need basic-pitch: `pip install --no-deps basic-pitch` (its ONNX file alone is used)"
