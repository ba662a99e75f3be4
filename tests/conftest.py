"""Property tests without a clock: a machine under load is not a wrong program. In CI the same examples every time."""

import os

import pytest
from hypothesis import settings

settings.register_profile("torchdiff", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("torchdiff")


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory):
    """Optimal grids of the tests are kept away from the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHDIFF_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
