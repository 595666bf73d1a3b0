"""The kernel, in emulation, against the engine on the CPU: whatever the shape of the team and the order of events."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks import cuda_reference
from benchmarks.cuda_library import DeviceError, Library, generate_together
from rtserver import _engine
from rtserver.model_config import DecoderConfig
from tests.cuda.conftest import Network

TOLERANCE = 2e-5  # float32, mail of 23 bits: 4e-6 is typical for logits that span 20
SMALL = DecoderConfig(2, 3, 16, 24)
PREDICTIVE = DecoderConfig(1, 3, 16, 24, prediction_order=37)
CLUSTERS, NO_CLUSTERS = 0, 1  # emulated devices
SHUFFLED = 11


def cpu(network: Network, precision: str = "fp32") -> _engine.Decoder:
    return _engine.Decoder(network.config, network.weights, isa="scalar", precision=precision)


@pytest.mark.parametrize(
    ("decoder", "samples", "options"),
    [
        (SMALL, 70, {"team_blocks": 1}),
        (SMALL, 70, {"team_blocks": 4}),
        (SMALL, 70, {"team_blocks": 4, "device": NO_CLUSTERS}),
        (DecoderConfig(1, 6, 37, 53), 70, {"team_blocks": 8, "device": NO_CLUSTERS}),
        (DecoderConfig(1, 1, 1, 1), 20, {"team_blocks": 2}),
        (DecoderConfig(1, 3, 70, 30), 24, {"team_blocks": 2}),  # two groups of columns
        (DecoderConfig(1, 2, 20, 150), 12, {"team_blocks": 4, "most_warps": 16}),  # more than are read ahead
        (PREDICTIVE, 350, {"team_blocks": 1}),  # three sets of coefficients
        (PREDICTIVE, 350, {"team_blocks": 2, "device": NO_CLUSTERS}),
    ],
)
@pytest.mark.parametrize("seed", [0, SHUFFLED])
def test_logits_are_the_cpus(
    library: Library, decoder: DecoderConfig, samples: int, options: dict[str, Any], seed: int
) -> None:
    network = Network.random(decoder)
    latents, codes = network.latents(-(-samples // 20)), network.codes(samples)
    expected = cpu(network).logits(latents, codes)
    assert np.ptp(expected) > 0.5
    library.emulate(seed)
    assert np.abs(network.on(library, **options).logits(latents, codes) - expected).max() < TOLERANCE


def test_team_and_schedule_leave_the_bits_alone(library: Library) -> None:
    network = Network.random(SMALL)
    latents, codes = network.latents(3), network.codes(60)
    expected = network.on(library, team_blocks=1).logits(latents, codes)
    for seed in range(1, 5):
        library.emulate(seed)
        decoder = network.on(library, team_blocks=2 << seed % 2, most_warps=2 + seed % 4, device=seed % 3 // 2)
        np.testing.assert_array_equal(decoder.logits(latents, codes), expected)


@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8"])
def test_logits_are_those_of_rounded_weights(library: Library, precision: str) -> None:
    network = Network.random(SMALL)
    latents, codes = network.latents(3), network.codes(60)
    found = network.on(library, precision, team_blocks=4).logits(latents, codes)
    expected = cuda_reference.logits(network.config, network.weights, precision, latents, codes)
    assert np.abs(found - expected).max() < TOLERANCE
    exact = cpu(network).logits(latents, codes)
    off = np.abs(found - exact).max() / np.ptp(exact)
    assert 1e-5 < off < {"fp16": 5e-4, "bf16": 4e-3, "int8": 8e-3}[precision]


def test_codes_follow_the_logits(library: Library) -> None:
    """Free-running: the most probable class, or the inverse cumulative softmax at the CPU's random number."""
    network = Network.random(SMALL)
    latents = network.latents(4)
    library.emulate(SHUFFLED)
    decoder = network.on(library, team_blocks=2)
    greedy = decoder.open_slot(1, 0.0).generate(latents)
    np.testing.assert_array_equal(greedy, decoder.logits(latents, greedy).argmax(axis=1))

    seed, temperature = 2**63 + 7, 0.7
    codes = decoder.open_slot(seed, temperature).generate(latents, chunk=16)
    assert len(set(codes.tolist())) > 10
    scaled = decoder.logits(latents, codes).astype(np.float64) / temperature
    upto = np.cumsum(np.exp(scaled - scaled.max(axis=1, keepdims=True)), axis=1)
    upto /= upto[:, -1:]
    for t, code in enumerate(codes):
        u = _engine.uniform(seed, t)
        assert (upto[t, code - 1] if code else 0.0) - 1e-5 < u < upto[t, code] + 1e-5

    # Sums of rounding errors may move a code to its neighbour one day; here they don't for as long as this.
    expected = cpu(network).open_slot(seed, temperature).generate(latents)
    np.testing.assert_array_equal(codes[:20], expected[:20])


