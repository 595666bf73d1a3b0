#include "stream/mu_law.h"

#include <algorithm>
#include <cmath>

namespace rtstream {
namespace {
double expand(double companded) {
  return std::copysign((std::pow(256.0, std::abs(companded)) - 1.0) / 255.0, companded);
}
}  // namespace

MuLaw::MuLaw(Encoding encoding) {
  const bool rounded = encoding != Encoding::kMuLawPublished;
  // scaled = (companded + 1) * 127.5; rounded: code = floor(scaled + 0.5), published: floor(scaled).
  for (int code = 1; code < 256; ++code)
    thresholds_[code - 1] = static_cast<float>(expand((code - (rounded ? 0.5 : 0.0)) / 127.5 - 1.0));
  for (int code = 0; code < 256; ++code)
    audio_[code] = static_cast<float>(expand(rounded ? 2.0 * code / 255.0 - 1.0 : (code - 128.0) / 128.0));
}

uint8_t MuLaw::encode(float audio) const noexcept {
  return static_cast<uint8_t>(std::upper_bound(thresholds_.begin(), thresholds_.end(), audio) - thresholds_.begin());
}

}  // namespace rtstream
