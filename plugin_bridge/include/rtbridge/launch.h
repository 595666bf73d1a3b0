// Starts a program that outlives its starter and shares nothing with it: no window, no terminal, no open files.
#pragma once
#include <string>

namespace rtbridge {

// [control thread] As a shell would run the command line. False if it could not even be started.
bool launch(const std::string& command) noexcept;

}  // namespace rtbridge
