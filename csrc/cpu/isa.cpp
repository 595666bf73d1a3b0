#include "cpu/isa.h"

#include <cstdlib>
#include <stdexcept>

#if defined(_MSC_VER) && defined(_M_X64)
#include <immintrin.h>
#include <intrin.h>
#elif defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(_M_ARM64)
#include <windows.h>
#endif

namespace rtengine {
namespace {

struct Features {
  bool neon = false, neondot = false;
  bool avx2 = false, avxvnni = false, avx512 = false, avx512vnni = false;
};

#if defined(_MSC_VER) && defined(_M_X64)
Features detect() {
  int r[4];
  __cpuid(r, 0);
  if (r[0] < 7) return {};
  __cpuid(r, 1);
  const bool fma = r[2] & (1 << 12), xsave = r[2] & (1 << 27);
  if (!xsave) return {};
  const unsigned long long state = _xgetbv(0);
  __cpuidex(r, 7, 0);
  const unsigned wanted = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;  // F, DQ, BW, VL
  const unsigned ebx = static_cast<unsigned>(r[1]), ecx = static_cast<unsigned>(r[2]);
  const int subleaves = r[0];
  Features f;
  f.avx2 = fma && (ebx & 1u << 5) && (state & 0x6) == 0x6;
  f.avx512 = f.avx2 && (ebx & wanted) == wanted && (state & 0xE6) == 0xE6;
  f.avx512vnni = f.avx512 && (ecx & 1u << 11);
  if (f.avx2 && subleaves >= 1) {
    __cpuidex(r, 7, 1);
    f.avxvnni = r[0] & (1 << 4);
  }
  return f;
}
#elif defined(__x86_64__)
Features detect() {  // the compiler's check includes that the operating system saves the registers
  Features f;
  f.avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  f.avx512 = f.avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
             __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
  f.avx512vnni = f.avx512 && __builtin_cpu_supports("avx512vnni");
  unsigned a, b, c, d;
  f.avxvnni = f.avx2 && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & 1u << 4);
  return f;
}
#elif defined(__aarch64__) || defined(_M_ARM64)
Features detect() {
  Features f;
  f.neon = true;  // every processor of this architecture has it
#if defined(__linux__)
  constexpr unsigned long kDotProducts = 1ul << 20;  // HWCAP_ASIMDDP
  f.neondot = getauxval(AT_HWCAP) & kDotProducts;
#elif defined(__APPLE__)
  int found = 0;
  std::size_t size = sizeof found;
  f.neondot = sysctlbyname("hw.optional.arm.FEAT_DotProd", &found, &size, nullptr, 0) == 0 && found;
#elif defined(_M_ARM64)
  constexpr DWORD kDotProducts = 43;  // PF_ARM_V82_DP_INSTRUCTIONS_AVAILABLE
  f.neondot = IsProcessorFeaturePresent(kDotProducts);
#endif
  return f;
}
#else
Features detect() { return {}; }
#endif

}  // namespace

const char* isa_name(Isa isa) noexcept {
  switch (isa) {
    case Isa::kNeon:
      return "neon";
    case Isa::kNeonDot:
      return "neondot";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvxVnni:
      return "avxvnni";
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAvx512Vnni:
      return "avx512vnni";
    default:
      return "scalar";
  }
}

std::vector<Isa> available_isas() {
  static const Features features = detect();
  std::vector<Isa> isas{Isa::kScalar};
  if (features.neon) isas.push_back(Isa::kNeon);
  if (features.neondot) isas.push_back(Isa::kNeonDot);
  if (features.avx2) isas.push_back(Isa::kAvx2);
  if (features.avxvnni) isas.push_back(Isa::kAvxVnni);
  if (features.avx512) isas.push_back(Isa::kAvx512);
  if (features.avx512vnni) isas.push_back(Isa::kAvx512Vnni);
  return isas;
}

Isa choose_isa(const std::string& name) {
  std::string wanted = name, source = "isa";
  if (name == "auto") {
    const char* forced = std::getenv("RTSERVER_ISA");
    if (!forced || !*forced) return available_isas().back();
    wanted = forced;
    source = "RTSERVER_ISA";
  }
  std::string expected;
  for (const Isa isa : available_isas()) {
    if (wanted == isa_name(isa)) return isa;
    expected += (expected.empty() ? "" : ", ") + std::string(isa_name(isa));
  }
  throw std::invalid_argument(source + ": expected one that this processor has (" + expected + "), found \"" + wanted +
                              "\"");
}

bool amx_bf16() {
#if defined(__x86_64__) && defined(__linux__)
  static const bool allowed = [] {
    constexpr unsigned kBf16 = 1u << 22, kTiles = 1u << 24;  // leaf 7, edx
    constexpr unsigned kConvert = 1u << 5;                   // its subleaf 1, eax: AVX512-BF16
    constexpr long kAskFor = 0x1023, kTileData = 18;         // ARCH_REQ_XCOMP_PERM, XTILEDATA
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d & kBf16) || !(d & kTiles)) return false;
    if (!__get_cpuid_count(7, 1, &a, &b, &c, &d) || !(a & kConvert)) return false;
    return syscall(SYS_arch_prctl, kAskFor, kTileData) == 0;
  }();
  return allowed;
#else
  return false;
#endif
}

Isa float_isa(Isa isa) noexcept {
  if (isa == Isa::kAvx512Vnni) return Isa::kAvx512;
  if (isa == Isa::kAvxVnni) return Isa::kAvx2;
  if (isa == Isa::kNeonDot) return Isa::kNeon;
  return isa;
}

Isa integer_isa(Isa isa) noexcept { return isa == Isa::kAvx512 ? Isa::kAvx2 : isa; }

}  // namespace rtengine
