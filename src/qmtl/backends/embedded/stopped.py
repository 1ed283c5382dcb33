"""A process that was stopped while it wrote holds the lock until it goes on: it is helped to the end of its write.

Whoever presses Ctrl-Z, or freezes a process from outside, may meet it in the middle of a transaction, and then nobody
else could write any more. Linux only; elsewhere writers wait.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

#: Where SQLite locks the shared memory of a file's log for writing; part of its file format.
_WRITE_LOCK = 120
#: A write that goes on takes so long at most, in seconds; it is looked at so often.
_WRITE_S, _LOOK_S = 0.5, 0.001


def help_writer(path: Path) -> bool:
    """Let the stopped writer of a SQLite file go on until it has written, then stop it again; return if there was one.

    Only a process of the same user is touched; what another user has stopped, or a debugger holds, is left alone.
    """
    pid = _writer(path)
    if pid is None:
        return False
    try:
        process = os.pidfd_open(pid)  # from here on nobody else can come to have its number
    except (OSError, AttributeError):  # it has ended, or the system has no such thing
        return False
    try:
        if _writer(path) != pid or not _is_stopped(pid) or not _is_ours(pid):
            return False
        return _let_write(process, lambda: _writer(path) == pid)
    finally:
        os.close(process)


def _let_write(process: int, is_writing: Callable[[], bool]) -> bool:
    """Let a process go on until it has written; whatever happens here, it is stopped again."""
    try:
        signal.pidfd_send_signal(process, signal.SIGCONT)
        ends = time.monotonic() + _WRITE_S
        while is_writing() and time.monotonic() < ends:
            time.sleep(_LOOK_S)
    except PermissionError:
        return False
    finally:
        with contextlib.suppress(OSError):  # it has ended
            signal.pidfd_send_signal(process, signal.SIGSTOP)
    return True


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


def _is_ours(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}").stat().st_uid == os.geteuid()
    except OSError:
        return False


def _is_stopped(pid: int) -> bool:
    """Whether a signal has stopped it; ``t`` would be a debugger."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False
