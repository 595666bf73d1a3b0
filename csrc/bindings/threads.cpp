// How the native threads are scheduled, for Python: the plan they follow, the record of those that run, and memory.
#include <pybind11/stl.h>

#include "bindings.h"
#include "cpu/memory.h"
#include "stream/audio_thread.h"

namespace py = pybind11;

using namespace rtstream;

namespace {

void plan_threads(int highest_priority, std::vector<int> decoder_cores, std::vector<int> other_cores) {
  if (highest_priority < 0 || highest_priority > 99)
    throw py::value_error("highest_priority: expected 0 to 99, found " + std::to_string(highest_priority));
  set_thread_plan({highest_priority, std::move(decoder_cores), std::move(other_cores)});
}

py::list threads_list() {
  py::list all;
  for (const ThreadRecord& thread : audio_threads()) {
    py::dict d;
    d["id"] = thread.id;
    d["name"] = thread.name;
    d["priority"] = thread.priority;
    d["cores"] = thread.cores;
    all.append(d);
  }
  return all;
}

}  // namespace

void bind_threads(py::module_& m) {
  m.def("plan_threads", &plan_threads, py::kw_only(), py::arg("highest_priority") = 99,
        py::arg("decoder_cores") = std::vector<int>{}, py::arg("other_cores") = std::vector<int>{});
  m.def("lock_memory", &rtengine::lock_allocations, py::arg("on"));
  m.def("audio_threads", &threads_list);
  m.def("priority_within", &priority_within, py::arg("priority"), py::arg("highest"));
}
