"""Property tests without a clock: a machine under load is not a wrong program. In CI the same examples every time."""

import os

from hypothesis import settings

settings.register_profile("torchdiff", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("torchdiff")
