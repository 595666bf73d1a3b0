# Types of the native module. H hops, L latent channels, T samples.
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Engine (csrc/cpu)

CHUNK_SAMPLES: int
MOST_TOGETHER: int  # slots in one call of generate_together
PRECISIONS: tuple[str, ...]  # that a Decoder can have

def available_isas() -> list[str]:
    """Instruction sets of this processor, best last: of scalar, neon, avx2, avxvnni, avx512, avx512vnni."""

def read_loop_seconds(num_bytes: int, repeats: int) -> float:
    """Median seconds of one read loop over `num_bytes`: the floor of a sample that needs that many bytes of weights."""

def uniform(seed: int, sample: int) -> float:
    """The random number in [0, 1) that a slot of this seed draws for this sample (Philox4x32-10)."""

def predictions(order: int, past: NDArray[np.float32]) -> NDArray[np.float32]:
    """Network inputs float32 [B, T] of what linear prediction makes of past network inputs float32 [B, T] before each.

    order: samples that it looks back, 1 to 1024; ValueError otherwise. See models/prediction.py.
    """

class Decoder:
    """The immutable weights of one domain, shareable between slots and threads.

    config: the fields of DecoderConfig with latent_channels, hop_samples and, optionally, mu_law, emphasis and
    prediction_order.
    weights: C-contiguous float32 arrays, names and shapes as in models.Decoder.state_dict().
    isa: "auto" takes the environment variable RTSERVER_ISA, else the best that the processor has.
    precision: one of PRECISIONS. calibration: float32 [layers, R], what `input_ranges` gives; int8 and int4
    need it. codes: the int4 weights, from -8 to 7, and the scale of each row with inputs in int8 units: now int8
    [layers, 2R, R], residual [layers, R, R], skip [layers, S, R], now_scale float32 [layers, 2R], residual_scale
    [layers, R], skip_scale [layers, S]; int4 needs them.
    Raises ValueError naming what was expected and what was found.
    """

    def __init__(
        self,
        config: dict[str, Any],
        weights: dict[str, NDArray[np.float32]],
        *,
        isa: str = "auto",
        precision: str = "fp32",
        calibration: NDArray[np.float32] | None = None,
        codes: dict[str, NDArray[np.int8] | NDArray[np.float32]] | None = None,
    ) -> None: ...
    @property
    def isa(self) -> str: ...
    @property
    def precision(self) -> str: ...
    @property
    def layers(self) -> int: ...
    @property
    def residual_channels(self) -> int: ...
    @property
    def skip_channels(self) -> int: ...
    @property
    def latent_channels(self) -> int: ...
    @property
    def hop_samples(self) -> int: ...
    @property
    def weight_bytes_per_sample(self) -> int: ...
    def open_slot(self, seed: int = 0, temperature: float = 1.0) -> Slot: ...
    def logits(self, latents: NDArray[np.float32], codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Teacher-forced logits [T, 256] of each code given those before; latents [H, L], codes [T], T <= H * hop."""

    def say(
        self,
        latents: NDArray[np.float32],
        codes: NDArray[np.uint8],
        own: NDArray[np.bool_],
        numbers: NDArray[np.float32],
        temperature: float = 1.0,
    ) -> NDArray[np.uint8]:
        """Codes [T] with those that are its own, bool [T], replaced, one after the other, by what it draws.

        It plays alone for stretches of a signal: each draw is led by those before it. latents, codes: as in `logits`.
        numbers [T] in [0, 1). Raises ValueError as `logits`, and for a temperature that isn't above 0.
        """

    def input_ranges(self, latents: NDArray[np.float32], codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Greatest magnitude [layers, R] of each layer's inputs in the same run; ValueError unless fp32."""

class Slot:
    """One stream through a decoder. Slots are independent; each is used by one thread at a time (RuntimeError)."""

    temperature: float
    @property
    def position(self) -> int: ...
    def reset(self, seed: int) -> None:
        """Back to sample 0; equal to a fresh slot of this seed, apart from the temperature, which stays."""

    def generate(self, latents: NDArray[np.float32]) -> NDArray[np.uint8]:
        """The codes [H * hop] of the next hops; latents [H, L]. Continues the stream. Releases the GIL."""

def generate_together(slots: list[Slot], latents: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Codes [N, H * hop] of the next hops of N slots of one decoder; latents [N, H, L]. The weights are read once.

    N from 1 to MOST_TOGETHER. The bits are those of N calls of Slot.generate.
    """

# GPU (csrc/cuda). Without CUDA in the build there are CUDA_ARCHITECTURES (empty) and cuda_devices (0) alone.

CUDA_ARCHITECTURES: str  # that the module was built for, as CMake names them

def cuda_devices() -> int:
    """GPUs that there are; 0 without a driver."""

class CudaDecoder:
    """As Decoder, on a GPU. precision: fp16, bf16, fp32 or int8 (weights alone; needs no calibration).

    team_blocks: blocks that compute a sample together, a power of two up to 16; 0: as the network and the GPU suggest.
    Raises ValueError for weights or a precision that can't be, RuntimeError where the GPU can't run it.
    """

    def __init__(
        self,
        config: dict[str, Any],
        weights: dict[str, NDArray[np.float32]],
        *,
        precision: str = "fp16",
        device: int = 0,
        team_blocks: int = 0,
    ) -> None: ...
    @property
    def precision(self) -> str: ...
    @property
    def device_name(self) -> str: ...
    @property
    def most_together(self) -> int:
        """Slots in one launch."""

    @property
    def failed(self) -> bool:
        """The device failed, for good; slots give silence."""

    @property
    def layers(self) -> int: ...
    @property
    def residual_channels(self) -> int: ...
    @property
    def skip_channels(self) -> int: ...
    @property
    def latent_channels(self) -> int: ...
    @property
    def hop_samples(self) -> int: ...
    @property
    def weight_bytes_per_sample(self) -> int: ...
    @property
    def slot_bytes(self) -> int: ...
    def open_slot(self, seed: int = 0, temperature: float = 1.0) -> CudaSlot: ...
    def logits(self, latents: NDArray[np.float32], codes: NDArray[np.uint8]) -> NDArray[np.float32]: ...

class CudaSlot:
    """As Slot, on a GPU."""

    temperature: float
    @property
    def position(self) -> int: ...
    def reset(self, seed: int) -> None: ...
    def generate(self, latents: NDArray[np.float32]) -> NDArray[np.uint8]: ...

def cuda_generate_together(slots: list[CudaSlot], latents: NDArray[np.float32]) -> NDArray[np.uint8]:
    """As generate_together, for any number of slots; beyond `most_together` they take several launches."""

# Threads (csrc/stream/audio_thread.h)

def plan_threads(*, highest_priority: int = 99, decoder_cores: list[int] = ..., other_cores: list[int] = ...) -> None:
    """For the native threads that start from now on, of the whole process.

    highest_priority: of SCHED_FIFO that the process may take, 0 for none.
    decoder_cores: a Worker has a render thread on each of them, negative ones on any core; empty: one, on any core.
    other_cores: where intake and sockets run; empty: anywhere.
    """

def lock_memory(on: bool) -> None:
    """Lock what the engine allocates from now on, as far as RLIMIT_MEMLOCK reaches."""

def audio_threads() -> list[dict[str, Any]]:
    """The native threads that run now: id (of the system), name, priority (of SCHED_FIFO, wanted; 0: ordinary), cores.

    cores: where the thread should run once it has that priority; empty: anywhere.
    """

def priority_within(priority: int, highest: int) -> int:
    """A priority of the audio path in a process that may go no higher than `highest`; the order is kept."""

class Encoder:
    """The immutable weights of an encoder, shareable between streams and threads. C channels, L latent channels.

    config: the fields of EncoderConfig, front_end a dictionary, None or left out. weights: C-contiguous float32, named
    and shaped as in models.Encoder.state_dict(). isa: "auto" takes the environment variable RTSERVER_ISA, else the best
    there is. precision: int8, bf16 (here the same as fp32) or fp32. calibration: what `ranges` gives; int8 needs it.
    int8 has the same bits on every instruction set. Behind a front end the precision is fp32 whatever is asked for, and
    every vector set has the same bits. Raises ValueError naming what was expected and what was found.
    """

    def __init__(
        self,
        config: dict[str, Any],
        weights: dict[str, NDArray[np.float32]],
        *,
        isa: str = "auto",
        precision: str = "fp32",
        calibration: dict[str, NDArray[np.float32]] | None = None,
    ) -> None: ...
    @property
    def isa(self) -> str: ...
    @property
    def precision(self) -> str: ...
    @property
    def hop_samples(self) -> int: ...
    @property
    def latent_channels(self) -> int: ...
    @property
    def multiply_adds_per_hop(self) -> int: ...
    def open_stream(self) -> EncoderStream: ...
    def ranges(self, audio: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Greatest magnitudes, [layers, C] each, that network input [T], whole hops, brings: `input` of what each
        layer's dilated convolution reads, and `hidden` of what its mixing one does (not with pre_activation). Empty
        behind a front end.
        ValueError unless fp32."""

class EncoderStream:
    """One stream of hops. Streams are independent; each is used by one thread at a time (RuntimeError)."""

    def reset(self) -> None:
        """Back to the state before the first hop: equal to a fresh stream."""

    def step(self, hop: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """Take the next hop [hop_samples]; give the latent [L] that is now complete, None while there is none.

        Without lookahead it is this hop's. NaN is taken as 0, and values are bounded. Releases the GIL.
        """

    def finish(self) -> list[NDArray[np.float32]]:
        """End the stream; give the latents that were waiting for what comes after. Then only `reset` may follow."""

# Stream (csrc/stream, plugin_bridge): n frames, ch channels; audio is float32, host frames unless said otherwise.

MISS_CAUSES: list[str]

def monotonic_ns() -> int:
    """The clock of heartbeats and stamps: CLOCK_MONOTONIC."""

def resampler_latency(rate_hz: int) -> tuple[int, int]:
    """Half lengths of the filters: (intake, in host frames; output, in 16 kHz samples). Raises ValueError."""

class Resampler:
    """Polyphase resampler between whole rates 8000..384000: zero phase, any partition of the input the same bits."""

    def __init__(self, in_rate_hz: int, out_rate_hz: int) -> None: ...
    def push(self, frames: NDArray[np.float32]) -> NDArray[np.float32]: ...
    def pass_over(self, frames: int) -> int:
        """Input that never comes: what is pushed next is heard that much later, without a seam. Output left out."""

    def flush(self) -> NDArray[np.float32]:
        """The rest, ceil(pushed * out / in) frames in all; then starts anew."""

class Intake:
    """Host frames to hops of network input, synchronously: mean of the channels, 16 kHz, gain, gate, mu-law.

    encoding: "mu_law_rounded" or "mu_law_published" give code / 255 - 0.5, "linear" gives the audio.
    Gain and gate set before the first push hold from the first sample, later ones from the next hop on.
    """

    input_gain_db: float
    gate_db: float
    def __init__(self, rate_hz: int, channels: int, hop_samples: int, encoding: str = "mu_law_rounded") -> None: ...
    def push(self, frames: NDArray[np.float32]) -> None:
        """Frames [n, ch], or [n] when there is one channel. NaN and Inf count as 0."""

    def pop_hop(self) -> NDArray[np.float32] | None: ...
    def finish(self, lookahead_samples: int = 0) -> None:
        """As if silence followed: hops until the translation of every pushed frame can be rendered without flush().

        The hops, and so the translation, are those of a stream that goes on with silence.
        """

class Renderer:
    """Latents to host frames, synchronously. voice None: the latent is the hop of audio (identity16k)."""

    def __init__(
        self,
        rate_hz: int,
        hop_samples: int,
        voice: Decoder | CudaDecoder | None,
        seed: int = 0,
        temperature: float = 1.0,
    ) -> None: ...
    def push(self, latent: NDArray[np.float32]) -> NDArray[np.float32]:
        """The next hop; gives the frames that became ready, frame 0 being aligned with input frame 0."""

    def flush(self) -> NDArray[np.float32]: ...
    def reset(self, seed: int) -> None: ...
    def set_temperature(self, temperature: float) -> None: ...

class Segment:
    """One session's memory (layout.h): POSIX shared memory, unlinked at the latest when its maker lets it go.

    Without a name it is private memory of this process.
    """

    @staticmethod
    def create(
        name: str | None,
        *,
        session: int = 0,
        generation: int = 1,
        sample_rate_hz: int,
        max_block_frames: int,
        channels: int,
        latency: dict[str, int],
        ring_frames: int = 0,
        transport: str = "shm",
    ) -> Segment:
        """latency: LatencyParts.to_dict(). Raises ValueError (geometry) or RuntimeError (no memory, name taken)."""

    @staticmethod
    def open(name: str) -> Segment:
        """Map a server's segment. Raises RuntimeError naming what was found instead."""

    @staticmethod
    def name_for(server_pid: int, session: int, generation: int) -> str: ...
    @staticmethod
    def sweep_stale() -> int:
        """Unlink segments of servers that are no more; how many."""

    @staticmethod
    def unlink_name(name: str) -> None:
        """Remove the name of a segment whose maker has died."""

    @staticmethod
    def layout() -> dict[str, tuple[int, int]]:
        """(offset, bytes) of every header field."""

    @property
    def name(self) -> str: ...
    @property
    def latency(self) -> dict[str, int]: ...
    def unlink(self) -> None:
        """The name goes, mappings stay: to be called once the client has attached."""

    def describe(self) -> dict[str, Any]: ...
    def get(self, field: str) -> int | float: ...
    def set(self, field: str, value: float) -> None: ...
    def recent(self, ring: str, frames: int) -> NDArray[np.float32]:
        """Copies of the newest frames [n, ch] of a ring, "input" or "output", for meters. Disturbs neither side.

        n: what there is of the epoch up to `frames` and to half of the ring; 0 while no epoch runs.
        """

    def header_bytes(self) -> bytes: ...

class Worker:
    """Sessions with their native threads; the encoder is driven by wait_hop and push_latent.

    realtime: take SCHED_FIFO as far as plan_threads() allows; `realtime_granted` says whether it was had.
    """

    def __init__(self, realtime: bool = True) -> None: ...
    @property
    def realtime_granted(self) -> bool: ...
    def open_session(
        self,
        session: int,
        segment: Segment,
        kind: str,
        hop_samples: int = 160,
        lookahead_samples: int = 0,
        encoding: str = "mu_law_rounded",
        voices: list[Decoder] | list[CudaDecoder] = ...,
        seed: int = 0,
        render_thread: int = -1,
    ) -> None:
        """kind: "loopback", "identity16k" (push back each hop as its latent) or "model". Raises ValueError.

        render_thread: index into ensembles() of those that are no bounces; -1: the one with the fewest sessions.
        """

    def wait_hop(self, timeout_ms: int) -> tuple[int, int, int, NDArray[np.float32]] | None:
        """(session, epoch, hop_index, hop) due first; hop_index 0: reset the encoder. One thread calls this."""

    def push_latent(self, session: int, epoch: int, latent: NDArray[np.float32]) -> bool:
        """False: session or epoch gone. Raises ValueError for a latent of another size."""

    def close_session(self, session: int) -> bool: ...
    def sessions(self) -> list[int]: ...
    def stats(self, session: int) -> dict[str, Any]:
        """Client (pid, alive, heartbeat age), epoch, hops, encoder_ns, decoder_ns, misses. Raises KeyError."""

    def ensembles(self) -> list[dict[str, Any]]:
        """The render threads: core (None: any), bounces, sessions, batches, chunks (chunks / batches: how many were
        generated together), busy_ns."""

    def stop(self) -> None: ...

class Bridge:
    """The client's end: blocks in, translated blocks out `latency_frames` later, aligned dry when they are missing.

    attach, detach, heartbeat, set, get may be called from any thread; process, wait_ready, reset from one at a time.
    """

    offline: bool
    offline_deadline_ms: int
    def __init__(
        self, rate_hz: int, max_block_frames: int, channels: int, latency_frames: int, fade_frames: int
    ) -> None: ...
    @property
    def latency_frames(self) -> int: ...
    @property
    def server_alive(self) -> bool: ...
    @property
    def segment(self) -> Segment | None: ...
    def attach(self, segment: Segment) -> None:
        """The next block changes over and starts a new epoch. Raises ValueError for another geometry."""

    def detach(self) -> None: ...
    def heartbeat(self) -> None: ...
    def wait_ready(self, timeout_ms: int) -> bool:
        """Run the handshake now, so that the next block is translated from its first frame."""

    def process(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Any number of frames, [n] or [n, ch]. Raises RuntimeError only when offline and the server is gone."""

    def reset(self) -> None: ...
    def set(self, name: str, value: float) -> None:
        """Clamped to the parameter's range. Raises KeyError (unknown) or ValueError (nan)."""

    def get(self, name: str) -> float: ...
    def params(self) -> dict[str, float]: ...
    def stats(self) -> dict[str, Any]: ...

class BlockDriver:
    """Plays the host: blocks at a sound card's pace from a real-time thread, with a watch on the machine's stalls."""

    def __init__(self, realtime: bool = True) -> None: ...
    def run(self, bridge: Bridge, input: NDArray[np.float32], blocks: int | list[int], rate_hz: int) -> dict[str, Any]:
        """Drive `input` [n] or [n, ch] through the bridge, block sizes in turn. Releases the GIL.

        Gives output (shape of input), round_trip_us (handed in to translation published), lateness_us and process_us
        of the calls, miss_times_ns, miss_frames, miss_causes, machine_stall_times_ns, machine_stalls_ns (over 0.5 ms),
        machine_stall_cores, start_ns, end_ns, realtime_granted.
        """

# Remote audio (csrc/stream/remote_*, plugin_bridge)

def hmac_sha256(key: bytes, data: bytes) -> bytes: ...
def encode_audio(
    kind: str,
    session: int,
    epoch: int,
    frame: int = 0,
    audio: NDArray[np.float32] | None = None,
    *,
    concealed: int = 0,
    offline: bool = False,
    key: bytes | None = None,
    nonce: int = 0,
) -> bytes:
    """A datagram of the audio socket. kind: "epoch", "epoch.reply", "audio" or "audio.reply"."""

def parse_audio(datagram: bytes) -> dict[str, Any] | str:
    """What the datagram says, or the reason for which it is refused. The seal is not checked."""

class AudioSealChecker:
    """Seals as the audio sockets check them: forged, stale or replayed; "" is authentic."""

    def __init__(self, key: bytes, floor_nonce: int = 0) -> None: ...
    def check(self, datagram: bytes, now_us: int) -> str: ...

class JitterBuffer:
    """One direction of a remote stream: packets in any order in, frames in order out, holes concealed."""

    def __init__(self, window_frames: int, jitter_frames: int, fade_frames: int) -> None: ...
    def push(self, frame: int, audio: NDArray[np.float32]) -> str:
        """ "accepted", "late", "duplicate" or "too_far"."""

    def pop(self) -> NDArray[np.float32]:
        """Every frame that is certain by now."""

    def reset(self, next_frame: int) -> None: ...
    @property
    def next_frame(self) -> int: ...
    @property
    def late(self) -> int: ...
    @property
    def duplicates(self) -> int: ...
    @property
    def lost(self) -> int: ...
    @property
    def concealed(self) -> int: ...

class RemoteHub:
    """The server's UDP socket for audio. Plays the client's part on the private segments of remote sessions.

    key: every packet must be sealed with it; None only on loopback. Raises RuntimeError if the socket can't be had.
    """

    def __init__(self, host: str, port: int = 0, key: bytes | None = None, realtime: bool = True) -> None: ...
    @property
    def port(self) -> int: ...
    def add(self, session: int, segment: Segment, jitter_frames: int) -> None: ...
    def remove(self, session: int) -> bool: ...
    def stats(self) -> dict[str, Any]:
        """packets_received, packets_sent, and refused: counts by reason."""

    def stop(self) -> None: ...

class RemoteLink:
    """The client's end of remote audio. Plays the server's part on the client's private segment.

    Raises RuntimeError if the server's address is not known.
    """

    def __init__(
        self,
        segment: Segment,
        server_host: str,
        server_port: int,
        session: int,
        key: bytes | None = None,
        jitter_frames: int = 0,
    ) -> None: ...
    def stats(self) -> dict[str, int]: ...
    def stop(self) -> None:
        """The bridge sees a server that has left."""

# Live (csrc/live)

class LivePath:
    """What `rtserver live` does between a sound card's buffers and a session, for a driver's thread to call.

    A driver that calls the functions at the addresses (PaStreamCallback) with user_data needs no interpreter. The
    bridge has the same rate and channels and takes blocks of max_block; it belongs to the path until that is gone.
    first_input: of the device's channels, the first that is used. drift_target: two devices with a ring between, in
    which so many frames wait; 0: one device. Raises ValueError for what doesn't fit, RuntimeError if the bridge is in
    use.
    """

    def __init__(
        self,
        bridge: Any,
        *,
        rate_hz: int,
        max_block: int,
        channels: int = 1,
        input_channels: int = 1,
        first_input: int = 0,
        output_channels: int = 2,
        drift_target: int = 0,
    ) -> None: ...
    @property
    def duplex_address(self) -> int: ...
    @property
    def capture_address(self) -> int: ...
    @property
    def playback_address(self) -> int: ...
    @property
    def user_data(self) -> int: ...
    def duplex(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the driver would do: [n, input_channels] in, [n, output_channels] out. For tests."""

    def capture(self, frames: NDArray[np.float32]) -> None: ...
    def playback(self, count: int) -> NDArray[np.float32]: ...
    def switch_to(self, bridge: Any) -> bool:
        """Go over to another session by playing both until the new one has caught up; False while that goes on."""

    @property
    def settled(self) -> bool:
        """Whether no such change is under way."""

    def panic(self) -> None:
        """Silence within the next block; the network begins anew, and sound returns a quarter of a second later."""

    def restart_drift(self) -> None: ...
    def set_drift_target(self, frames: int) -> None: ...
    def set_recording(self, on: bool) -> None: ...
    def set_guard(self, on: bool) -> None: ...
    muted: bool
    def take(self, most: int) -> NDArray[np.float32]:
        """Recorded frames that are ready, [n, channels + heard outputs]: dry beside wet."""

    def last_input(self, count: int) -> NDArray[np.float32]: ...
    def call_log(self) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """When the driver called (CLOCK_MONOTONIC ns) and up to which frame; the first 4096 calls."""

    def capture_log(self) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]: ...
    def counted(self) -> dict[str, Any]:
        """Counters and states; reading changes nothing."""

    def stats(self) -> dict[str, Any]:
        """The same, and levels (0 to 1) and extremes since the last call."""

class FeedbackGuard:
    """For tests: hear a block, take gains for what goes out, tell what went out. Mono float32 [n]."""

    def __init__(self, rate_hz: int) -> None: ...
    def heard(self, frames: NDArray[np.float32]) -> None: ...
    def gains(self, count: int) -> NDArray[np.float32]: ...
    def played(self, frames: NDArray[np.float32]) -> None: ...
    def set_enabled(self, on: bool) -> None: ...
    @property
    def howls(self) -> int: ...
    @property
    def probes(self) -> int: ...
    @property
    def gain_db(self) -> float: ...

class DriftRing:
    """For tests: frames [n, channels] from one clock to another; target: frames from hearing to reading."""

    def __init__(self, channels: int, rate_hz: int, target: int) -> None: ...
    def push(self, frames: NDArray[np.float32], now_ns: int) -> None: ...
    def pull(self, count: int, now_ns: int, channels: int = 1) -> NDArray[np.float32]: ...
    def stats(self) -> dict[str, Any]:
        """starved, skips, lost, ppm, waiting, target."""

def limit(frames: NDArray[np.float32], rate_hz: int) -> NDArray[np.float32]:
    """The limiter over mono float32 [n]."""

# Training (csrc/training). B segments of T samples, H hops, N layers, R residual and S skip channels

class DecoderPass:
    """One decoder's training pass on the CPU: losses of codes and their gradients.

    weights: the arrays of models.Decoder without the biases of gated convolutions and of the output, which are part of
    the conditioning, in the order input, input_bias, input_skip, input_skip_bias, of each layer dilated, residual,
    residual_bias, skip and skip_bias, output, logits, logits_bias. isa: as in Decoder. bfloat16: matrix products are of
    bfloat16, their sums of float32; that needs AMX. Raises ValueError if an array or a size doesn't fit, or where there
    are no kernels: they are for AVX2 and AVX-512.
    """

    def __init__(
        self,
        *,
        residual_channels: int,
        skip_channels: int,
        dilations: list[int],
        hop_samples: int,
        batch: int,
        samples: int,
        isa: str = "auto",
        bfloat16: bool = False,
    ) -> None: ...
    @staticmethod
    def has_bfloat16(isa: str = "auto") -> bool:
        """Whether this processor has what `bfloat16` needs."""

    @staticmethod
    def width(isa: str = "auto") -> int:
        """Channels must be multiples of this; 0 where this processor has no kernels."""

    def forward(
        self,
        weights: list[NDArray[np.float32]],
        conditioning: NDArray[np.float32],
        output_conditioning: NDArray[np.float32],
        past: NDArray[np.float32],
        wanted: NDArray[np.uint8] | NDArray[np.float32],
        ahead: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Cross-entropy [B, T] in nats given past network inputs [B, T] (shifted in here), conditioning [N, B, H, 2R]
        and output_conditioning [B, H, S]. wanted: codes [B, T], or distributions [B, T, 256]. ahead: network inputs
        [B, T] of what is predicted, not shifted; codes are classes then. Keeps what `backward` needs."""

    def backward(
        self, weights: list[NDArray[np.float32]], dlosses: NDArray[np.float32]
    ) -> tuple[list[NDArray[np.float32]], NDArray[np.float32], NDArray[np.float32]]:
        """Gradients of the last `forward`, once: those of the weights, of the conditioning and of the output's."""

    def draw(
        self,
        weights: list[NDArray[np.float32]],
        conditioning: NDArray[np.float32],
        output_conditioning: NDArray[np.float32],
        past: NDArray[np.float32],
        uniform: NDArray[np.float32],
        ahead: NDArray[np.float32] | None = None,
    ) -> NDArray[np.uint8]:
        """Codes [B, T] drawn from what `forward` would say, with numbers in [0, 1) [B, T]."""

    def logits(
        self,
        weights: list[NDArray[np.float32]],
        conditioning: NDArray[np.float32],
        output_conditioning: NDArray[np.float32],
        past: NDArray[np.float32],
        ahead: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Logits [B, T, 256] of what `forward` would say."""
