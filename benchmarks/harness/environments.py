"""Python environments of the peers, one each, made on first use.

A peer never shares an environment with QMTL: its pins cannot bend ours, and ours cannot bend its.
Everything lands in ``.cache/bench/``, which git ignores; delete the directory to start over.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "bench"
PYTHON = "3.11"


class SetupError(RuntimeError):
    """An environment could not be made; the message is the installer's own."""


@dataclass(frozen=True)
class Environment:
    """A named set of requirements that lives in its own virtual environment.

    An environment without requirements is the one that runs the benchmark, which has QMTL.
    """

    name: str
    requirements: tuple[str, ...] = ()

    def python(self) -> Path:
        """Path of the interpreter; makes and fills the environment when it is missing or outdated."""
        if not self.requirements:
            return Path(sys.executable)
        home = CACHE / "envs" / self.name
        interpreter = home / "bin" / "python"
        stamp, wanted = home / "requirements.txt", "\n".join(self.requirements) + "\n"
        if not (interpreter.exists() and stamp.exists() and stamp.read_text() == wanted):
            self._make(home, interpreter)
            stamp.write_text(wanted)
        return interpreter

    def _make(self, home: Path, interpreter: Path) -> None:
        print(f"  making the environment of {self.name}: {', '.join(self.requirements)}", file=sys.stderr, flush=True)
        shutil.rmtree(home, ignore_errors=True)
        _uv("venv", "--quiet", "--python", PYTHON, str(home))
        _uv("pip", "install", "--quiet", "--python", str(interpreter), *self.requirements)


def _uv(*arguments: str) -> None:
    uv = shutil.which("uv")
    command = [uv] if uv else [sys.executable, "-m", "uv"]
    environment = {**os.environ, "UV_PYTHON_DOWNLOADS": "never"}
    done = subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SetupError(f"uv {' '.join(arguments)}\n{done.stderr.strip()}")


QMTL = Environment("qmtl")
FLOOR = Environment("floor", ("numpy>=2.4,<3", "numba>=0.68,<0.69"))
POLARS = Environment("polars", ("polars>=2,<3", "numpy>=2.4,<3"))
VECTORBT = Environment("vectorbt", ("vectorbt>=1.2,<1.3",))
CSP = Environment("csp", ("csp>=0.19,<0.20",))
BACKTESTING = Environment("backtesting", ("backtesting>=0.6,<0.7",))
PANDAS = Environment("pandas", ("pandas>=3,<4",))
