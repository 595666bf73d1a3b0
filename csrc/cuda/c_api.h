/* The GPU engine behind plain C, for programs that load it as a library of its own (benchmarks/cuda.py, tests/cuda).
 * Functions that can fail return 0 or null, and rtcuda_error() says why, for the calling thread. */
#pragma once
#include <stdint.h>

#if defined(_WIN32)
#define RTCUDA_API __declspec(dllexport)
#else
#define RTCUDA_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rtcuda_decoder rtcuda_decoder;
typedef struct rtcuda_slot rtcuda_slot;

RTCUDA_API const char* rtcuda_error(void);
RTCUDA_API int rtcuda_device_count(void);

/* config: blocks, layers a block, residual, skip and latent channels, hop samples, prediction order. tensors: `count`
 * float32 arrays by name, with `dimensions[i]` sizes each, all in a row in `shapes`. options: device, team blocks (0:
 * as fits), most warps (0: as fits), clusters (0: never). */
RTCUDA_API rtcuda_decoder* rtcuda_open(const int* config, int count, const char* const* names,
                                       const float* const* tensors, const int* dimensions, const int64_t* shapes,
                                       const char* precision, const int* options);
RTCUDA_API void rtcuda_close(rtcuda_decoder* decoder);
/* team blocks, warps, channels, teams at once, clustered, resident records, records, slots in one launch; then
 * weight bytes and bytes of a slot. */
RTCUDA_API void rtcuda_describe(const rtcuda_decoder* decoder, int64_t* out10, char* name, int name_bytes);

RTCUDA_API int rtcuda_logits(rtcuda_decoder* decoder, const float* latents, const uint8_t* codes, int64_t samples,
                             float* out);

RTCUDA_API rtcuda_slot* rtcuda_slot_open(rtcuda_decoder* decoder, uint64_t seed, float temperature);
RTCUDA_API void rtcuda_slot_reset(rtcuda_slot* slot, uint64_t seed);
RTCUDA_API void rtcuda_slot_temperature(rtcuda_slot* slot, float temperature);
RTCUDA_API void rtcuda_slot_close(rtcuda_slot* slot);
/* latents [count, L] begin a hop, or null: the hop goes on. codes [count, n]. */
RTCUDA_API int rtcuda_generate(rtcuda_slot* const* slots, int count, const float* latents, uint8_t* codes, int n);

/* Emulation only (0 otherwise): seed of the schedule, planted fault (see emulation.h). */
RTCUDA_API int rtcuda_emulate(uint32_t seed, int fault);

#ifdef __cplusplus
}
#endif
