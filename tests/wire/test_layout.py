"""The shared-memory layout, byte by byte: a description of its own here, held against the C header and golden bytes."""

from __future__ import annotations

import struct

from rtserver import _engine

# field: (offset, struct code). Written from docs/wire.md, not generated from the header.
FIELDS: dict[str, tuple[int, str]] = {
    "magic": (0, "I"),
    "version": (4, "I"),
    "header_bytes": (8, "I"),
    "generation": (12, "I"),
    "session": (16, "Q"),
    "server_pid": (24, "I"),
    "sample_rate_hz": (28, "I"),
    "max_block_frames": (32, "I"),
    "channels": (36, "I"),
    "ring_frames": (40, "I"),
    "input_ring_offset": (44, "I"),
    "output_ring_offset": (48, "I"),
    "total_bytes": (52, "I"),
    "transport": (56, "I"),
    "latency": (64, "8I"),
    "client_pid": (256, "I"),
    "offline": (260, "I"),
    "closed_by_client": (264, "I"),
    "epoch_requested": (268, "I"),
    "epoch_live": (272, "I"),
    "epoch_start_frame": (280, "Q"),
    "client_heartbeat_ns": (288, "Q"),
    "blocks_submitted": (296, "Q"),
    "input_write_frame": (320, "Q"),
    "output_read_frame": (384, "Q"),
    "server_wake": (448, "I"),
    "server_waiting": (452, "I"),
    "closed_by_server": (512, "I"),
    "epoch_ready": (516, "I"),
    "epoch_running": (520, "I"),
    "server_heartbeat_ns": (528, "Q"),
    "input_read_frame": (576, "Q"),
    "output_write_frame": (640, "Q"),
    "client_wake": (704, "I"),
    "client_waiting": (708, "I"),
    "encoded_frame": (712, "Q"),
    "mix": (768, "f"),
    "output_gain_db": (772, "f"),
    "input_gain_db": (776, "f"),
    "gate_db": (780, "f"),
    "temperature": (784, "f"),
    "bypass": (788, "I"),
    "fallback": (792, "I"),
    "decoder": (796, "I"),
    "seed": (800, "Q"),
    "panic": (808, "I"),
    "blocks": (1024, "Q"),
    "misses": (1032, "Q"),
    "misses_by_cause": (1040, "8Q"),
    "hops": (1152, "Q"),
    "encoder_ns": (1160, "Q"),
    "decoder_ns": (1168, "Q"),
    "packets_lost": (1176, "Q"),
    "packets_late": (1184, "Q"),
    "packets_refused": (1192, "Q"),
    "frames_concealed": (1200, "Q"),
    "stamps": (2048, "4096Q"),
}
LATENCY = {"block": 128, "resampling": 257, "lookahead": 0, "hop": 480, "margin": 240, "jitter": 7}
LATENCY |= {"reported": sum(LATENCY.values()), "fade": 48}

# The first 128 bytes of the segment below, its server_pid put to 0: 32-bit words, little-endian.
GOLDEN = bytes.fromhex(
    "52545342 01000000 00000100 03000000"  # "RTSB", version, header_bytes, generation
    "2a00000001000000 00000000 80bb0000"  # session, server_pid, sample_rate_hz
    "80000000 02000000 00800000 00000100"  # max_block_frames, channels, ring_frames, input_ring_offset
    "00000500 00000900 01000000 00000000"  # output_ring_offset, total_bytes, transport, reserved
    "80000000 01010000 00000000 e0010000"  # block, resampling, lookahead, hop
    "f0000000 07000000 58040000 30000000"  # margin, jitter, reported, fade
    "00000000 00000000 00000000 00000000"
    "00000000 00000000 00000000 00000000"
)


def make() -> _engine.Segment:
    return _engine.Segment.create(
        None,
        session=0x1_0000_002A,
        generation=3,
        sample_rate_hz=48000,
        max_block_frames=128,
        channels=2,
        latency=LATENCY,
        ring_frames=32768,
        transport="remote",
    )


def test_every_field_lies_where_it_is_documented() -> None:
    found = _engine.Segment.layout()
    assert found == {name: (offset, struct.calcsize("<" + code)) for name, (offset, code) in FIELDS.items()}


def test_golden_bytes_of_a_new_segment() -> None:
    data = bytearray(make().header_bytes())
    assert len(data) == 2048 + 1024 * 32
    data[24:28] = bytes(4)
    assert bytes(data[:128]) == GOLDEN
    assert not any(data[128:528]) and not any(data[536:768]) and not any(data[812:])
    assert struct.unpack_from("<5f", data, 768) == (1.0, 0.0, 0.0, -90.0, 1.0)


def test_each_field_written_is_read_at_its_offset_and_touches_no_other() -> None:
    for name, (offset, code) in FIELDS.items():
        if len(code) > 1 or name == "magic":
            continue
        segment = make()
        before = segment.header_bytes()
        value = 0.5 if code == "f" else 0x0102030405060708 & (2 ** (8 * struct.calcsize(code)) - 1)
        segment.set(name, value)
        after = segment.header_bytes()
        assert struct.unpack_from("<" + code, after, offset) == (value,) == (segment.get(name),)
        end = offset + struct.calcsize(code)
        assert before[:offset] + before[end:] == after[:offset] + after[end:]


def test_a_block_leaves_its_stamp() -> None:
    segment = make()
    bridge = _engine.Bridge(48000, 128, 2, LATENCY["reported"], LATENCY["fade"])
    bridge.attach(segment)
    import numpy as np

    bridge.process(np.zeros((128, 2), np.float32))
    segment.set("epoch_ready", segment.get("epoch_requested"))
    before = _engine.monotonic_ns()
    bridge.process(np.zeros((100, 2), np.float32))
    end_frame, submitted_ns, published_ns, _ = struct.unpack_from("<4Q", segment.header_bytes(), 2048)
    assert (end_frame, published_ns) == (228, 0)
    assert before <= submitted_ns <= _engine.monotonic_ns()
    assert segment.get("blocks_submitted") == 1
    assert (segment.get("epoch_start_frame"), segment.get("input_write_frame")) == (128, 228)
