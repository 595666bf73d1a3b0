// Arrays from Python, taken as they are or refused by name.
#pragma once
#include <pybind11/numpy.h>

#include <string>

inline std::string describe_array(const pybind11::array& array) {
  std::string shape;
  for (pybind11::ssize_t i = 0; i < array.ndim(); ++i) shape += (i ? ", " : "") + std::to_string(array.shape(i));
  return pybind11::str(array.dtype()).cast<std::string>() + " [" + shape + "]";
}

// A C-contiguous array of T, as it is: nothing is converted silently, because a conversion would hide a wrong caller.
// ndim: of any number if negative. Throws ValueError saying `name`, `expected` and what was found.
template <class T>
pybind11::array require(const std::string& name, const pybind11::handle& value, int ndim, const char* expected) {
  namespace py = pybind11;
  if (!py::isinstance<py::array>(value))
    throw py::value_error(name + ": expected an array " + expected + ", found " +
                          py::str(py::type::of(value).attr("__name__")).cast<std::string>());
  py::array array = py::reinterpret_borrow<py::array>(value);
  if (!py::isinstance<py::array_t<T>>(array) || (ndim >= 0 && array.ndim() != ndim))
    throw py::value_error(name + ": expected " + expected + ", found " + describe_array(array));
  if (!(array.flags() & py::array::c_style))
    throw py::value_error(name + ": expected a C-contiguous array, found strides of another order");
  return array;
}
