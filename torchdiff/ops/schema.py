"""The schemas of the ops by name; csrc/library.cpp defines the same."""

_NOISE = "Tensor seeds, SymInt first_index"

SCHEMAS = {
    "affine": f"(Tensor[] tensors, Tensor weights, {_NOISE}, Tensor draws) -> Tensor[]",
    "affine.out": f"(Tensor[] tensors, Tensor weights, {_NOISE}, Tensor draws, *, Tensor(a!)[] out) -> ()",
    "norms": f"(Tensor[] tensors, {_NOISE}, Tensor draws) -> Tensor",
    "normal": f"(SymInt[] shape, {_NOISE}, Tensor draw, ScalarType dtype) -> Tensor",
    "normal.out": f"({_NOISE}, Tensor draw, *, Tensor(a!) out) -> ()",
    "brownian": f"(SymInt[] shape, {_NOISE}, int path, Tensor times, float horizon, bool integral, ScalarType dtype)"
    " -> Tensor[]",
}
