// The CPU loops behind affine and normal, for callers who bring a Problem of their own.
#pragma once

#include "problem.h"

namespace torchdiff {

// What is known of the memory of the outputs: nothing, that it was allocated for this call, or that an output may be an
// input, at the same places.
enum class Outputs { given, fresh, aliased };

// Writes all rows of a checked problem. Whether the sums of the first row are finite, before they are rounded: if they
// are, so is every input, for weights are finite and 0 times an infinity is nan.
bool run(const Problem& problem, Outputs outputs);

}  // namespace torchdiff
