"""Strategies, nodes and data by what people type: ``file.py:Class``, ``package.module:Class``, ``file.yaml``."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from qmtl.errors import BuildError, QmtlError, SourceNotFoundError, UsageError, unknown_name
from qmtl.sdk.strategy import Strategy

if TYPE_CHECKING:
    from qmtl.graph.node import Node

_YAML = (".yaml", ".yml")


def bindings(given: Iterable[str]) -> dict[str, str]:
    """Return stream name to path from texts of the form ``STREAM=PATH``.

    Raises
    ------
    UsageError
        Not of that form, or a stream twice.

    Examples
    --------
    >>> bindings(["price=bars.parquet"])
    {'price': 'bars.parquet'}
    """
    bound: dict[str, str] = {}
    for text in given:
        name, equals, path = text.partition("=")
        if not (name and equals and path):
            raise UsageError(f"--data {text!r} is not STREAM=PATH", hint="for example --data price=bars.parquet")
        if name in bound:
            raise UsageError(f"--data names stream {name!r} twice", hint="give each stream one source")
        bound[name] = path
    return bound


def load_strategy(address: str) -> type[Strategy]:
    """Return the strategy at an address.

    Parameters
    ----------
    address : str
        ``file.py:Class``, ``package.module:Class`` or ``file.yaml``; the class may be left out where there is one.

    Raises
    ------
    SourceNotFoundError
        No such file or module.
    UnknownNameError
        No such class in it; says which there are.
    BuildError
        The file raised while it was imported.
    """
    place, _, name = address.partition(":")
    if Path(place).suffix in _YAML:
        from qmtl.sdk.yaml_strategy import load

        return load(place)
    module = _module(place)
    own: dict[str, type[Strategy]] = {
        k: v for k, v in vars(module).items() if _is_strategy(v) and v.__module__ == module.__name__
    }
    found = getattr(module, name, None) if name else None
    if isinstance(found, type) and issubclass(found, Strategy):
        return found
    if name:
        raise unknown_name(f"strategy in {place}", name, own or ["(no class there is a Strategy)"])
    if not own:
        raise UsageError(f"{place} has no strategy", hint="a strategy is a subclass of qmtl.sdk.Strategy in that file")
    if len(own) > 1:
        raise UsageError(
            f"{place} has {len(own)} strategies", hint=f"say which: {', '.join(f'{place}:{k}' for k in own)}"
        )
    return next(iter(own.values()))


def load_node(address: str) -> tuple[str, Node]:
    """Return label and node at ``file.py:Class/node`` (or ``file.yaml/node``), or ``file.py:variable``.

    Raises
    ------
    QmtlError
        As :func:`load_strategy`; and a node that does not exist.
    """
    from qmtl.graph.node import Node

    place, _, name = address.rpartition("/") if "/" in address.rpartition(":")[2] else (address, "", "")
    if name:
        return name, load_strategy(place).build().dag.node(name)
    module, _, variable = address.partition(":")
    found = vars(_module(module)).get(variable)
    if isinstance(found, Node):
        return variable, found
    raise UsageError(
        f"{address!r} names no node", hint="write FILE:Class/NODE, or FILE:VARIABLE for a node of the module"
    )


def _is_strategy(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Strategy) and value is not Strategy


def _module(place: str) -> ModuleType:
    if place.endswith(".py") or "/" in place:
        return _from_file(Path(place))
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name and place.split(".")[: len(error.name.split("."))] == error.name.split("."):
            raise SourceNotFoundError(
                f"there is no module {place!r}",
                hint="give a path such as strategies/cross.py:Cross, or an importable module",
            ) from None
        raise _failed(place, error) from error
    except QmtlError:
        raise
    except Exception as error:  # whatever the user's module raises is told with its place
        raise _failed(place, error) from error


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        near = sorted(p.name for p in path.parent.glob("*.py"))[:8] if path.parent.is_dir() else []
        raise SourceNotFoundError(
            f"there is no file {str(path)!r}",
            hint=f"in that directory: {', '.join(near)}" if near else "check the path",
        )
    folder = str(path.resolve().parent)
    if folder not in sys.path:  # its neighbours can be imported, as when Python runs the file
        sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location(path.stem, path.resolve())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(path.stem)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:  # also Ctrl-C: the module was not imported
        sys.modules.pop(path.stem)
        if before is not None:
            sys.modules[path.stem] = before
        if isinstance(error, QmtlError) or not isinstance(error, Exception):
            raise
        raise _failed(str(path), error) from error
    return module


def _failed(place: str, error: Exception) -> BuildError:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "importlib" not in f.filename]
    line = getattr(error, "lineno", None) or (frames[-1].lineno if frames else 0)
    where = getattr(error, "filename", None) or (frames[-1].filename if frames else place)
    return BuildError(f"{place} cannot be imported: {type(error).__name__}: {error}", hint=f"see {where}, line {line}")
