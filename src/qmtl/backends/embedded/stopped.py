"""A process that was stopped while it wrote holds the lock until it goes on: it is helped to the end of its write.

Whoever presses Ctrl-Z, or freezes a process from outside, may meet it in the middle of a transaction, and then nobody
else could write any more. Linux only; elsewhere writers wait.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

#: Where SQLite locks the shared memory of a file's log for writing; part of its file format.
_WRITE_LOCK = 120
#: A write that goes on takes so long at most, in seconds; it is looked at so often.
_WRITE_S, _LOOK_S = 0.5, 0.001


def help_writer(path: Path) -> bool:
    """Let the stopped writer of a SQLite file go on until it has written, then stop it again; return if there was one.

    It needs the right to send signals to that process; without, nothing happens.
    """
    pid = _writer(path)
    if pid is None or not _is_stopped(pid):
        return False
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGCONT)
        ends = time.monotonic() + _WRITE_S
        while _writer(path) == pid and time.monotonic() < ends:
            time.sleep(_LOOK_S)
        os.kill(pid, signal.SIGSTOP)
        return True
    return False


def _writer(path: Path) -> int | None:
    """Return the process that holds the write lock; the file is not opened, for closing it would free our own locks."""
    try:
        found = Path(f"{path}-shm").stat()
        locks = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return None
    file = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    for line in locks:  # 1: POSIX  ADVISORY  WRITE 4711 08:01:123456 120 120
        _, *fields = line.split()
        if fields[:1] == ["POSIX"] and fields[2] == "WRITE" and fields[4] == file:
            first, last = fields[5:7]
            if int(first) <= _WRITE_LOCK and (last == "EOF" or int(last) >= _WRITE_LOCK):
                return int(fields[3])
    return None


def _is_stopped(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False
