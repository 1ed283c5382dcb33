"""Results on disk: Parquet and CSV for tables, JSON for the rest; all or nothing."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from qmtl.errors import DataFormatError, SourceNotFoundError, WriteError
from qmtl.report.accounts import TABLES, StoredAccounts
from qmtl.report.metrics import Metrics
from qmtl.report.payloads import as_text
from qmtl.report.series import plain_name

if TYPE_CHECKING:
    import pandas as pd

    from qmtl.report.result import Result

#: Version of the layout of a result directory.
FORMAT = "qmtl.result/1"
_MANIFEST = "result.json"
#: Where a live run keeps its state inside of the directory of its result; it is never touched here.
RUN = "run"


def save(result: Result, directory: Path) -> Path:
    """Write a result: ``result.json``, ``graph.json``, ``outputs/``, the tables of the accounts, ``report.html``."""
    if (directory / RUN).is_dir():
        return _save_beside_run(result, directory)
    if (
        directory.exists()
        and not (directory / _MANIFEST).is_file()
        and (directory.is_file() or any(directory.iterdir()))
    ):
        raise WriteError(
            f"{str(directory)!r} exists and is no result", hint="give a new directory; nothing was overwritten"
        )
    return _atomically(directory, lambda draft: _write_all(result, draft))


def _save_beside_run(result: Result, directory: Path) -> Path:
    """Write a result around the run it is of: there is a result as soon as all of it is there."""
    draft = _atomically(directory / RUN / "result", lambda draft: _write_all(result, draft))
    try:
        (directory / _MANIFEST).unlink(missing_ok=True)
        for part in sorted(draft.iterdir(), key=lambda part: part.name == _MANIFEST):
            if (directory / part.name).is_dir():
                shutil.rmtree(directory / part.name)
            part.replace(directory / part.name)
        draft.rmdir()
    except OSError as error:
        raise WriteError(
            f"cannot write {str(directory)!r}: {error.strerror or error}", hint="the run is kept; save it once more"
        ) from error
    return directory


def write_text(path: Path, text: str) -> Path:
    """Write a text file, all or nothing."""
    return write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> Path:
    """Write a file, all or nothing."""

    def write(draft: Path) -> None:
        draft.rmdir()
        draft.write_bytes(content)

    return _atomically(path, write)


def _atomically(path: Path, write: Callable[[Path], None]) -> Path:
    """Write beside the final place, then rename; whatever happens, no draft stays behind."""
    draft: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        draft.chmod(0o755)
        write(draft)
        if path.is_dir():
            replaced = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent)) / "old"
            path.rename(replaced)
            draft.rename(path)
            shutil.rmtree(replaced.parent)
        else:
            draft.replace(path)
    except OSError as error:
        raise WriteError(
            f"cannot write {str(path)!r}: {error.strerror or error}", hint="nothing half-written was left behind"
        ) from error
    finally:
        if draft is not None and draft.is_dir():
            shutil.rmtree(draft, ignore_errors=True)
        elif draft is not None:
            draft.unlink(missing_ok=True)
    return path


def _write_all(result: Result, draft: Path) -> None:
    from qmtl.report.tearsheet import render

    (draft / "outputs").mkdir()
    for name in result.outputs:
        _write_table(result.outputs[name], draft / "outputs" / quote(name, safe=" "))
    if result.has_traded:
        for name in TABLES:
            _write_table(result.accounts.table(name), draft / name)
    if result.journal is not None:
        _write_table(result.journal, draft / "journal")
    _write_json(draft / "graph.json", result.graph)
    _write_json(draft / _MANIFEST, _manifest(result))
    (draft / "report.html").write_text(render(result), encoding="utf-8")


def _manifest(result: Result) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "strategy": result.strategy,
        "node_ids": dict(result.node_ids),
        "warmup": dict(result.warmup),
        "outputs": list(result.outputs),
        "gaps": result.gaps,
        "provenance": result.provenance,
        "metrics": {name: finite(value) for name, value in result.metrics.items()},
        "basis": result.metrics.basis,
        "notes": result.metrics.notes,
    }


def finite(value: float) -> float | None:
    """Return a number for JSON, which knows neither NaN nor infinity."""
    return value if math.isfinite(value) else None


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_table(table: pd.DataFrame, stem: Path) -> None:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    if "payload" in table and table["payload"].dtype == object:
        table = table.assign(payload=[as_text(value) for value in table["payload"]])
    try:
        arrow = pa.Table.from_pandas(table)
        pyarrow.parquet.write_table(arrow, f"{stem}.parquet", compression="zstd")
        flat = [plain_name(c) for c in table.columns]
        index = arrow.column_names[len(flat) :]
        pyarrow.csv.write_csv(arrow.rename_columns([*flat, *index]).select([*index, *flat]), f"{stem}.csv")
    except pa.ArrowException as error:
        raise OSError(str(error)) from error


def load(directory: Path) -> dict[str, Any]:
    """Read the parts of a result, by the names of its fields."""
    if not (directory / _MANIFEST).is_file():
        raise SourceNotFoundError(
            f"there is no result in {str(directory)!r}", hint="give a directory that Result.save or --out wrote"
        )
    try:
        return _parts(directory)
    except (OSError, ValueError, KeyError) as error:
        raise DataFormatError(f"the result in {str(directory)!r} is damaged: {error}") from error


def _parts(directory: Path) -> dict[str, Any]:
    manifest = json.loads((directory / _MANIFEST).read_text(encoding="utf-8"))
    if manifest.get("format") != FORMAT:
        raise DataFormatError(
            f"{str(directory)!r} is in format {manifest.get('format')!r}", hint=f"this program reads {FORMAT}"
        )
    outputs = {unquote(path.stem): _read_table(path) for path in (directory / "outputs").glob("*.parquet")}
    parts = {name: manifest[name] for name in ("strategy", "node_ids", "warmup", "gaps", "provenance")}
    parts["outputs"] = {name: outputs[name] for name in manifest["outputs"]}
    parts["graph"] = json.loads((directory / "graph.json").read_text(encoding="utf-8"))
    values = {name: math.nan if value is None else value for name, value in manifest["metrics"].items()}
    if values:
        tables = {name: _read_table(directory / f"{name}.parquet") for name in TABLES}
        parts["accounts"] = StoredAccounts(tables, Metrics(values, manifest["basis"], manifest["notes"]))
    journal = directory / "journal.parquet"
    return parts | ({"journal": _read_table(journal)} if journal.is_file() else {})


def _read_table(path: Path) -> Any:
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(path).to_pandas()
    if "payload" in table:
        table["payload"] = [json.loads(value) for value in table["payload"]]
    return table
