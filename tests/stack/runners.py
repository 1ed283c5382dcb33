"""Dry-runs as processes: started as people start them, killed as machines kill them."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

from stack.process import ServerFailedError
from stack.programs import QMTL, Program, World
from stack.waiting import wait_until


class DryRun(Program):
    """``qmtl dryrun … --json`` in a process of its own; it is ready when it says that it runs."""

    def __init__(
        self, world: World, address: str, data: dict[str, Path | str], out: Path, *more: str, gateway_url: str = ""
    ) -> None:
        self.out, self.world = out, world
        given = [f"--data={name}={source}" for name, source in data.items()]
        place = ["--gateway-url", gateway_url or world.url, "--out", str(out), "--json"]
        super().__init__("dryrun", ["dryrun", *address.split(), *given, *place, *more])

    def command(self) -> list[str]:
        return [*QMTL, *self.arguments]

    def ready(self) -> bool:
        return self.log.exists() and "running s-" in self.log.read_text()

    def start(self, timeout: float = 60.0) -> float:
        begin = time.monotonic()
        self.log.write_text("")
        with self.log.open("ab") as log, self.printed.open("wb") as printed:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=printed, stderr=log, env=self.world.environment
            )
        wait_until(lambda: self.ready() or self.process.poll() is not None, timeout, pause_s=0.02, fail=False)
        if not self.ready():
            raise ServerFailedError(f"the dry-run did not begin: {self.log.read_text()}")
        return time.monotonic() - begin

    @property
    def printed(self) -> Path:
        return self.dir / "printed.json"

    def finished(self, timeout: float = 90.0, code: int = 0) -> Any:
        """Wait for its end and return what it printed."""
        ended = wait_until(lambda: self.process.poll() is not None, timeout, fail=False)
        said = self.log.read_text()
        assert ended, f"it runs on: {said}"
        assert self.process.returncode == code, f"it ended with {self.process.returncode}: {said}"
        return json.loads(self.printed.read_text()) if self.printed.stat().st_size else {}
