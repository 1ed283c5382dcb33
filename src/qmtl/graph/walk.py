"""The walk over a live object that writes its meaning as text; the rules are in `qmtl.graph.fingerprint`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

from qmtl.graph.canonical import FIXED, Writer

Captured = Callable[[Any], str | None]
Meaning = Callable[["Walker", Any], str]
_SHOWN = 60
_NUMBER = re.compile(r"@[0-9]+=")


class Walker(Writer):
    """Writes the meaning of an object, and collects it in pieces that people can read.

    Parameters
    ----------
    root : str
        How messages call the object.
    captured : callable
        Returns a token for an object that is an input of the node, else None.
    meaning : callable
        Writes one object that is neither an atom nor a fixed plain value.
    naming : bool
        Whether names and modules of functions and classes count, because some code reads them.

    Attributes
    ----------
    parts : dict of str to str
        What was written, by a name for people.
    reads_names : bool
        Whether some code on the way reads names of functions or classes.
    """

    def __init__(self, root: str, captured: Captured, meaning: Meaning, *, naming: bool) -> None:
        super().__init__(root)
        self.naming = naming
        self.parts: dict[str, str] = {}
        self.reads_names = False
        self._captured = captured
        self._meaning = meaning
        self._owner = ""
        self._seen: dict[int, tuple[int, object]] = {}

    def compound(self, value: Any) -> str:
        """Return the text of a value that is not an atom; of one met before, its number."""
        token = self._captured(value)
        if token is not None:
            self.note(f"captured {self.path[-1].rpartition(' ')[2] or 'value'}", token)
            return f"captured({self.text(token)})"
        known = self._seen.get(id(value))
        if known is not None:
            return f"@{known[0]}"
        if type(value) in FIXED:
            return self.plain(value)
        number = len(self._seen)
        self._seen[id(value)] = (number, value)  # kept alive, so that its id stays its own
        return f"@{number}={self._meaning(self, value)}"

    def mapping(self, value: Mapping[Any, Any]) -> str:
        """Return the text of a mapping in its order, which a loop over it sees."""
        return "{" + ", ".join(self.pairs(value)) + "}"

    def note(self, name: str, text: str) -> None:
        """Keep a readable part; long text is kept as its digest."""
        text = _NUMBER.sub("", text)  # how many objects came before is no difference to people
        shown = text if len(text) <= _SHOWN else "sha256:" + digest(text)[:16]
        self.parts.setdefault(f"{self._owner}{name}", shown)

    def note_package(self, name: str, version: str) -> None:
        """Keep an installed distribution as a part."""
        self.parts.setdefault(f"package {name}", version)

    @contextmanager
    def helper(self, label: str, content: str) -> Iterator[None]:
        """Name the parts noted inside by the function or class that they belong to."""
        before = self._owner
        if before or "source" in self.parts:
            self._owner = ""
            self.note(f"helper {label}", "sha256:" + digest(content)[:16])
            self._owner = f"helper {label} "
        else:
            self.note("source", "sha256:" + digest(content)[:16])
        yield
        self._owner = before


def digest(text: str) -> str:
    """Return the SHA-256 of a text, 64 hex characters."""
    return sha256(text.encode("ascii")).hexdigest()
