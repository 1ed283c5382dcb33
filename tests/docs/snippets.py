"""Runs the fenced blocks of a document in their order, and compares what they print with what the document shows.

- any language with ``title="name"``: written to that file, for a command further down.
- ``python`` without a title: executed, in one namespace for the whole document. The document becomes a module
  whose other lines are blank, so functions have a source and a traceback names the line of the document.
- ``bash``: lines that run qmtl or a Python file are executed; commands that set up an
  installation are checked against the documented list and ``pyproject.toml``. A line that ends in ``&`` is a
  job: its first line is awaited, and it ends with the document, or with ``kill -9 %2``; ``wait %2`` prints the rest of
  what the second job says. Ports are free ones, from the environment.
- ``text`` right after one of these: its output. ``...`` stands for anything, as in doctest.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from stack.process import free_ports

FENCE = re.compile(r"^```(?P<language>\w*)(?P<info>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
TITLE = re.compile(r'title="([^"]+)"')
RUNS = re.compile(r"^(?:uv run )?(?:(?P<qmtl>qmtl(?:-gateway|-dagm)?)|python (?P<module>-m )?(?P<file>[\w./]+))(?= |$)")

JOB = re.compile(r"(?P<verb>kill -9|wait) %(?P<number>\d)")

#: Commands that set up or check an installation; a test of the suite cannot run them inside itself.
INSTALLATION = (
    r"pip install uv && uv run qmtl demo",
    r"pip install uv && uv run pytest -q tests",
    r"uv venv",
    r"uv pip install -e \.\[(?P<extra>[a-z]+)\]",
    r"uv run pytest -q tests(/\w+)*",
    r"uv run just( [a-z]+)*",
)


class Services(contextlib.ExitStack):
    """What a document has started, in the order in which it did."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs: list[subprocess.Popen[str]] = []


@dataclass(frozen=True)
class Block:
    """A fenced block of a document."""

    language: str
    title: str | None
    text: str
    line: int


def blocks(document: Path) -> list[Block]:
    """Fenced blocks in their order; ``line`` is that of the first line inside the fence."""
    text = document.read_text()
    return [
        Block(
            found["language"],
            title[1] if (title := TITLE.search(found["info"])) else None,
            found["text"],
            text.count("\n", 0, found.start()) + 2,
        )
        for found in FENCE.finditer(text)
    ]


def run(document: Path, folder: Path) -> int:
    """Run a document in a folder; return the number of blocks that were executed."""
    module = _module(document, folder)
    found, executed = blocks(document), 0
    following = [*found[1:], None]
    with contextlib.chdir(folder), Services() as services:
        environment = _environment(folder)
        for block, after in zip(found, following, strict=True):
            place = f"{document.name}:{block.line}"
            if block.title:
                Path(block.title).write_text(block.text)
                continue
            if block.language == "python":
                printed = _python(block, module)
            elif block.language == "bash":
                printed = "".join(_command(line, place, environment, services) for line in _commands(block.text))
            else:
                continue
            executed += 1
            if after is not None and after.language == "text":
                compare(after.text, printed, place)
    return executed


def compare(shown: str, printed: str, place: str) -> None:
    """Fail with a difference when a document shows something else than was printed."""
    checker, flags = doctest.OutputChecker(), doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.REPORT_NDIFF
    if not checker.check_output(shown, printed, flags):
        difference = checker.output_difference(doctest.Example("", shown), printed, flags)
        raise AssertionError(f"{place}: the document shows another output\n{difference}\nprinted:\n{printed}")


def _module(document: Path, folder: Path) -> ModuleType:
    source = folder / (document.stem.lower() + "_snippets.py")
    lines = [""] * (document.read_text().count("\n") + 1)
    for block in blocks(document):
        if block.language == "python" and not block.title:
            code = block.text.splitlines()
            lines[block.line - 1 : block.line - 1 + len(code)] = code
    source.write_text("\n".join(lines) + "\n")
    module = ModuleType(source.stem)
    module.__file__ = str(source)
    sys.modules[source.stem] = module
    return module


def _python(block: Block, module: ModuleType) -> str:
    printed = io.StringIO()
    code = compile("\n" * (block.line - 1) + block.text, str(module.__file__), "exec")
    with contextlib.redirect_stdout(printed):
        exec(code, module.__dict__)
    return printed.getvalue()


def _commands(text: str) -> list[str]:
    joined = text.replace("\\\n", " ")
    return [line.split("  #")[0].strip() for line in joined.splitlines() if line.strip() and not line.startswith("#")]


def _environment(folder: Path) -> dict[str, str]:
    """What commands of one document share: no colours, tokens of their own, free ports."""
    gateway, grpc, callbacks = free_ports(3)
    return {
        **os.environ,
        "NO_COLOR": "1",
        "COLUMNS": "120",
        "XDG_STATE_HOME": str(folder / "state"),
        "QMTL_PORT": str(gateway),
        "QMTL_GATEWAY_URL": f"http://127.0.0.1:{gateway}",
        "QMTL_GRPC_PORT": str(grpc),
        "QMTL_DAGM_HTTP_PORT": str(callbacks),
        "QMTL_DAGM_TARGET": f"localhost:{grpc}",
    }


def _command(line: str, place: str, environment: dict[str, str], services: Services) -> str:
    for pattern in INSTALLATION:
        if found := re.fullmatch(pattern, line):
            extra = found.groupdict().get("extra")
            assert extra is None or extra in _extras(), f"{place}: there is no extra {extra!r}"
            return ""
    if found := JOB.fullmatch(line):
        return _ended(found["verb"], services.jobs[int(found["number"]) - 1], place)
    runs = RUNS.match(line)
    assert runs, f"{place}: do not know how to check `{line}`"
    words = [*_program(runs), *shlex.split(line[runs.end() :])]
    if words[-1] == "&":
        return _service(words[:-1], place, environment, services)
    into = Path(words[-1]) if ">" in words else None
    words = words[:-2] if into else words
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, f"{place}: `{line}` ended with {done.returncode}\n{done.stdout}{done.stderr}"
    if into:
        into.write_text(done.stdout)
    return "" if into else done.stdout


def _program(runs: re.Match[str]) -> list[str]:
    if runs["qmtl"]:
        return ["-m", "qmtl", *runs["qmtl"].split("-")[1:]]
    return [*(["-m"] if runs["module"] else []), runs["file"]]


def _service(words: list[str], place: str, environment: dict[str, str], services: Services) -> str:
    running = subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    services.jobs.append(running)
    services.callback(running.wait, 30)
    services.callback(running.terminate)
    assert running.stdout is not None
    services.callback(running.stdout.close)
    first = running.stdout.readline()
    assert first, f"{place}: the service ended with {running.wait(30)} before it was ready"
    return first


def _ended(verb: str, job: subprocess.Popen[str], place: str) -> str:
    """Kill a job, or wait for its end and return what it still says."""
    if verb == "kill -9":
        job.kill()
        job.wait(30)
        return ""
    assert job.stdout is not None
    said = job.stdout.read()
    assert job.wait(30) == 0, f"{place}: it ended with {job.returncode}\n{said}"
    return said


def _extras() -> set[str]:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    return set(project["optional-dependencies"])
