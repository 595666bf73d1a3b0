// What every format says about the plugin.
#pragma once

namespace rtplugin {

constexpr const char* kName = "rtserver";
constexpr const char* kMonoName = "rtserver (mono)";
constexpr const char* kVendor = "rtserver authors";
constexpr const char* kVersion = RTPLUGIN_VERSION;
constexpr const char* kDescription = "Plays what comes in on another instrument, by way of an rtserver";
constexpr const char* kClapId = "rtserver.bridge";
constexpr const char* kClapMonoId = "rtserver.bridge.mono";
constexpr const char* kLv2Uri = "urn:rtserver:bridge";
constexpr const char* kLv2MonoUri = "urn:rtserver:bridge:mono";
constexpr const char* kLv2StateUri = "urn:rtserver:bridge:state";

}  // namespace rtplugin
