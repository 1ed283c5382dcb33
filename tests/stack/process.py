"""A server process for tests on 127.0.0.1: free ports, own data directory, start, crash, hang, stop. Linux only."""

from __future__ import annotations

import atexit
import contextlib
import http.client
import os
import random
import shutil
import signal
import socket
import subprocess
import sysconfig
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path
from string import Template

from stack.waiting import wait_until

HERE = Path(__file__).resolve().parent
HOST = "127.0.0.1"


class MissingServerError(RuntimeError):
    """Not installed: names what is missing and the command that installs it."""


class ServerFailedError(RuntimeError):
    """Ended or did not answer in time: ends with the last lines of the server's log."""


def free_ports(count: int) -> list[int]:
    """Ports below the kernel's range for outgoing connections: in that range another test's client may take the
    port while the server is down, and a client that retries a dead port there can even connect to itself."""
    ports: set[int] = set()
    while len(ports) < count:
        port = random.randrange(15000, 32000)
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)):
                ports.add(port)
    return list(ports)


def exchange(port: int, request: bytes, size: int) -> bytes:
    """Send bytes, return the first `size` bytes of the answer."""
    with socket.create_connection((HOST, port), timeout=1) as conn:
        conn.sendall(request)
        return conn.recv(size, socket.MSG_WAITALL)


def process_state(pid: int) -> str:
    """R, S or D running, T stopped, Z ended but not collected, "" gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


class Server(ABC):
    """A process with its own ports and data directory. Subclasses fill in the attributes, command() and ready()."""

    name = ""
    program = ""  # looked for on PATH, then in this Python environment, then at program_glob
    program_glob = ""
    install = ""
    port_count = 1
    config: tuple[str, str] | None = None  # template in conf/, target below the data directory
    user = ""  # account for a server that refuses to run as root
    stop_timeout = 20.0
    scheme = ""
    database = ""

    @property
    def url(self) -> str:
        """What a program is given."""
        return f"{self.scheme}://{self.login}{self.address}{self.database}"

    login = ""

    def __init__(self, advertised_port: int = 0) -> None:
        self.binary = self.find()
        self.ports = free_ports(self.port_count)
        self.port = self.ports[0]
        self.address = f"{HOST}:{self.port}"
        self.advertised_port = advertised_port or self.port  # where Kafka and Neo4j send clients: a proxy's port
        self.dir = Path(tempfile.mkdtemp(prefix=f"{self.name}-"))
        self.log = self.dir / "server.log"
        self.process: subprocess.Popen | None = None
        self.run_as: dict = {}
        if self.user and os.geteuid() == 0:
            shutil.chown(self.dir, self.user, self.user)
            self.run_as = {"user": self.user, "group": self.user, "extra_groups": []}
        atexit.register(self.close)
        self.prepare()

    def find(self) -> str:
        matches = sorted(Path("/").glob(self.program_glob.lstrip("/")), reverse=True) if self.program_glob else []
        scripts = sysconfig.get_path("scripts")
        for place in (shutil.which(self.program), shutil.which(self.program, path=scripts), *matches):
            if place:
                return str(place)
        raise MissingServerError(f"{self.program} is not installed; install it with: {self.install}")

    def prepare(self) -> None:
        """Once for a data directory: write the configuration, initialise storage."""
        if self.config:
            template, target = HERE / "conf" / self.config[0], self.dir / self.config[1]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(
                Template(template.read_text()).substitute(
                    dir=self.dir, port=self.port, second_port=self.ports[-1], advertised_port=self.advertised_port
                )
            )

    @abstractmethod
    def command(self) -> list[str]:
        """What to start."""

    @abstractmethod
    def ready(self) -> bool:
        """Ask the server something. A network error also means no."""

    def is_ready(self) -> bool:
        try:
            return self.ready()
        except (OSError, http.client.HTTPException):
            return False

    def start(self, timeout: float = 60.0) -> float:
        """Start, wait until it answers, return the seconds that took."""
        begin = time.monotonic()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.dir,
                start_new_session=True,
                **self.run_as,
            )
        wait_until(lambda: self.is_ready() or self.process.poll() is not None, timeout, pause_s=0.01, fail=False)
        if not self.is_ready():
            self.kill9()
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])
            raise ServerFailedError(f"{self.name} did not become ready; its log:\n{tail}")
        return time.monotonic() - begin

    def pids(self) -> list[int]:
        """The process and its children (PostgreSQL has one per connection); nothing when it is not running."""
        if self.process is None or self.process.poll() is not None:
            return []
        pid = self.process.pid
        return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]

    def signal_all(self, number: int, until: str) -> None:
        """Signal every process and wait until each is in one of the states (gone is in any of them)."""
        pids = self.pids()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        wait_until(lambda: all(process_state(pid) in until for pid in pids), 10.0, pause_s=0.002)

    def kill9(self) -> None:
        """Crash."""
        self.signal_all(signal.SIGKILL, until="ZX")
        if self.process:
            self.process.wait()

    def pause(self) -> None:
        """Hang: the kernel still accepts connections, nothing answers. Returns once it really stands still."""
        self.signal_all(signal.SIGSTOP, until="TZX")

    def resume(self) -> None:
        self.signal_all(signal.SIGCONT, until="RSDZX")

    def stop(self) -> float:
        """Stop politely, return the seconds that took. Data stays: start() goes on with it."""
        begin = time.monotonic()
        if self.process and self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(self.stop_timeout)
            self.kill9()
        return time.monotonic() - begin

    def restart_empty(self) -> None:
        """Crash, lose everything, come back at the same address."""
        self.kill9()
        for path in self.dir.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.prepare()
        self.start()

    def close(self) -> None:
        """Throw away, data included: the quickest end."""
        atexit.unregister(self.close)
        self.kill9()
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc) -> None:
        self.close()
