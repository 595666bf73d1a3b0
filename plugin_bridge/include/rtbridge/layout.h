/* The shared-memory layout of one session, included by both sides: the bridge (client: plugin, Python client) and
 * the audio worker (server). Plain C so that any language can check it; `tests/wire` holds its golden bytes.
 *
 * A segment is this header followed by two rings of interleaved float32 host frames, input then output, each
 * `ring_frames * channels` floats, at `input_ring_offset` and `output_ring_offset`. Everything is little-endian.
 * Frame n of the stream lives at ring slot n % ring_frames; indices are absolute and never wrap (64 bits).
 *
 * Every field marked [atomic] is accessed with atomic operations only; every other field is written by the server
 * before `magic` is published (release) and never changes afterwards. Each group has its own cache lines.
 */
#ifndef RTBRIDGE_LAYOUT_H
#define RTBRIDGE_LAYOUT_H

#include <stdint.h>

#define RT_MAGIC 0x42535452u /* "RTSB" */
#define RT_LAYOUT_VERSION 1u
#define RT_HEADER_BYTES 65536u
#define RT_MAX_CHANNELS 2u
#define RT_STAMPS 1024u /* blocks whose times are kept; a power of two */

/* Why a block was not there at its deadline. */
enum rt_miss_cause {
  RT_MISS_STARTING = 0, /* the stream has not been answered yet (first sound, or just reconnected) */
  RT_MISS_HOST = 1,     /* the host asked earlier than its own clock promised: calls in a burst */
  RT_MISS_INTAKE = 2,   /* the worker had not taken the input */
  RT_MISS_ENCODER = 3,  /* taken, not yet encoded */
  RT_MISS_DECODER = 4,  /* encoded, not yet decoded */
  RT_MISS_NETWORK = 5,  /* remote only: packets lost or late */
  RT_MISS_OVERRUN = 6,  /* the input ring was full: the server stalled for longer than the ring holds */
  RT_MISS_SERVER = 7,   /* no server: heartbeat stale or segment closed */
  RT_MISS_CAUSES = 8
};

enum rt_transport { RT_TRANSPORT_SHM = 0, RT_TRANSPORT_REMOTE = 1 };

enum rt_fallback { RT_FALLBACK_DRY = 0, RT_FALLBACK_SILENCE = 1 };

/* The parts of the latency contract, in host frames; reported = their sum. */
typedef struct rt_latency {
  uint32_t block;
  uint32_t resampling; /* in + out */
  uint32_t lookahead;
  uint32_t hop;
  uint32_t margin;
  uint32_t jitter; /* remote only, else 0 */
  uint32_t reported;
  uint32_t fade; /* part of the margin: length of the cross-fade around a miss */
} rt_latency;

/* When a block was handed in and when its translation was complete (CLOCK_MONOTONIC, ns). Slot: block % RT_STAMPS. */
typedef struct rt_stamp {
  uint64_t end_frame;    /* [atomic] one past the block's last frame; written by the client */
  uint64_t submitted_ns; /* [atomic] written by the client, before end_frame (release) */
  uint64_t published_ns; /* [atomic] written by the server when output frames < end_frame are all published; 0 before */
  uint64_t reserved;
} rt_stamp;

