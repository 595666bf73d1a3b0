"""Plays a file of float32 through a plugin in pedalboard, minihost or dawdreamer. Runs in those hosts' own environment.

    python play.py HOST JOB.json      prints one JSON object: host, version, latency, parameters, seconds

A job: plugin, rate, block (frames), channels, input and output (files, [frames, channels] float32), parameters
({name: share of its range, 0 to 1}), realtime (wait for the clock before each block; minihost only), state (a file to
load) and save_state (one to write; neither in dawdreamer).
Knows nothing of rtserver.
"""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Job = dict[str, Any]
Floats = npt.NDArray[np.float32]
Played = tuple[Floats, dict[str, Any]]  # planar output [channels, frames]; what is to be told


def in_pedalboard(job: Job, x: Floats) -> Played:
    """Compensates the latency itself: the output is already aligned with the input."""
    import pedalboard

    plugin = pedalboard.load_plugin(job["plugin"])
    if job.get("state"):
        plugin.raw_state = Path(job["state"]).read_bytes()
    by_name = {parameter.name: parameter for parameter in plugin.parameters.values()}
    for name, share in job.get("parameters", {}).items():
        by_name[name].raw_value = share
    began = time.monotonic()
    y = plugin.process(x, job["rate"], buffer_size=job["block"], reset=True)
    seconds = time.monotonic() - began
    if job.get("save_state"):
        Path(job["save_state"]).write_bytes(plugin.raw_state)
    told = {"latency": int(plugin.reported_latency_samples), "parameters": list(by_name), "seconds": seconds}
    return y, told


def in_minihost(job: Job, x: Floats) -> Played:
    """Plain blocks, nothing compensated."""
    import minihost

    block, rate = job["block"], job["rate"]
    plugin = minihost.Plugin(
        job["plugin"], sample_rate=rate, max_block_size=block, in_channels=len(x), out_channels=len(x)
    )
    if job.get("state"):
        plugin.set_state(Path(job["state"]).read_bytes())
    for name, share in job.get("parameters", {}).items():
        plugin.set_param_by_name(name, share)
    y = np.zeros_like(x)
    began = time.monotonic()
    for at in range(0, x.shape[1], block):
        if job.get("realtime"):
            time.sleep(max(0.0, began + (at + block) / rate - time.monotonic()))
        n = min(block, x.shape[1] - at)
        piece = np.zeros((len(x), n), np.float32)
        plugin.process(np.ascontiguousarray(x[:, at : at + n]), piece)
        y[:, at : at + n] = piece
    seconds = time.monotonic() - began
    if job.get("save_state"):
        Path(job["save_state"]).write_bytes(plugin.get_state())
    # Asked after playing: LV2 plugins tell their latency while they run.
    names = [plugin.get_param_info(i)["name"] for i in range(plugin.num_params)]
    return y, {"latency": int(plugin.latency_samples), "parameters": names, "seconds": seconds}


def in_dawdreamer(job: Job, x: Floats) -> Played:
    """Renders as fast as it goes, nothing compensated."""
    import dawdreamer

    engine = dawdreamer.RenderEngine(job["rate"], job["block"])
    plugin = engine.make_plugin_processor("plugin", job["plugin"])
    described = plugin.get_plugin_parameters_description()
    index = {parameter["name"]: parameter["index"] for parameter in described}
    for name, share in job.get("parameters", {}).items():
        plugin.set_parameter(index[name], share)
    engine.load_graph([(engine.make_playback_processor("input", x), []), (plugin, ["input"])])
    latency = int(plugin.get_latency_samples())
    began = time.monotonic()
    engine.render(x.shape[1] / job["rate"])
    seconds = time.monotonic() - began
    return engine.get_audio(), {"latency": latency, "parameters": list(index), "seconds": seconds}


HOSTS = {"pedalboard": in_pedalboard, "minihost": in_minihost, "dawdreamer": in_dawdreamer}


def main() -> None:
    host, job = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
    x = np.fromfile(job["input"], np.float32).reshape(-1, job["channels"]).T
    y, told = HOSTS[host](job, np.ascontiguousarray(x))
    np.ascontiguousarray(y.T, dtype=np.float32).tofile(job["output"])
    print(json.dumps({"host": host, "version": version(host), **told}))


if __name__ == "__main__":
    main()
