"""``qmtl submit | status | stop | nodes | queues``: what a Gateway is asked for."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from qmtl.cli.options import Address, Json, print_json, say
from qmtl.errors import RefusedError
from qmtl.wire.client import DEFAULT_URL, GatewayClient, Mapped

GatewayUrl = Annotated[str, typer.Option("--gateway-url", envvar="QMTL_GATEWAY_URL", help="Where the Gateway is.")]
StrategyId = Annotated[str, typer.Argument(metavar="ID", help="Id of a strategy, or its name: then the newest.")]
Tags = Annotated[list[str], typer.Option("--tag", help="Only nodes with this tag; repeat for more.")]

_SHORT = 12


def submit(
    strategy: Address,
    gateway_url: GatewayUrl = DEFAULT_URL,
    mode: Annotated[str, typer.Option(metavar="backtest|offline|dryrun|live", help="How it is to run.")] = "dryrun",
    version: Annotated[str | None, typer.Option(help="Version that the submission belongs to.")] = None,
    as_json: Json = False,
) -> None:
    """Submit a strategy; its nodes are mapped to queues, and those that the world has already are shared."""
    from qmtl.sdk.loader import load_strategy
    from qmtl.sdk.submission import submit as submitted

    made = submitted(load_strategy(strategy), gateway_url, mode, version=version)
    if as_json:
        print_json(_described(made))
    elif made.state not in {"rejected", "failed"}:
        print(f"{made.strategy_id}  {made.state}  {made.new} new nodes, {made.reused} reused")
        for node_id, topic in made.queue_map.items():
            print(f"  {node_id[:_SHORT]}  {topic}")
    if made.state in {"rejected", "failed"}:
        raise RefusedError(f"strategy {made.strategy_id} was {made.state}: {made.detail}", status=422)


def _described(made: Mapped) -> dict[str, Any]:
    return {
        "strategy_id": made.strategy_id,
        "queue_map": made.queue_map,
        "new": made.new,
        "reused": made.reused,
        "state": made.state,
    }


def status(
    strategy_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Id of a strategy, or its name; all without it.")
    ] = None,
    gateway_url: GatewayUrl = DEFAULT_URL,
    watch: Annotated[bool, typer.Option("--watch", help="Show each node as it changes, until Ctrl-C.")] = False,
    as_json: Json = False,
) -> None:
    """Show a strategy, the log of its life and how its nodes stand, or list strategies, newest first."""
    client = GatewayClient(gateway_url)
    if watch and not as_json:
        from qmtl.cli import watching

        watching.watch(client, None if strategy_id is None else _found(client, strategy_id))
    elif strategy_id is None:
        _list(client.strategies(), as_json=as_json)
    elif as_json:
        print_json(client.strategy(_found(client, strategy_id)))
    else:
        _show(client.strategy(_found(client, strategy_id)))


def _found(client: GatewayClient, text: str) -> str:
    """Return an id as it is, or that of the newest strategy of a name."""
    if text.startswith("s-"):
        return text
    named = [one["strategy_id"] for one in client.strategies() if one["name"] == text]
    return named[0] if named else text


def _list(found: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json({"strategies": found})
        return
    for one in found:
        print(f"{one['strategy_id']}  {one['status']:<10} {one['run_type']:<9} {one['name'] or ''}")
    if not found:
        say("no strategy yet; `qmtl submit FILE:Class` submits one")


def _show(found: dict[str, Any]) -> None:
    print(f"{found['strategy_id']}  {found['status']}  {found['run_type']}  {found['name'] or ''}")
    for entry in found["log"]:
        print(f"  {_clock(entry['at'])}  {entry['to']:<10} {entry['cause']}")
    if found["detail"]:
        print(f"  {found['detail']}")
    if any(node["state"] for node in found["nodes"]):
        from qmtl.cli import watching

        for row in watching.rows([found]):
            print(f"  {watching.line(row)}")


def _clock(at: float) -> str:
    from qmtl.interval import format_time

    return format_time(int(at))


def stop(strategy_id: StrategyId, gateway_url: GatewayUrl = DEFAULT_URL, as_json: Json = False) -> None:
    """Stop a strategy: queues that nobody else uses become garbage after their grace."""
    client = GatewayClient(gateway_url)
    found = client.stop(_found(client, strategy_id))
    if as_json:
        print_json(found)
    else:
        print(f"{found['strategy_id']}  {found['status']}")


def nodes(gateway_url: GatewayUrl = DEFAULT_URL, tag: Tags = [], as_json: Json = False) -> None:  # noqa: B006  (typer copies it)
    """List the nodes of the global graph: those that several strategies share are computed once."""
    found = GatewayClient(gateway_url).nodes(tag)
    if as_json:
        print_json({"nodes": found})
        return
    for one in sorted(found, key=lambda one: (-len(one["strategies"]), one["node_type"], one["node_id"])):
        users = len(one["strategies"])
        shared = f"shared by {users}" if users > 1 else "used by 1" if users else "unused"
        print(f"{one['node_id'][:_SHORT]}  {one['node_type']:<16} {shared:<12} {', '.join(one['topics'])}")


def queues(gateway_url: GatewayUrl = DEFAULT_URL, as_json: Json = False) -> None:
    """List the queues with their producers and how many strategies use them."""
    found = GatewayClient(gateway_url).queues()
    if as_json:
        print_json({"queues": found})
        return
    for one in found:
        print(
            f"{one['topic']:<40} {one['quality']:<10} {one['state']:<8} {one['strategies']:>3}  "
            f"{one['producer'] or '-'}"
        )