typedef struct rt_header {
  /* --- identity: 0 --- */
  uint32_t magic; /* [atomic] last to be written */
  uint32_t version;
  uint32_t header_bytes;
  uint32_t generation; /* counts the segments that the server has made for this session */
  uint64_t session;
  uint32_t server_pid;
  uint32_t sample_rate_hz;
  uint32_t max_block_frames;
  uint32_t channels;           /* 1 or 2, the same in and out */
  uint32_t ring_frames;        /* a power of two */
  uint32_t input_ring_offset;  /* bytes */
  uint32_t output_ring_offset; /* bytes */
  uint32_t total_bytes;
  uint32_t transport; /* rt_transport: who plays the server's part */
  uint32_t reserved0;
  rt_latency latency;
  uint8_t reserved1[160]; /* to 256 */

  /* --- client to server: 256 --- */
  uint32_t client_pid;       /* [atomic] 0 until attached */
  uint32_t offline;          /* [atomic] 1: the client waits for every block (bounce) */
  uint32_t closed_by_client; /* [atomic] 1: the session is over */
  uint32_t epoch_requested;  /* [atomic] see the handshake below */
  uint32_t epoch_live;       /* [atomic] */
  uint32_t reserved2;
  uint64_t epoch_start_frame;   /* [atomic] first frame of the live epoch; written before epoch_live (release) */
  uint64_t client_heartbeat_ns; /* [atomic] */
  uint64_t blocks_submitted;    /* [atomic] index of the next stamp */
  uint8_t reserved3[16];        /* to 320 */
  uint64_t input_write_frame;   /* [atomic] frames < this are in the input ring (release) */
  uint8_t reserved4[56];        /* to 384 */
  uint64_t output_read_frame;   /* [atomic] frames < this will not be read again */
  uint8_t reserved5[56];        /* to 448 */
  uint32_t server_wake;         /* [atomic, futex] bumped after every submitted block; the worker sleeps on it */
  uint32_t server_waiting;      /* [atomic] 1: somebody sleeps, so a bump must be followed by a wake call */
  uint8_t reserved6[56];        /* to 512 */

  /* --- server to client: 512 --- */
  uint32_t closed_by_server; /* [atomic] 1: play dry and connect anew */
  uint32_t epoch_ready;      /* [atomic] */
  uint32_t epoch_running;    /* [atomic] output_write_frame belongs to this epoch */
  uint32_t reserved14;
  uint64_t server_heartbeat_ns; /* [atomic] */
  uint8_t reserved7[40];        /* to 576 */
  uint64_t input_read_frame;    /* [atomic] frames < this may be overwritten (release) */
  uint8_t reserved8[56];        /* to 640 */
  uint64_t output_write_frame;  /* [atomic] frames < this are in the output ring (release) */
  uint8_t reserved9[56];        /* to 704 */
  uint32_t client_wake;         /* [atomic, futex] bumped after every publication; an offline client sleeps on it */
  uint32_t client_waiting;      /* [atomic] */
  uint64_t encoded_frame;       /* [atomic] output frames < this can be rendered from the latents there are */
  uint8_t reserved10[48];       /* to 768 */

  /* --- parameters: 768; whoever sets last wins --- */
  float mix;               /* [atomic] 0 dry .. 1 wet */
  float output_gain_db;    /* [atomic] on the sum, -60..24 */
  float input_gain_db;     /* [atomic] into the network only, -60..24 */
  float gate_db;           /* [atomic] -90 (off) .. 0 */
  float temperature;       /* [atomic] 0 (most likely code) .. 2 */
  uint32_t bypass;         /* [atomic] 1: aligned dry */
  uint32_t fallback;       /* [atomic] rt_fallback */
  uint32_t decoder;        /* [atomic] index into the model's decoders */
  uint64_t seed;           /* [atomic] takes effect at the next epoch */
  uint32_t panic;          /* [atomic] counter: a change silences the wet signal and resets the network */
  uint8_t reserved11[212]; /* to 1024 */

  /* --- statistics: 1024 --- */
  uint64_t blocks;             /* [atomic] client: process calls */
  uint64_t misses;             /* [atomic] client: blocks that were not there */
  uint64_t misses_by_cause[8]; /* [atomic] client */
  uint8_t reserved12[48];      /* to 1152 */
  uint64_t hops;               /* [atomic] server: hops translated */
  uint64_t encoder_ns;         /* [atomic] server: total */
  uint64_t decoder_ns;         /* [atomic] server: total */
  uint64_t packets_lost;       /* [atomic] remote */
  uint64_t packets_late;       /* [atomic] remote */
  uint64_t packets_refused;    /* [atomic] remote: malformed or not authentic */
  uint64_t frames_concealed;   /* [atomic] remote */
  uint8_t reserved13[840];     /* to 2048 */

  /* --- block times: 2048 --- */
  rt_stamp stamps[RT_STAMPS]; /* 32 KiB */
} rt_header;

/* Handshake of an epoch (a stretch of unbroken stream; reset, reconnect and overrun all start a new one):
 *   1. client: epoch_requested = e; keeps playing the aligned dry signal and submits nothing.
 *   2. server: sees e, drops everything of the old epoch, resets the network with `seed`, epoch_ready = e.
 *   3. client: sees epoch_ready == e: sets input_write_frame, output_read_frame, epoch_start_frame to the frame it is
 *      about to submit, epoch_live = e (release), and submits.
 *   4. server: sees epoch_live == e: takes input_read_frame = output_write_frame = epoch_start_frame,
 *      epoch_running = e (release), and runs.
 * The output is a function of the input frames since epoch_start_frame, the seed, the model and the parameters only.
 * The client ignores output_write_frame until epoch_running == e. */

#endif
