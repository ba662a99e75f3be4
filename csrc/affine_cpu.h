// The CPU loops behind affine and normal, for callers who bring a Problem of their own.
#pragma once

#include "problem.h"

namespace torchdiff {

// Writes all rows of a checked problem. aliased: an output may be an input, at the same places.
void run(const Problem& problem, bool aliased);

}  // namespace torchdiff
