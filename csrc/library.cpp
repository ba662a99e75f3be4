// The schemas of the ops; the kernels register themselves beside their loops. torchdiff/ops/schema.py says the same.
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY(torchdiff, m) {
  m.def("affine(Tensor[] tensors, Tensor weights, Tensor seeds, SymInt first_index, Tensor draws) -> Tensor[]");
  m.def(
      "affine.out(Tensor[] tensors, Tensor weights, Tensor seeds, SymInt first_index, Tensor draws, *, Tensor(a!)[] "
      "out) "
      "-> "
      "()");
  m.def("norms(Tensor[] tensors, Tensor seeds, SymInt first_index, Tensor draws) -> Tensor");
  m.def("normal(SymInt[] shape, Tensor seeds, SymInt first_index, Tensor draw, ScalarType dtype) -> Tensor");
  m.def("normal.out(Tensor seeds, SymInt first_index, Tensor draw, *, Tensor(a!) out) -> ()");
  m.def(
      "brownian(SymInt[] shape, Tensor seeds, SymInt first_index, int path, Tensor times, float horizon, bool "
      "integral, "
      "ScalarType dtype) -> Tensor[]");
}
