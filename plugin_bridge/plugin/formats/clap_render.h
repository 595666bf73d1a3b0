// clap.render, of CLAP 1.0 and later, for header sets that leave it out.
#pragma once
#if __has_include("clap/ext/render.h")
#include "clap/ext/render.h"
#else
#include "clap/plugin.h"

static CLAP_CONSTEXPR const char CLAP_EXT_RENDER[] = "clap.render";
enum { CLAP_RENDER_REALTIME = 0, CLAP_RENDER_OFFLINE = 1 };
typedef int32_t clap_plugin_render_mode;
typedef struct clap_plugin_render {
  bool(CLAP_ABI* has_hard_realtime_requirement)(const clap_plugin_t* plugin);
  bool(CLAP_ABI* set)(const clap_plugin_t* plugin, clap_plugin_render_mode mode);
} clap_plugin_render_t;
#endif
