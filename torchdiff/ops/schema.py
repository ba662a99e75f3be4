"""The schemas of the ops, without their names; csrc/library.cpp defines the same."""

AFFINE = "(Tensor[] tensors, Tensor weights, Tensor seeds, SymInt first_index, Tensor draws) -> Tensor[]"
AFFINE_OUT = (
    "(Tensor[] tensors, Tensor weights, Tensor seeds, SymInt first_index, Tensor draws, *, Tensor(a!)[] out) -> ()"
)
NORMAL = "(SymInt[] shape, Tensor seeds, SymInt first_index, Tensor draw, ScalarType dtype) -> Tensor"
NORMAL_OUT = "(Tensor seeds, SymInt first_index, Tensor draw, *, Tensor(a!) out) -> ()"
SCHEMAS = {"affine": AFFINE, "affine.out": AFFINE_OUT, "normal": NORMAL, "normal.out": NORMAL_OUT}
