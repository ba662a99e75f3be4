"""The command `torchdiff`. Exit codes: 0 done, 1 failed inside, 2 a wrong request (one line on stderr), 130 Ctrl-C."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

DEBUG = "TORCHDIFF_DEBUG"
LONGEST = 1000  # characters of a message


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code. TORCHDIFF_DEBUG=1 lets every error through with its traceback."""
    from torchdiff.cli.parser import parser

    try:
        args = parser().parse_args(argv)
        code = args.run(args)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `torchdiff list | head -1` is no error; the interpreter must not flush into it again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (ValueError, OSError) as error:  # the family of a user's errors, TorchdiffError among them
        return _fail(error, "error", 2)
    except Exception as error:
        return _fail(error, f"failed: {type(error).__name__}", 1)


def _fail(error: Exception, what: str, code: int) -> int:
    if os.environ.get(DEBUG, "") not in ("", "0"):
        raise error
    text = " ".join(str(error).split())
    text = text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
    more = f" ({DEBUG}=1 shows where)" if code == 1 else ""
    print(f"torchdiff: {what}: {text}{more}", file=sys.stderr)
    return code
