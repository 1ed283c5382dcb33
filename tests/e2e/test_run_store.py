"""The record of a run when its process is killed, or started twice."""

import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from qmtl.errors import RunError
from qmtl.live.run_record import RunRecord
from qmtl.live.run_store import RunStore

WRITER = textwrap.dedent("""
    import sys
    import numpy as np
    from pathlib import Path
    from qmtl.live.rows import Rows
    from qmtl.live.run_store import Commit, RunStore
    store = RunStore(Path(sys.argv[1]))
    n = int(store.load() or b"0")
    print("open", n, flush=True)
    while True:
        made = Rows(60 * np.arange(n, n + 50), ("value",), np.arange(n, n + 50.0).reshape(1, -1, 1))
        n += 50
        store.commit(Commit({"a": made, "b": made}, checkpoint=b"%d" % n))
        if n % 500 == 0:
            print("at", n, flush=True)
""")


def writer(path):
    made = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    return made, made.stdout.readline()


def test_after_kill_9_the_file_is_exactly_at_a_commit(tmp_path):
    path = tmp_path / "run" / "state.db"
    goes_on = []
    for _ in range(4):
        process, said = writer(path)
        goes_on.append(int(said.split()[1]))
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        process.stdout.close()
        record = RunRecord(path)
        n = int(record.load())
        for node in ("a", "b"):
            assert record.outputs(node).ts.tolist() == (60 * np.arange(n)).tolist()
        record.close()
    assert goes_on == sorted(set(goes_on))
    assert n > goes_on[-1]


def test_a_second_process_is_told_and_a_killed_one_lets_go(tmp_path):
    path = tmp_path / "run" / "state.db"
    process, said = writer(path)
    assert said == "open 0\n"
    second, nothing = writer(path)
    assert (second.wait(20), nothing) == (1, "")
    second.stdout.close()
    with pytest.raises(RunError, match="another process runs in"):
        RunStore(path)
    process.kill()
    process.wait(10)
    process.stdout.close()
    RunStore(path).close()
