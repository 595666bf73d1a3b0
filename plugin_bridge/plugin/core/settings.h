// Where the server is: what belongs to a machine, not to a session of a host. Read from plugin.conf in the user's
// configuration folder, then from the environment, which wins.
//
//   host = 127.0.0.1          RTSERVER_HOST
//   port = 9000               RTSERVER_PORT
//   key = correct horse       RTSERVER_KEY
//   transport = shm           or osc, which other machines always use
//   jitter_ms = 20
//   start_server = rtserver --model piano.pt      nothing is started by default
#pragma once
#include <string>
#include <string_view>

#include "rtbridge/control_client.h"

namespace rtplugin {

// [main thread] Wrong lines are passed over.
rtbridge::ServerAddress read_settings();
void read_settings_text(std::string_view text, rtbridge::ServerAddress& address);
std::string settings_path();  // "" where there is no home

}  // namespace rtplugin
