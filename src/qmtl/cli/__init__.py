"""The command line."""

from __future__ import annotations

import sys

from qmtl.errors import QmtlError

#: Exit code of a program that was interrupted from the keyboard.
_INTERRUPTED = 130


def main() -> None:
    """Run ``qmtl``: exit code 0 done, 1 failed, 2 usage, 3 not reachable."""
    try:
        from qmtl.cli.app import app

        app(prog_name="qmtl")
    except QmtlError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, SystemExit) as stop:
        if isinstance(stop, SystemExit) and stop.code != _INTERRUPTED:
            raise
        print("stopped; nothing was written", file=sys.stderr)
        sys.exit(_INTERRUPTED)
