"""``python -m qmtl.sdk module:Class --mode backtest|offline|dryrun|live …``."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from typing import Any

from qmtl.errors import QmtlError
from qmtl.sdk.loader import bindings, load_strategy
from qmtl.sdk.runner import Runner


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a strategy and print its summary; return the exit code."""
    given = _parser().parse_args(arguments)
    try:
        return _live(given) if _mode(given) in {"dryrun", "live"} else _over_history(given)
    except QmtlError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    except KeyboardInterrupt:
        print("stopped; nothing was written", file=sys.stderr)  # noqa: T201
        return 130


def _mode(given: argparse.Namespace) -> str:
    """Return how to run; ``realtime`` is the word of older versions, with what it does as ``--run-type``."""
    if given.mode == "realtime":
        return "live" if given.run_type == "live" else "dryrun"
    return str(given.mode)


def _over_history(given: argparse.Namespace) -> int:
    run = Runner.backtest if given.mode == "backtest" else Runner.offline
    result = run(load_strategy(given.strategy), engine=given.engine, **_common(given))
    print(result.summary())  # noqa: T201  (this is a command)
    if given.out:
        result.save(given.out)
    return 0


def _live(given: argparse.Namespace) -> int:
    """Run until the end of the data, or until Ctrl-C or SIGTERM; what was made is kept."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    begin = Runner.dryrun if _mode(given) == "dryrun" else Runner.live
    handle = begin(
        load_strategy(given.strategy),
        speed=given.speed,
        until_end=given.until_end,
        gateway_url=given.gateway_url,
        out=given.out,
        address=given.strategy,
        **_common(given),
    )
    try:
        result, code = handle.wait(), 0
    except KeyboardInterrupt:
        result, code = handle.stop(), 130
    print(result.summary())  # noqa: T201
    for name, why in handle.faults.items():
        print(f"error: {name} was quarantined: {why}", file=sys.stderr)  # noqa: T201
    return code or int(bool(handle.faults))


def _common(given: argparse.Namespace) -> dict[str, Any]:
    return {
        "start_time": given.start_time,
        "end_time": given.end_time,
        "on_missing": given.on_missing,
        "data": bindings(given.data),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m qmtl.sdk", description="Run a strategy over history, or live.")
    parser.add_argument("strategy", help="module:Class, file.py:Class or file.yaml")
    parser.add_argument("--mode", choices=["backtest", "offline", "dryrun", "live", "realtime"], default="backtest")
    parser.add_argument("--run-type", choices=["dry-run", "live"], default="dry-run", help="with --mode realtime")
    parser.add_argument("--start-time", help="first bucket: seconds UTC or ISO 8601")
    parser.add_argument("--end-time", help="end of the span, exclusive")
    parser.add_argument("--on-missing", choices=["skip", "fill", "fail"], default="skip")
    parser.add_argument("--engine", choices=["batch", "stream"], default="batch")
    parser.add_argument("--data", action="append", default=[], metavar="STREAM=SOURCE", help="a stream's bars; repeat")
    parser.add_argument("--speed", default="1x", help="how fast recorded bars are played: max, 60x")
    parser.add_argument("--until-end", action="store_true", help="end where the recorded bars end")
    parser.add_argument("--gateway-url", help="share with all at this Gateway; else a stack of its own")
    parser.add_argument("--out", help="directory for the result")
    return parser


if __name__ == "__main__":
    sys.exit(main())
