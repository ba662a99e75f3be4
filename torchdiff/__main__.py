"""python -m torchdiff: the command `torchdiff`."""

import sys

from torchdiff.cli import main

sys.exit(main())
