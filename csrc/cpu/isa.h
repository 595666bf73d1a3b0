// The instruction sets the engine was built for and this processor has; which one to use.
#pragma once

#include <string>
#include <vector>

namespace rtengine {

enum class Isa { kScalar, kNeon, kNeonDot, kAvx2, kAvxVnni, kAvx512, kAvx512Vnni };

const char* isa_name(Isa isa) noexcept;

// Best last; the scalar reference is always there.
std::vector<Isa> available_isas();

// "auto" takes the environment variable RTSERVER_ISA if set, else the best. Throws std::invalid_argument on a name that
// is unknown or that this processor lacks.
Isa choose_isa(const std::string& name);

// Whether matrix products of bfloat16 can be left to AMX: the processor has it, and the operating system lets this
// process use its registers, which it asks for.
bool amx_bf16();

// The set whose kernels a processor with `isa` runs: integer and float kernels exist for some sets only.
Isa float_isa(Isa isa) noexcept;
Isa integer_isa(Isa isa) noexcept;

}  // namespace rtengine
