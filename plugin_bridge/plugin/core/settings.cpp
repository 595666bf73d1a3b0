#include "core/settings.h"

#include <cctype>
#include <cstdlib>
#include <fstream>
#include <iterator>

#include "core/parameter_table.h"

namespace rtplugin {
namespace {

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

std::string_view trimmed(std::string_view text) noexcept {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front()))) text.remove_prefix(1);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.remove_suffix(1);
  return text;
}

void apply(std::string_view name, std::string_view value, rtbridge::ServerAddress& a) {
  if (value.empty()) return;
  const auto number = read_number(value);
  if (name == "host")
    a.host = value;
  else if (name == "port" && number && *number >= 1 && *number <= 65535)
    a.port = static_cast<uint16_t>(*number);
  else if (name == "key")
    a.key = value;
  else if (name == "transport")
    a.remote = value == "osc";
  else if (name == "jitter_ms" && number && *number >= 0 && *number <= 2000)
    a.jitter_ms = *number;
  else if (name == "start_server")
    a.server_command = value;
}

}  // namespace

std::string settings_path() {
#if defined(_WIN32)
  const std::string folder = environment("APPDATA");
  return folder.empty() ? "" : folder + "\\rtserver\\plugin.conf";
#elif defined(__APPLE__)
  const std::string home = environment("HOME");
  return home.empty() ? "" : home + "/Library/Application Support/rtserver/plugin.conf";
#else
  const std::string folder = environment("XDG_CONFIG_HOME"), home = environment("HOME");
  if (!folder.empty()) return folder + "/rtserver/plugin.conf";
  return home.empty() ? "" : home + "/.config/rtserver/plugin.conf";
#endif
}

void read_settings_text(std::string_view text, rtbridge::ServerAddress& address) {
  while (!text.empty()) {
    const size_t end = text.find('\n');
    const std::string_view line = trimmed(text.substr(0, end));
    text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
    const size_t equals = line.find('=');
    if (line.empty() || line.front() == '#' || equals == std::string_view::npos) continue;
    apply(trimmed(line.substr(0, equals)), trimmed(line.substr(equals + 1)), address);
  }
}

rtbridge::ServerAddress read_settings() {
  rtbridge::ServerAddress address;
  if (std::ifstream file(settings_path()); file)
    read_settings_text(std::string(std::istreambuf_iterator<char>(file), {}), address);
  apply("host", environment("RTSERVER_HOST"), address);
  apply("port", environment("RTSERVER_PORT"), address);
  apply("key", environment("RTSERVER_KEY"), address);
  return address;
}

}  // namespace rtplugin
