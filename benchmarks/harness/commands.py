"""The command line that every row shares with ``run.py``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from harness.result import Row, announce, machine, targets

Measure = Callable[..., Row]
FULL, SHORT = 5, 1


def main(rows: Mapping[str, Measure]) -> int:
    """Measure `rows`, print each as it is done, and a summary when there are several.

    Returns 1 when something did not run or computed something else than its peers, 0 otherwise: a target
    that is missed is reported and is no failure, for a shared machine is no place to fail a build on.
    """
    options = _options(rows)
    here = machine()
    announce(here)
    done: list[Row] = []
    for key in options.only or rows:
        print(f"{key} ...", file=sys.stderr, flush=True)
        done.append(rows[key](short=options.short, repeats=options.repeats or (SHORT if options.short else FULL)))
        print(done[-1].text(), flush=True)
    if len(done) > 1:
        print("Summary\n" + "\n".join(f"{row.key}\n{targets(row.targets)}" for row in done))
    if options.json:
        document = {"machine": here, "short": options.short, "rows": [row.document() for row in done]}
        text = json.dumps(document, indent=2) + "\n"
        if options.json == "-":
            print(text)
        else:
            Path(options.json).write_text(text)
    return 1 if any(row.failures for row in done) else 0


def _options(rows: Mapping[str, Measure]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure QMTL against its peers, all in one run.")
    parser.add_argument("--short", action="store_true", help="few bars, one run: does everything still work?")
    parser.add_argument("--only", action="append", choices=list(rows), help="this row; may be given several times")
    parser.add_argument("--repeats", type=int, help=f"runs per contender (default {FULL}, short {SHORT})")
    parser.add_argument("--json", metavar="FILE", help="also write everything measured as JSON ('-': to the output)")
    return parser.parse_args()
