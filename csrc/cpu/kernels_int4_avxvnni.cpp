// The int4 kernels for AVX-VNNI: the loops of AVX2 with a single instruction for a dot product.
#if defined(__x86_64__) || defined(_M_X64)
#define RTENGINE_AVXVNNI
#ifndef RTENGINE_DPBUSD
#define RTENGINE_DPBUSD _mm256_dpbusd_avx_epi32
#endif
#include "cpu/int8_avx2.h"
//
#include "cpu/weights_nibbles.h"
//
#include "cpu/kernels_integer_vector.h"

namespace rtengine {
extern const IntegerKernels kAvxVnniInt4Kernels{
    Int8::kOffset, Weights::kInputOffset, Int8::kTileUnits, Int8::kInverts, begin_hop, step, sample, most_probable};
}
#endif
