// The interfaces of VST3 that the plugin implements or calls, as C++ classes: their order of methods is the binary
// interface. Records, identities and results come from the framework's C headers.
#pragma once
#include <cstdint>

#include "travesty/audio_processor.h"
#include "travesty/bstream.h"
#include "travesty/component.h"
#include "travesty/edit_controller.h"
#include "travesty/factory.h"

namespace rtplugin::vst3 {

// Results, whose values on Windows need a cast.
constexpr auto kOk = static_cast<v3_result>(V3_OK);
constexpr auto kFalse = static_cast<v3_result>(V3_FALSE);
constexpr auto kNoInterface = static_cast<v3_result>(V3_NO_INTERFACE);
constexpr auto kInvalidArgument = static_cast<v3_result>(V3_INVALID_ARG);
constexpr auto kNotImplemented = static_cast<v3_result>(V3_NOT_IMPLEMENTED);
constexpr auto kInternalError = static_cast<v3_result>(V3_INTERNAL_ERR);
constexpr auto kNoMemory = static_cast<v3_result>(V3_NOMEM);

class Unknown {
 public:
  virtual v3_result V3_API query(const v3_tuid iid, void** object) = 0;
  virtual uint32_t V3_API ref() = 0;
  virtual uint32_t V3_API unref() = 0;

 protected:
  ~Unknown() = default;  // objects go by unref
};

class Base : public Unknown {
 public:
  virtual v3_result V3_API initialize(Unknown* context) = 0;
  virtual v3_result V3_API terminate() = 0;

 protected:
  ~Base() = default;
};

// --- the host's ---

class Stream : public Unknown {
 public:
  virtual v3_result V3_API read(void* buffer, int32_t bytes, int32_t* read) = 0;
  virtual v3_result V3_API write(void* buffer, int32_t bytes, int32_t* written) = 0;
  virtual v3_result V3_API seek(int64_t position, int32_t mode, int64_t* result) = 0;
  virtual v3_result V3_API tell(int64_t* position) = 0;

 protected:
  ~Stream() = default;
};

class ValueQueue : public Unknown {
 public:
  virtual v3_param_id V3_API id() = 0;
  virtual int32_t V3_API count() = 0;
  virtual v3_result V3_API point(int32_t index, int32_t* frame, double* value) = 0;
  virtual v3_result V3_API add(int32_t frame, double value, int32_t* index) = 0;

 protected:
  ~ValueQueue() = default;
};

class Changes : public Unknown {
 public:
  virtual int32_t V3_API count() = 0;
  virtual ValueQueue* V3_API queue(int32_t index) = 0;
  virtual ValueQueue* V3_API add(const v3_param_id& id, int32_t* index) = 0;

 protected:
  ~Changes() = default;
};

class Handler : public Unknown {
 public:
  virtual v3_result V3_API begin_edit(v3_param_id id) = 0;
  virtual v3_result V3_API perform_edit(v3_param_id id, double normalized) = 0;
  virtual v3_result V3_API end_edit(v3_param_id id) = 0;
  virtual v3_result V3_API restart(int32_t flags) = 0;

 protected:
  ~Handler() = default;
};

// --- the plugin's ---

class Component : public Base {
 public:
  virtual v3_result V3_API controller_class(v3_tuid id) = 0;
  virtual v3_result V3_API set_io_mode(int32_t mode) = 0;
  virtual int32_t V3_API bus_count(int32_t media, int32_t direction) = 0;
  virtual v3_result V3_API bus_info(int32_t media, int32_t direction, int32_t index, v3_bus_info* info) = 0;
  virtual v3_result V3_API routing_info(v3_routing_info* input, v3_routing_info* output) = 0;
  virtual v3_result V3_API activate_bus(int32_t media, int32_t direction, int32_t index, v3_bool on) = 0;
  virtual v3_result V3_API set_active(v3_bool on) = 0;
  virtual v3_result V3_API set_state(Stream* stream) = 0;
  virtual v3_result V3_API get_state(Stream* stream) = 0;

 protected:
  ~Component() = default;
};

class Processor : public Unknown {
 public:
  virtual v3_result V3_API set_bus_arrangements(v3_speaker_arrangement* in, int32_t ins, v3_speaker_arrangement* out,
                                                int32_t outs) = 0;
  virtual v3_result V3_API bus_arrangement(int32_t direction, int32_t index, v3_speaker_arrangement* found) = 0;
  virtual v3_result V3_API can_process_sample_size(int32_t size) = 0;
  virtual uint32_t V3_API latency() = 0;
  virtual v3_result V3_API setup(v3_process_setup* setup) = 0;
  virtual v3_result V3_API set_processing(v3_bool on) = 0;
  virtual v3_result V3_API process(v3_process_data* data) = 0;
  virtual uint32_t V3_API tail() = 0;

 protected:
  ~Processor() = default;
};

class ContextRequirements : public Unknown {
 public:
  virtual uint32_t V3_API context_requirements() = 0;

 protected:
  ~ContextRequirements() = default;
};

class Controller : public Base {
 public:
  virtual v3_result V3_API set_component_state(Stream* stream) = 0;
  virtual v3_result V3_API set_state(Stream* stream) = 0;
  virtual v3_result V3_API get_state(Stream* stream) = 0;
  virtual int32_t V3_API parameter_count() = 0;
  virtual v3_result V3_API parameter_info(int32_t index, v3_param_info* info) = 0;
  virtual v3_result V3_API text_of(v3_param_id id, double normalized, int16_t* text) = 0;
  virtual v3_result V3_API value_of(v3_param_id id, int16_t* text, double* normalized) = 0;
  virtual double V3_API to_plain(v3_param_id id, double normalized) = 0;
  virtual double V3_API to_normalized(v3_param_id id, double plain) = 0;
  virtual double V3_API get(v3_param_id id) = 0;
  virtual v3_result V3_API set(v3_param_id id, double normalized) = 0;
  virtual v3_result V3_API set_handler(Handler* handler) = 0;
  virtual void* V3_API create_view(const char* name) = 0;

 protected:
  ~Controller() = default;
};

class Factory : public Unknown {
 public:
  virtual v3_result V3_API info(v3_factory_info* info) = 0;
  virtual int32_t V3_API count() = 0;
  virtual v3_result V3_API class_info(int32_t index, v3_class_info* info) = 0;
  virtual v3_result V3_API create(const v3_tuid class_id, const v3_tuid iid, void** object) = 0;
  virtual v3_result V3_API class_info_2(int32_t index, v3_class_info_2* info) = 0;
  virtual v3_result V3_API class_info_utf16(int32_t index, v3_class_info_3* info) = 0;
  virtual v3_result V3_API set_host_context(Unknown* host) = 0;

 protected:
  ~Factory() = default;
};

}  // namespace rtplugin::vst3
