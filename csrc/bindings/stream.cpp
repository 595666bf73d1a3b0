#include "bindings.h"

void bind_stream(pybind11::module_&) {}
