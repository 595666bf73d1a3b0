// What each binding file adds to the module. Only csrc/bindings knows Python.
#pragma once
#include <pybind11/pybind11.h>

void bind_cuda(pybind11::module_& m);
void bind_encoder(pybind11::module_& m);
void bind_engine(pybind11::module_& m);
void bind_live(pybind11::module_& m);
void bind_stages(pybind11::module_& m);
void bind_stream(pybind11::module_& m);
void bind_remote(pybind11::module_& m);
void bind_threads(pybind11::module_& m);
void bind_training(pybind11::module_& m);
