"""``python -m qmtl.sdk module:Class --mode backtest --start-time … --end-time …``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from qmtl.errors import QmtlError
from qmtl.sdk.loader import bindings, load_strategy
from qmtl.sdk.runner import Runner


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a strategy and print its summary; return the exit code."""
    given = _parser().parse_args(arguments)
    run = Runner.backtest if given.mode == "backtest" else Runner.offline
    try:
        result = run(
            load_strategy(given.strategy),
            start_time=given.start_time,
            end_time=given.end_time,
            on_missing=given.on_missing,
            engine=given.engine,
            data=bindings(given.data),
        )
        print(result.summary())  # noqa: T201  (this is a command)
        if given.out:
            result.save(given.out)
    except QmtlError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    except KeyboardInterrupt:
        print("stopped; nothing was written", file=sys.stderr)  # noqa: T201
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m qmtl.sdk", description="Run a strategy over history.")
    parser.add_argument("strategy", help="module:Class, file.py:Class or file.yaml")
    parser.add_argument("--mode", choices=["backtest", "offline"], default="backtest")
    parser.add_argument("--start-time", help="first bucket: seconds UTC or ISO 8601")
    parser.add_argument("--end-time", help="end of the span, exclusive")
    parser.add_argument("--on-missing", choices=["skip", "fill", "fail"], default="skip")
    parser.add_argument("--engine", choices=["batch", "stream"], default="batch")
    parser.add_argument("--data", action="append", default=[], metavar="STREAM=PATH", help="bars of a stream; repeat")
    parser.add_argument("--out", help="directory for the result")
    return parser


if __name__ == "__main__":
    sys.exit(main())
