"""A Gateway and a DAG manager under an audit hook: prints what the interpreter was asked to do with submissions."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from pathlib import Path

from qmtl.cli import wiring
from qmtl.errors import QmtlError
from qmtl.gateway.parts import Settings
from qmtl.gateway.submissions import submission
from qmtl.telemetry.metrics import Metrics
from qmtl.wire.auth import Anybody
from qmtl.wire.dag import Limits
from stack.documents import chain, entry

#: What would mean that a submission was run, imported or unpickled.
SUSPICIOUS = ("exec", "compile", "import", "pickle.", "marshal.", "subprocess.", "os.system", "os.exec", "ctypes.")
EVIL = "__import__('os').system('true')"

seen: list[str] = []
armed = threading.Event()


def hook(event, args):
    if armed.is_set() and event.startswith(SUSPICIOUS):
        seen.append(f"{event} {args!r}"[:300])


def documents(number):
    """Ordinary submissions, and ones that hope to be evaluated."""
    plain = chain(f"plain {number}")
    stream = entry(f"{EVIL} {number}", tags=[EVIL, "os", "qmtl.cli.demonstration"])
    named = {"version": "qmtl.dag/1", "nodes": [stream, entry("cos system (S'true' tR.", [stream])]}
    typed = chain("typed")
    typed["nodes"][1]["node_type"] = "os.system"
    return [plain, {"version": "qmtl.dag/1", "nodes": [stream]}, named, typed, {"py/object": "os.system"}]


async def submit(gateway, number):
    for document in documents(number):
        body = json.dumps({"dag_json": document, "run_type": "live", "meta": {"code": EVIL, "version": EVIL}})
        asked = {
            "owner": EVIL,
            "at": 1.0,
            "limits": Limits(),
            "trace": {"traceparent": EVIL},
            "key": f"{EVIL} {number}",
        }
        try:
            await gateway.ingest.accept(submission(body.encode(), **asked))
        except QmtlError:
            continue


async def settled(gateway):
    async with asyncio.timeout(30):
        while await gateway.parts.queue.depth():  # noqa: ASYNC110  (the worker is another task)
            await asyncio.sleep(0)


async def main(folder):
    urls = wiring.Urls.in_folder(Path(folder))

    async def told(event):
        await gateway.parts.bus.publish([event])

    async with (
        wiring.dag_manager(urls, Metrics(), told) as manager,
        wiring.gateway(urls, manager, Anybody(), Metrics(), Settings()) as gateway,
    ):
        loops = asyncio.create_task(gateway.run())
        await submit(gateway, 0)  # whatever is imported when it is first used
        await settled(gateway)
        armed.set()
        await submit(gateway, 1)
        await settled(gateway)
        armed.clear()
        mapped = await gateway.parts.strategies.find()
        loops.cancel()
        await asyncio.gather(loops, return_exceptions=True)
    sys.stdout.write(json.dumps({"seen": seen, "strategies": [one.state for one in mapped]}))


if __name__ == "__main__":
    sys.addaudithook(hook)
    asyncio.run(main(sys.argv[1]))
