"""The command line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from qmtl.errors import QmtlError

#: Exit code of a program that was interrupted from the keyboard.
_INTERRUPTED = 130


def main() -> None:
    """Run ``qmtl``: exit code 0 done, 1 failed, 2 usage, 3 not reachable."""
    from qmtl.cli.app import app

    _run(app, "qmtl")


def run_gateway() -> None:
    """Run ``qmtl-gateway``, which is ``qmtl gateway``."""
    import typer

    from qmtl.cli.gateway import gateway as command

    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command()(command)
    _run(app, "qmtl-gateway")


def run_dagm() -> None:
    """Run ``qmtl-dagm``, which is ``qmtl dagm``."""
    from qmtl.cli.dagm import app

    _run(app, "qmtl-dagm")


def _run(app: Callable[..., Any], name: str) -> None:
    try:
        app(prog_name=name)
    except QmtlError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, SystemExit) as stop:
        if isinstance(stop, SystemExit) and stop.code != _INTERRUPTED:
            raise
        print("stopped; nothing was written", file=sys.stderr)
        sys.exit(_INTERRUPTED)
