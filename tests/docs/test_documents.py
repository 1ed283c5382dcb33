"""Documents that cannot lie: their snippets run, their links lead somewhere, their sacred commands stand."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
import yaml

from docs.snippets import INSTALLATION, blocks, compare, run
from qmtl.cli.dagm import app as dagm
from qmtl.cli.gateway import gateway
from qmtl.gateway.lifecycle import diagram
from qmtl.telemetry.metrics import TABLE

EXECUTED = (
    "README.md",
    "docs/sdk_tutorial.md",
    "docs/concepts/sharing.md",
    "gateway.md",
    "dag-manager.md",
    "docs/e2e_testing.md",
)
LINKED = (*EXECUTED, "architecture.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/decisions/README.md")
SACRED = (
    "pip install uv && uv run qmtl demo",
    "pip install uv && uv run pytest -q tests",
    "uv venv",
    "uv pip install -e .[dev]",
    "uv run pytest -q tests",
    *(f"uv pip install -e .[{extra}]" for extra in ("indicators", "streams", "generators", "transforms")),
)


@pytest.mark.timeout(400)  # they run everything that a reader would run
@pytest.mark.parametrize("name", EXECUTED)
def test_snippets_run_and_print_what_the_document_shows(
    name: str, root: Path, tmp_path: Path, real_data: Callable[[str], Path]
) -> None:
    shipped = tmp_path / "src/qmtl/data"
    shipped.mkdir(parents=True)
    shutil.copy(real_data("BTC-PERP-1m.parquet"), shipped)
    shutil.copytree(root / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    assert run(root / name, tmp_path) > 0


def test_the_readme_has_the_sacred_commands(root: Path) -> None:
    said = [
        line.strip()
        for block in blocks(root / "README.md")
        if block.language == "bash"
        for line in block.text.splitlines()
    ]
    assert [command for command in SACRED if command not in said] == []
    assert all(any(re.fullmatch(known, command) for known in INSTALLATION) for command in SACRED)


def test_the_readme_starts_with_a_short_strategy(root: Path) -> None:
    first = next(block for block in blocks(root / "README.md") if block.language == "python")
    assert len([line for line in first.text.splitlines() if line.strip()]) <= 15


def test_the_life_cycle_in_the_documents_is_the_one_of_the_machine(root: Path) -> None:
    (drawn,) = [block.text for block in blocks(root / "gateway.md") if block.language == "mermaid"]
    assert drawn == diagram()


def test_the_metrics_in_the_documents_are_those_that_exist(root: Path) -> None:
    said = (root / "gateway.md").read_text() + (root / "dag-manager.md").read_text()
    assert [name for name in TABLE if f"`{name}`" not in said] == []


def test_the_services_of_the_compose_file_take_the_settings_that_they_are_given(root: Path) -> None:
    services = yaml.safe_load((root / "compose.yaml").read_text())["services"]
    known = {
        "gateway": typer.main.get_command(_alone(gateway)),
        "dagm": typer.main.get_command(dagm).commands["server"],
    }
    for name, command in known.items():
        given = services[name]["command"]
        options = {option for parameter in command.params for option in parameter.opts}
        assert [word for word in given if word.startswith("--") and word not in options] == []
        variables = {str(parameter.envvar) for parameter in command.params if parameter.envvar}
        assert set(services[name]["environment"]) - {"QMTL_SECRET"} <= variables
    stores = {"redis", "postgres", "neo4j", "kafka"}
    assert stores <= set(services)
    assert all(services[name]["image"].count(":") == 1 for name in stores)


def _alone(command: Callable[..., None]) -> typer.Typer:
    app = typer.Typer()
    app.command()(command)
    return app


@pytest.mark.parametrize("name", LINKED)
def test_links_lead_to_files_that_exist(name: str, root: Path) -> None:
    document = root / name
    targets = re.findall(r"\]\((?!https?://|#)([^)#]+)(?:#[^)]*)?\)", document.read_text())
    assert [target for target in targets if not (document.parent / target).exists()] == []


def test_architecture_is_short(root: Path) -> None:
    assert len((root / "architecture.md").read_text().splitlines()) <= 150


def test_every_decision_is_listed_and_fits_a_page(root: Path) -> None:
    pages = sorted((root / "docs/decisions").glob("0*.md"))
    index = (root / "docs/decisions/README.md").read_text()
    assert [page.name for page in pages if f"({page.name})" not in index] == []
    assert [page.name for page in pages if len(page.read_text().splitlines()) > 70] == []


def test_another_output_is_found() -> None:
    compare("a ... c\n", "a b c\n", "here")
    with pytest.raises(AssertionError, match="here: the document shows another output"):
        compare("1\n", "2\n", "here")
