// The training kernels for AVX-512.
#if defined(__x86_64__) || defined(_M_X64)
#include "cpu/simd_avx512.h"
//
namespace {
constexpr int kSums = 24;  // registers that hold sums
}
#include "training/kernels_vector.h"

namespace rttraining {
extern const Kernels kAvx512Kernels{kWidth,        accumulate, gate,    gate_gradient, relu,
                                    relu_gradient, add_rows,   softmax, draw,          softmax_gradient};
}
#endif
