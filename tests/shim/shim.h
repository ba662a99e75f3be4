// Read before every source of the shim: what is registered for CUDA as torchdiff::NAME becomes a CPU kernel of
// torchdiff_shim::NAME, beside the real one.
#pragma once

#include <torch/csrc/stable/library.h>

#undef STABLE_TORCH_LIBRARY
#undef STABLE_TORCH_LIBRARY_IMPL
#define STABLE_TORCH_LIBRARY(ns, m) _STABLE_TORCH_LIBRARY_FRAGMENT(ns##_shim, m, C10_UID)
#define STABLE_TORCH_LIBRARY_IMPL(ns, key, m) _STABLE_TORCH_LIBRARY_IMPL(ns##_shim, CPU, m, C10_UID)
