"""Our own programs as processes: started as people start them, crashed as machines crash them."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg

from stack.process import HOST, Server, exchange

Connection = sqlite3.Connection | psycopg.Connection

QMTL = [sys.executable, "-m", "qmtl"]
_AUTH = ["--no-auth"]


class Program(Server):
    """A command that listens on its first port."""

    def __init__(self, name: str, arguments: list[str], ports: int = 1) -> None:
        self.name, self.arguments, self.port_count = name, arguments, ports
        super().__init__()

    def find(self) -> str:
        return sys.executable

    def prepare(self) -> None:
        """Its data is not here."""

    def command(self) -> list[str]:
        places = dict(zip(("port", "second"), self.ports, strict=False))
        return [*QMTL, *(argument.format(**places) for argument in self.arguments)]

    def ready(self) -> bool:
        return bool(exchange(self.http_port, b"GET /health HTTP/1.0\r\n\r\n", 12).endswith(b"200"))

    @property
    def http_port(self) -> int:
        return self.ports[-1]

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.http_port}"


class World:
    """Gateway and DAG manager with their stores: embedded in one process, or apart on real servers."""

    def __init__(
        self, kind: str, folder: Path, servers: dict[str, Server], session_timeout_s: float | None = None
    ) -> None:
        self.kind, self.folder, self.servers = kind, folder, servers
        self._sessions = [] if session_timeout_s is None else ["--session-timeout", str(session_timeout_s)]
        self.programs = self._embedded() if kind == "embedded" else self._apart()
        self.environment = os.environ | {"QMTL_TOKEN": "", "XDG_STATE_HOME": str(folder / "state"), "NO_COLOR": "1"}

    def _embedded(self) -> dict[str, Program]:
        data = ["--data", str(self.folder)]
        return {"gateway": Program("up", ["up", "--port", "{port}", *data, "--lease", "3", *self._sessions, *_AUTH])}

    def _apart(self) -> dict[str, Program]:
        url = {name: server.url for name, server in self.servers.items()}
        data = ["--data", str(self.folder)]
        stores = ["--graph-url", url["neo4j"], "--broker-url", url["kafka"]]
        dagm = [
            "dagm",
            "server",
            *stores,
            "--port",
            "{port}",
            "--http-port",
            "{second}",
            *data,
            *self._sessions,
            *_AUTH,
        ]
        made = {"dagm": Program("dagm", dagm, ports=2)}
        queues = ["--redis-dsn", url["redis"], "--postgres-dsn", url["postgres"]]
        target = ["--dagm-target", f"{HOST}:{made['dagm'].port}"]
        gateway = ["gateway", "--port", "{port}", *queues, *target, *data, *_AUTH]
        made["gateway"] = Program("gateway", [*gateway, "--role", "api", "--lease", "3"])
        made["worker"] = Program("worker", [*gateway, "--role", "worker", "--lease", "3"])
        made["dagm"].arguments += ["--gateway-url", made["gateway"].url]
        return made

    @property
    def url(self) -> str:
        """Where the Gateway is."""
        return self.programs["gateway"].url

    @property
    def tables(self) -> Connection:
        """The truth of the Gateway: tables ``strategies`` and ``events``."""
        if self.kind == "embedded":
            return sqlite3.connect(self.folder / "strategies.db")
        return psycopg.connect(self.servers["postgres"].url)

    def start(self) -> None:
        for program in self.programs.values():
            program.start()

    def crash(self) -> None:
        for program in self.programs.values():
            program.kill9()

    def close(self) -> None:
        for program in self.programs.values():
            program.close()

    def run(self, *arguments: str, code: int = 0) -> Any:
        """Run ``qmtl … --json`` against the Gateway in a process of its own; return what it prints."""
        done = self.command(*arguments, "--gateway-url", self.url, "--json")
        assert done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout) if code == 0 else done.stderr

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*QMTL, *arguments], capture_output=True, text=True, check=False, timeout=90, env=self.environment
        )
