// Functions that run on the CPU and on a GPU alike.
#pragma once

#if defined(__CUDACC__)
#define RTENGINE_SHARED __host__ __device__
#else
#define RTENGINE_SHARED
#endif
