#include "bindings.h"

void bind_engine(pybind11::module_&) {}
