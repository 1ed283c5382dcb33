"""A process that is stopped in the middle of a write holds up nobody."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from qmtl.backends.embedded.sqlite import Database
from qmtl.backends.embedded.stopped import help_writer
from stack.process import process_state
from stack.waiting import wait_until

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.timeout(60),
    pytest.mark.skipif(sys.platform != "linux", reason="asks Linux who holds a lock"),
]

SCHEMA = "CREATE TABLE IF NOT EXISTS told (who TEXT)"
#: Stops itself in a transaction, as if somebody had done it then; ends when it is let go on and told to.
WRITER = """
import os, signal, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN IMMEDIATE")
db.execute("INSERT INTO told VALUES ('stopped')")
os.kill(os.getpid(), signal.SIGSTOP)
db.execute("COMMIT")
sys.stdin.read()
"""


async def test_a_stopped_writer_is_helped_to_the_end_of_its_write_and_stays_stopped(tmp_path):
    path = tmp_path / "shared.db"
    database = Database(path, SCHEMA, "log")
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdin=subprocess.PIPE) as writer:  # noqa: ASYNC220
        wait_until(lambda: process_state(writer.pid) == "T", 10.0)
        await database.write(lambda db: db.execute("INSERT INTO told VALUES ('other')").rowcount)
        wait_until(lambda: process_state(writer.pid) == "T", 1.0)
        told = await database.read(lambda db: [row[0] for row in db.execute("SELECT who FROM told ORDER BY rowid")])
        assert told == ["stopped", "other"]
        assert not help_writer(path), "nobody writes now"
        os.kill(writer.pid, signal.SIGCONT)
        writer.communicate(timeout=10)
    assert writer.returncode == 0
    await database.close()


async def test_a_writer_that_runs_is_left_alone(tmp_path):
    path = tmp_path / "shared.db"
    database = Database(path, SCHEMA, "log")
    program = WRITER.replace(
        "os.kill(os.getpid(), signal.SIGSTOP)", "print('writes', flush=True); sys.stdin.readline()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", program, str(path)], **pipes) as writer:  # noqa: ASYNC220
        assert writer.stdout.readline() == b"writes\n"
        assert not help_writer(path), "it is not stopped"
        os.kill(writer.pid, signal.SIGSTOP)
        wait_until(lambda: process_state(writer.pid) == "T", 10.0)
        assert not help_writer(tmp_path / "other.db"), "not this file"
        assert process_state(writer.pid) == "T"
        os.kill(writer.pid, signal.SIGCONT)
        writer.communicate(b"\n", timeout=10)
    assert writer.returncode == 0
    await database.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
async def test_who_belongs_to_another_user_is_left_alone(tmp_path):
    path = tmp_path / "shared.db"
    database = Database(path, SCHEMA, "log")
    program = WRITER.replace("os.kill(", "os.setuid(65534); os.kill(")
    with subprocess.Popen([sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE) as writer:  # noqa: ASYNC220
        wait_until(lambda: process_state(writer.pid) == "T", 10.0)
        assert not help_writer(path)
        assert process_state(writer.pid) == "T"
        writer.kill()
    await database.close()
