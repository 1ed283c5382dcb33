"""Where a run keeps its state: its identity, whether it has ended, and who may go on with it."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from qmtl.errors import DataFormatError, UsageError, WriteError
from qmtl.live.checkpoint import Checkpoint
from qmtl.live.run_store import RunStore

_STATE, _NAME = "state.db", "run.json"
#: What a run leaves in its folder; nothing else is ever removed.
_OURS = (_STATE, f"{_STATE}-wal", f"{_STATE}-shm", _NAME, "world", "result")


class Terms(msgspec.Struct, frozen=True):
    """What has to be the same for a run to go on.

    Attributes
    ----------
    strategies : dict of name to hash of its graph
    mode, calendar, on_missing : str
    span : tuple of int
    cash : float or None
    costs : str
    """

    strategies: dict[str, str]
    mode: str
    calendar: str
    on_missing: str
    span: tuple[int, int]
    cash: float | None
    costs: str

    def difference(self, other: Terms) -> str:
        """Return the first thing that is not the same, or nothing."""
        names = self.__struct_fields__
        return next((name for name in names if getattr(self, name) != getattr(other, name)), "")


class _Known(msgspec.Struct):
    """What ``run.json`` says; ``accounts`` are the ids under which orders and accounts are kept, for ever."""

    terms: Terms
    accounts: list[str]
    ended: bool = False


class RunFolder:
    """The state of a run, held by one process.

    Parameters
    ----------
    out : Path or None
        Folder of the result; the state is in ``run`` below it. Without one it is temporary.
    terms : Terms
        What is run.

    Attributes
    ----------
    through : int or None
        Up to where an earlier life of this run came, seconds UTC; None for a fresh start.

    Raises
    ------
    UsageError
        The folder holds a run of something else that has not ended.
    WriteError
        It exists and is no result, or cannot be written.
    RunError
        Another process runs there.
    """

    def __init__(self, out: Path | None, terms: Terms) -> None:
        self._is_temporary = out is None
        self.path = Path(tempfile.mkdtemp(prefix="qmtl-run-")) if out is None else _checked(out)
        self._cleared(out, terms)
        self.store = RunStore(self.path / _STATE)
        try:
            self.through = Checkpoint.of(self.store.load()).through
            self._known = self._read() or _Known(terms, [])
        except BaseException:  # whatever it is, the folder is let go
            self.store.close()
            raise

    def _cleared(self, out: Path | None, terms: Terms) -> None:
        """Remove what an ended run has left; an unfinished one has to be the same."""
        if out is None or not (self.path / f"{_STATE}.lock").exists():
            return
        with (self.path / f"{_STATE}.lock").open("a") as held:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return  # somebody runs there: told when the store is opened
            known = self._read()
            if known is None or known.ended:
                self._remove()
            elif differs := known.terms.difference(terms):
                raise UsageError(
                    f"{str(out)!r} has an unfinished run with other {differs}, which cannot go on as this one",
                    hint=f"give another --out, or remove {str(self.path)!r} to begin afresh",
                )

    def _read(self) -> _Known | None:
        place = self.path / _NAME
        if not place.exists():
            return None
        try:
            return msgspec.json.decode(place.read_bytes(), type=_Known)
        except (msgspec.DecodeError, OSError) as error:
            hint = f"remove {str(self.path)!r} to begin afresh"
            raise DataFormatError(f"{str(place)!r} cannot be read: {error}", hint=hint) from error

    def _remove(self) -> None:
        for name in _OURS:
            place = self.path / name
            if place.is_dir():
                shutil.rmtree(place)
            else:
                place.unlink(missing_ok=True)

    def accounts(self, ids: Sequence[str]) -> list[str]:
        """Return the ids under which accounts are kept: those of the first life, which are ``ids`` if this is it."""
        if not self._known.accounts:
            self._known.accounts = [*ids]
            self._write()
        return self._known.accounts

    def _write(self) -> None:
        draft = self.path / f"{_NAME}.draft"
        try:
            draft.write_bytes(msgspec.json.encode(self._known))
            draft.replace(self.path / _NAME)
        except OSError as error:
            raise WriteError(f"cannot write {str(self.path)!r}: {error.strerror or error}") from error

    def close(self, *, ended: bool = False) -> None:
        """Let go of the state; a run that has ended never goes on."""
        if ended and not self._known.ended:
            self._known.ended = True
            self._write()
        self.store.close()
        if self._is_temporary:
            shutil.rmtree(self.path, ignore_errors=True)


def _checked(out: Path) -> Path:
    """Return the place of the state in a folder that is a result, a run, or nothing yet."""
    place = out / "run"
    is_ours = (out / "result.json").is_file() or (place / f"{_STATE}.lock").exists()
    if out.is_file() or (out.is_dir() and not is_ours and any(out.iterdir())):
        raise WriteError(f"{str(out)!r} exists and is no result", hint="give a new directory; nothing was overwritten")
    return place
