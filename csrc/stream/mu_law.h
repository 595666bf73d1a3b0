// Mu-law companding, the same codes as models/mu_law.py. Encoding compares with 255 thresholds, so that a code never
// depends on the precision of a logarithm.
#pragma once
#include <array>
#include <cstdint>

namespace rtstream {

enum class Encoding { kMuLawRounded, kMuLawPublished, kLinear };

class MuLaw {
 public:
  explicit MuLaw(Encoding encoding);  // rounded or published
  uint8_t encode(float audio) const noexcept;
  float decode(uint8_t code) const noexcept { return audio_[code]; }

 private:
  std::array<float, 255> thresholds_;  // audio >= thresholds_[c - 1] has a code of at least c
  std::array<float, 256> audio_;
};

}  // namespace rtstream
