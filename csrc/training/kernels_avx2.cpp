// The training kernels for AVX2 with FMA.
#if defined(__x86_64__) || defined(_M_X64)
#include "cpu/simd_avx2.h"
//
namespace {
constexpr int kSums = 12;  // registers that hold sums
}
#include "training/kernels_vector.h"

namespace rttraining {
extern const Kernels kAvx2Kernels{kWidth,        accumulate, gate,    gate_gradient, relu,
                                  relu_gradient, add_rows,   softmax, draw,          softmax_gradient};
}
#endif
