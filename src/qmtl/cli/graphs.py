"""``qmtl graph``, ``qmtl diff`` and ``qmtl lint``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from qmtl.cli.options import Address, Json, print_json

NodeAddress = Annotated[str, typer.Argument(metavar="NODE", help="FILE:Class/NODE, or FILE:VARIABLE of a module")]


def graph(strategy: Address, as_json: Json = False) -> None:
    """Print the nodes of a strategy with their ids."""
    from qmtl.graph.document import document
    from qmtl.sdk.loader import load_strategy

    made = document(load_strategy(strategy).build().dag)
    if as_json:
        print_json(made)
        return
    names = {node["node_id"]: node["name"] for node in made["nodes"]}
    rows = [_row(node, names) for node in made["nodes"]]
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    for row in rows:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def _row(node: dict[str, Any], names: dict[str, str]) -> tuple[str, ...]:
    from qmtl.interval import format_interval

    inputs = ", ".join(names[e["node_id"]] + (f".{e['field']}" if "field" in e else "") for e in node["inputs"])
    return (
        node["name"],
        node["node_type"],
        format_interval(node["interval"]),
        node["node_id"][:12],
        f"← {inputs}" if inputs else "",
    )


def diff(a: NodeAddress, b: NodeAddress, as_json: Json = False) -> None:
    """Explain in a line each why two nodes are not the same."""
    from qmtl.graph.difference import difference
    from qmtl.sdk.loader import load_node

    (label, one), (other_label, other) = load_node(a), load_node(b)
    lines = difference(one, other)
    if as_json:
        print_json({"equal": not lines, "a": one.node_id, "b": other.node_id, "differences": lines})
        return
    print(
        f"{label} {one.node_id[:12]}  {other_label} {other.node_id[:12]}  {'differ' if lines else 'are the same node'}"
    )
    for line in lines:
        print(f"  {line}")


def lint(strategy: Address, as_json: Json = False) -> None:
    """Look for what makes a strategy hard to trust; exit code 1 if something was found."""
    from qmtl.sdk.loader import load_strategy
    from qmtl.testing.lint import lint as findings_of

    found = findings_of(load_strategy(strategy))
    if as_json:
        print_json({"clean": not found, "findings": [vars(finding) for finding in found]})
    else:
        for finding in found:
            print(f"{finding.rule} {finding.node}: {finding.message}")
            print(f"  hint: {finding.hint}")
        print("clean" if not found else f"{len(found)} findings")
    if found:
        raise typer.Exit(1)
