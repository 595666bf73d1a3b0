// The loops of a decoder's training pass over vectors of one instruction set. All matrices are row-major float32, time
// in rows and channels in columns; numbers of columns are multiples of `width`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace rttraining {

// a [rows, depth] as it lies in memory: element (i, j) is at data[i * row_step + j * depth_step]. So a matrix and its
// transpose are the same to `accumulate`.
struct Factor {
  const float* data;
  std::ptrdiff_t row_step, depth_step;
};

struct Kernels {
  int width;  // floats in a vector

  // c [rows, columns] += a [rows, depth] b [depth, columns]; c_step, b_step: floats from row to row.
  void (*accumulate)(float* c, std::ptrdiff_t c_step, int rows, int columns, Factor a, int depth, const float* b,
                     std::ptrdiff_t b_step);
  // gates, contents and z [rows, r] from pre-activations [rows, 2r]: sigmoid, tanh, and their product.
  void (*gate)(const float* preactivation, int rows, int r, float* gates, float* contents, float* z);
  // Gradients of pre-activations [rows, 2r] from those of z [rows, r]; and z anew.
  void (*gate_gradient)(const float* dz, const float* gates, const float* contents, int rows, int r,
                        float* dpreactivation, float* z);
  void (*relu)(const float* from, int count, float* to);
  // `from` where `through` is above 0, and 0 elsewhere.
  void (*relu_gradient)(const float* from, const float* through, int count, float* to);
  // to [rows, columns]: `from` and in each row a bias [columns].
  void (*add_to_rows)(const float* from, const float* bias, int rows, int columns, float* to);
  // sum [columns] += the sum of rows [rows, columns].
  void (*add_rows)(const float* rows_of, int rows, int columns, float* sum);
  // Cross-entropy of codes [rows] under logits [rows, 256]: losses [rows] in nats; the logits become its gradients.
  void (*cross_entropy)(float* logits, const std::uint8_t* codes, int rows, float* losses);
  // The same for whole distributions [rows, 256] that are wanted, each of sum 1.
  void (*cross_entropy_soft)(float* logits, const float* wanted, int rows, float* losses);
  // A code for each row of logits [rows, 256], drawn with numbers in [0, 1).
  void (*draw)(const float* logits, const float* uniform, int rows, std::uint8_t* codes);
  // values [rows, columns], each row times its weight of [rows].
  void (*scale_rows)(float* values, const float* weights, int rows, int columns);
};

extern const Kernels kAvx2Kernels, kAvx512Kernels, kAmxKernels;

// Those that an instruction set (see cpu/isa.h) runs, or null: there are none for it. bf16: those whose matrix products
// are of bfloat16; they need AMX, beside AVX-512. Throws std::invalid_argument on a name that is unknown or that this
// processor lacks.
const Kernels* kernels_of(const std::string& isa, bool bf16 = false);

}  // namespace rttraining
