"""The schemas of the ops, without their names; csrc/library.cpp defines the same."""

AFFINE = "(Tensor[] tensors, Tensor weights, Tensor seeds, SymInt first_index, Tensor draws) -> Tensor[]"
NORMAL = "(SymInt[] shape, Tensor seeds, SymInt first_index, Tensor draw, ScalarType dtype) -> Tensor"
