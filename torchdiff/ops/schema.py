"""The schemas of the ops, without their names; csrc/library.cpp defines the same."""

AFFINE = "(Tensor[] tensors, Tensor weights, Tensor seeds, int first_index, Tensor draws) -> Tensor[]"
NORMAL = "(SymInt[] shape, Tensor seeds, int first_index, Tensor draw, ScalarType dtype) -> Tensor"
BROWNIAN = (
    "(SymInt[] shape, Tensor seeds, int first_index, int path, Tensor times, float horizon, bool integral, "
    "ScalarType dtype) -> Tensor[]"
)
