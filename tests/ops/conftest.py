"""Fixtures of the op tests: the compiled module, or a skip that says why it is not there."""

import pytest

from torchdiff import ops


@pytest.fixture
def extension():
    """torchdiff._C, for the laws that only compiled code can break."""
    backend = ops.backend()
    if backend.name != "extension":
        pytest.skip(f"compiled code only: {backend.reason}")
    from torchdiff import _C

    return _C
