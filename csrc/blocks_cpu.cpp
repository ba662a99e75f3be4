// The CUDA thread's body, run on the CPU one block after another: torchdiff::_affine_by_blocks, for the tests.
#include <torch/csrc/stable/library.h>

#include "blocks.h"

namespace torchdiff {
namespace {

template <int ROWS>
void run_rows(const BlockProblem& problem, bool wide) {
  for (int row = 0; row < problem.rows; row += ROWS) {
    for (int64_t i = 0; i < problem.blocks; ++i) {
      if (wide) {
        run_block<ROWS, double>(problem, i, row);
      } else {
        run_block<ROWS, float>(problem, i, row);
      }
    }
  }
}

std::vector<Tensor> affine_by_blocks(std::vector<Tensor> tensors, Tensor weights, Tensor seeds, int64_t first_index,
                                     Tensor draws) {
  check_affine(tensors, weights, seeds, first_index, draws);
  std::vector<Tensor> outputs;
  const int64_t rows = weights.size(weights.dim() - 2);
  for (int64_t r = 0; r < rows; ++r) outputs.push_back(torch::stable::empty_like(tensors[0]));
  const Problem problem = affine_problem(tensors, outputs, weights, seeds, first_index, draws);
  STD_TORCH_CHECK(problem.layout.sizes.size() <= kMaxDims && problem.layout.columns.size() <= kMaxColumns,
                  "_affine_by_blocks: more than ", kMaxDims, " joint dimensions or ", kMaxColumns, " tensors");
  const BlockProblem block = block_problem(problem);
  if (block.rows == 1) run_rows<1>(block, problem.wide);
  if (block.rows == 2) run_rows<2>(block, problem.wide);
  if (block.rows > 2) run_rows<4>(block, problem.wide);
  return outputs;
}

}  // namespace
}  // namespace torchdiff

STABLE_TORCH_LIBRARY_FRAGMENT(torchdiff, m) {
  m.def("_affine_by_blocks(Tensor[] tensors, Tensor weights, Tensor seeds, int first_index, Tensor draws) -> Tensor[]");
}

STABLE_TORCH_LIBRARY_IMPL(torchdiff, CPU, m) { m.impl("_affine_by_blocks", TORCH_BOX(&torchdiff::affine_by_blocks)); }
