#include "rtbridge/launch.h"

#if defined(_WIN32)
#include <windows.h>

#include <vector>
#else
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

namespace rtbridge {

#if defined(_WIN32)

bool launch(const std::string& command) noexcept {
  std::vector<char> line(command.begin(), command.end());
  line.push_back('\0');
  STARTUPINFOA startup{};
  startup.cb = sizeof startup;
  PROCESS_INFORMATION process{};
  if (!CreateProcessA(nullptr, line.data(), nullptr, nullptr, FALSE, CREATE_NO_WINDOW | DETACHED_PROCESS, nullptr,
                      nullptr, &startup, &process))
    return false;
  CloseHandle(process.hThread);
  CloseHandle(process.hProcess);
  return true;
}

#else

bool launch(const std::string& command) noexcept {
  const char* const line = command.c_str();
  const long files = sysconf(_SC_OPEN_MAX);
  const pid_t child = fork();
  if (child < 0) return false;
  if (child == 0) {
    // Only calls that are safe after a fork in a program with threads. The grandchild belongs to nobody here.
    setsid();
    if (const pid_t grandchild = fork(); grandchild != 0) _exit(grandchild < 0 ? 1 : 0);
    const int nothing = open("/dev/null", O_RDWR);
    for (int fd = 0; fd < 3; ++fd) dup2(nothing, fd);
    for (long fd = 3; fd < (files > 0 && files < 65536 ? files : 65536); ++fd) close(static_cast<int>(fd));
    sigset_t all;
    sigemptyset(&all);
    sigprocmask(SIG_SETMASK, &all, nullptr);
    execl("/bin/sh", "sh", "-c", line, static_cast<char*>(nullptr));
    _exit(127);
  }
  int status = 0;
  return waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

#endif

}  // namespace rtbridge
