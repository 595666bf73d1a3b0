// The kernels of an encoder that runs once a hop, for any processor: a vector of one number, a product and a sum
// rounded one after the other.
namespace {

struct Simd {
  using Float = float;
  static constexpr int kWidth = 1;
  static Float zero() { return 0.0f; }
  static Float broadcast(float x) { return x; }
  static Float load(const float* p) { return *p; }
  static void store(float* p, Float x) { *p = x; }
  static Float add(Float a, Float b) { return a + b; }
  static Float multiply(Float a, Float b) { return a * b; }
  static Float multiply_add(Float a, Float b, Float c) { return a * b + c; }
};

}  // namespace

#include "cpu/hop_kernels_vector.h"

namespace rtengine {
extern const HopKernels kScalarHopKernels{kWidth, product, filters};
}
