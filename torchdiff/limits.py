"""What one call of the op takes at most. No torch here: plans are split by these numbers."""

ROWS, TENSORS, DRAWS = 8, 32, 8  # csrc/arguments.h holds the same
