// The Python module rtserver._engine: the engine and the stream, each bound in its own file.
#include "bindings.h"

PYBIND11_MODULE(_engine, m) {
  m.doc() = "WaveNet engine and real-time stream of rtserver";
  bind_engine(m);
  bind_cuda(m);
  bind_encoder(m);
  bind_stages(m);
  bind_stream(m);
  bind_live(m);
  bind_remote(m);
  bind_threads(m);
  bind_training(m);
}
