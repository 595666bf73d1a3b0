"""models.Decoder.step on a GPU, eager and as a captured CUDA graph: what the GPU engine is measured beside."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

SECONDS = 3.0


def measure(config: Mapping[str, Any], weights: Mapping[str, npt.NDArray[np.float32]], device: int) -> dict[str, Any]:
    """Samples a second of either, most probable codes fed back; or why not."""
    try:
        import torch

        from models.decoder import Decoder
        from rtserver.model_config import DecoderConfig
    except ImportError as error:
        return {"skipped": str(error)}
    if not torch.cuda.is_available():
        return {"skipped": "this PyTorch sees no GPU"}
    place = torch.device("cuda", device)
    sizes = (config["blocks"], config["layers"], config["residual_channels"], config["skip_channels"])
    module = Decoder(DecoderConfig(*sizes), config["latent_channels"], config["hop_samples"]).eval()
    module.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in weights.items()})
    found: dict[str, Any] = {"torch": torch.__version__}
    for name, dtype in (("fp32", torch.float32), ("fp16", torch.float16)):
        module = module.to(place, dtype)
        with torch.inference_mode():
            found[f"eager {name}"] = _rate(torch, _eager(torch, module, place, dtype, config))
            try:
                found[f"graph {name}"] = _rate(torch, _graph(torch, module, place, dtype, config))
            except RuntimeError as error:
                found[f"graph {name}"] = str(error)
    return found


def _rate(torch: Any, step: Callable[[], None]) -> float:
    for _ in range(5):
        step()
    torch.cuda.synchronize()
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < SECONDS / 4:
        for _ in range(10):
            step()
        torch.cuda.synchronize()
        count += 10
    return count / (time.perf_counter() - started)


def _eager(torch: Any, module: Any, place: Any, dtype: Any, config: Mapping[str, Any]) -> Callable[[], None]:
    state = module.init_state()
    previous = torch.zeros(1, 1, 1, device=place, dtype=dtype)
    latent = torch.zeros(1, config["latent_channels"], 1, device=place, dtype=dtype)

    def step() -> None:
        nonlocal state, previous
        logits, state = module.step(previous, latent, state)
        previous = logits.argmax(dim=1, keepdim=True).to(dtype) / 255 - 0.5

    return step


def _graph(torch: Any, module: Any, place: Any, dtype: Any, config: Mapping[str, Any]) -> Callable[[], None]:
    """The same step captured: the new state is copied over the old one, since a graph's memory stays where it is."""
    state = module.init_state()
    previous = torch.zeros(1, 1, 1, device=place, dtype=dtype)
    latent = torch.zeros(1, config["latent_channels"], 1, device=place, dtype=dtype)

    def step() -> None:
        logits, after = module.step(previous, latent, state)
        for old, new in zip(state.histories, after.histories, strict=True):
            old.copy_(new)
        state.inputs.copy_(after.inputs)
        previous.copy_(logits.argmax(dim=1, keepdim=True).to(dtype) / 255 - 0.5)

    side = torch.cuda.Stream(place)
    side.wait_stream(torch.cuda.current_stream(place))
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream(place).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    replay: Callable[[], None] = graph.replay
    return replay
