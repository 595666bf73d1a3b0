#include "bindings.h"

void bind_remote(pybind11::module_&) {}