def test_codes_of_a_predictive_decoder_are_the_cpus(library: Library) -> None:
    """Past the first renewal of its coefficients: what it hears and says is led by what it said."""
    network = Network.random(PREDICTIVE)
    latents = network.latents(17)
    expected = cpu(network).open_slot(5, 0.7).generate(latents)
    found = network.on(library, team_blocks=2).open_slot(5, 0.7).generate(latents, chunk=16)
    assert len(set(expected.tolist())) > 10
    np.testing.assert_array_equal(found[:200], expected[:200])  # later, roundings may tell


@pytest.mark.parametrize("shape", [SMALL, PREDICTIVE], ids=["plain", "predictive"])
def test_company_and_chunks_leave_the_bits_alone(library: Library, shape: DecoderConfig) -> None:
    """Slots alone and several together, opened, reset and closed in between, in launches of any size."""
    network = Network.random(shape, hop=10)
    decoder = network.on(library, "fp16", team_blocks=4)
    assert decoder.facts.most_teams == 2  # so that five are three on a team and two on the other, and stand-ins
    latents = network.latents(3, 7)
    alone = [decoder.open_slot(seed).generate(latents[seed]) for seed in range(7)]
    library.emulate(SHUFFLED)
    slots = [decoder.open_slot(seed) for seed in range(7)]
    found: list[list[np.ndarray]] = [[] for _ in slots]
    for hop, chunk in ((0, 0), (1, 3), (2, 10)):
        for part in (range(2), range(2, 7)):
            codes = generate_together(library, [slots[i] for i in part], latents[part, hop : hop + 1], chunk)
            for i, row in zip(part, codes, strict=True):
                found[i].append(row)
        decoder.open_slot(99).generate(latents[0, :1])  # comes and goes
    for one, parts in zip(alone, found, strict=True):
        np.testing.assert_array_equal(np.concatenate(parts), one)
    slots[5].reset(2)
    np.testing.assert_array_equal(slots[5].generate(latents[2]), alone[2])


@pytest.mark.parametrize("fault", [1, 2], ids=["no block barrier", "no waiting"])
def test_planted_faults_are_found(library: Library, fault: int) -> None:
    """The emulation shows a barrier or a wait that is missing: else the tests above would prove little."""
    network = Network.random(SMALL)
    latents = network.latents(2)
    decoder = network.on(library, team_blocks=4)
    expected = decoder.open_slot(1).generate(latents)
    different = 0
    for seed in range(1, 6):
        library.emulate(seed, fault)
        try:
            different += not np.array_equal(decoder.open_slot(1).generate(latents), expected)
        except DeviceError:
            different += 1
            break
    assert different


def test_what_cannot_be_is_refused(library: Library) -> None:
    network = Network.random(SMALL)
    with pytest.raises(DeviceError, match="no emulated device 5"):
        network.on(library, device=5)
    with pytest.raises(DeviceError, match="fp16, bf16, fp32 or int8"):
        network.on(library, "int4")
    network.weights["output.weight"] = network.weights["output.weight"][:, :3]
    with pytest.raises(DeviceError, match=r"expected output\.weight of shape \[24, 24, 1\]"):
        network.on(library)
    loud = Network.random(SMALL)
    loud.weights["logits.weight"][0, 0, 0] = 1e6
    with pytest.raises(DeviceError, match="fp16: expected weights below 65520"):
        loud.on(library, "fp16")
