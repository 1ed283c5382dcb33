"""The embedded stack of a run that names no Gateway: ``qmtl up`` as a child that ends with its parent."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import time
from pathlib import Path

from qmtl.errors import UnavailableError

_START_S, _STOP_S = 30.0, 5.0


class Stack:
    """Gateway, DAG manager and their stores in a folder, for one run.

    Parameters
    ----------
    folder : Path
        Where the stores are; a stack that is started there again goes on with them.
    session_timeout_s : float, optional
        A runner that has not beaten for so long is dead; the default of services otherwise.

    Raises
    ------
    UnavailableError
        It did not start; says what it printed.
    """

    def __init__(self, folder: Path, *, session_timeout_s: float | None = None) -> None:
        # It reads its standard input and ends with it: whatever happens to this process, nothing stays behind.
        command = ["-m", "qmtl", "up", "--port", "0", "--data", str(folder), "--no-auth", "--with-parent"]
        if session_timeout_s is not None:
            command += ["--session-timeout", str(session_timeout_s)]
        self._said = folder / "up.log"
        folder.mkdir(parents=True, exist_ok=True)
        with self._said.open("w") as said:
            self._child = subprocess.Popen(  # noqa: S603  (our own program)
                [sys.executable, *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                start_new_session=True,
                env={name: value for name, value in os.environ.items() if not name.startswith("QMTL_")},
            )
        self.url = self._first_line()

    def _first_line(self) -> str:
        stdout, ends = self._child.stdout, time.monotonic() + _START_S
        assert stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            if selector.select(max(0.0, ends - time.monotonic())) and (line := stdout.readline()):
                return line.strip()
        self._child.kill()
        self._child.communicate()
        said = self._said.read_text().strip().splitlines()[-1:] or ["nothing"]
        raise UnavailableError(f"the embedded stack did not start; it said: {said[0]}", dependency="gateway")

    def close(self) -> None:
        """End it; safe to call twice."""
        self._child.terminate()
        try:
            self._child.communicate(timeout=_STOP_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.communicate()
