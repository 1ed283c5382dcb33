"""The command line."""

from __future__ import annotations

import sys

from qmtl.errors import QmtlError

#: Exit code of a program that was interrupted from the keyboard.
_INTERRUPTED = 130


def main() -> None:
    """Run ``qmtl``: exit code 0 done, 1 failed, 2 usage, 3 not reachable."""
    from qmtl.cli.app import app

    try:
        app(prog_name="qmtl")
    except QmtlError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("stopped; nothing was written", file=sys.stderr)
        sys.exit(_INTERRUPTED)
    except BrokenPipeError:  # the reader of our output went away, as in `qmtl graph … | head`
        sys.stderr.close()
