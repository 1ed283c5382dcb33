"""What can go wrong, as one tree.

Every error names the place and, where there is one, the remedy. ``code`` is stable: scripts may match it.
``exit_code`` is that of the command line: 1 failed, 2 usage, 3 not reachable.

::

    QmtlError
    ├─ BuildError               a strategy or node that cannot be built
    │  ├─ CycleError
    │  ├─ DuplicateNameError
    │  ├─ UnknownNameError      "did you mean …?"
    │  ├─ IntervalError
    │  ├─ SignatureError        a function that cannot be called with the view; also a TypeError
    │  ├─ WindowError           a window asked for what it does not hold, or written to
    │  └─ OperatorError         an operator declared or called wrongly
    ├─ IdentityError
    │  ├─ UnhashableCodeError   code whose meaning cannot be known: never shared
    │  └─ LoweringError         ids that do not follow from the lowered graph
    ├─ DocumentError            a DAG document that is not valid; `pointer` says where
    ├─ DataError
    │  ├─ DataFormatError       unsorted, duplicated, off the grid, NaN, no zone, …
    │  ├─ DataGapError          bars are missing and the policy is to fail; `gaps` says which
    │  ├─ NotEnoughHistoryError
    │  └─ SourceNotFoundError
    ├─ RunError
    │  ├─ ComputeError          a user's function raised; `node`, `bucket`, `user_traceback`
    │  ├─ SchemaMismatchError   a user's function returned other fields than before
    │  └─ WriteError            a result could not be written; nothing half-written is left
    ├─ ServiceError             something between processes
    │  ├─ UnreachableError      nobody answers at the address (exit code 3)
    │  ├─ UnavailableError      a dependency is down: try again later
    │  ├─ RefusedError          the other side answered no; `status`, `pointer`
    │  ├─ NotAllowedError       no valid token, or a missing scope
    │  ├─ ConflictError         somebody else changed the same thing at the same time: decide again
    │  ├─ EndedError            the strategy was stopped meanwhile
    │  └─ MissingExtraError     a driver that is not installed
    └─ UsageError               an option or argument that makes no sense
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from qmtl.interval import Span

#: So many known names are listed when none is close.
_LISTED = 12


class QmtlError(Exception):
    """A user's mistake, or a failure outside, told so that it can be mended.

    Parameters
    ----------
    message : str
        What is wrong, and where.
    hint : str, optional
        The remedy.

    Examples
    --------
    >>> print(QmtlError("stream 'price' has no data", hint="bind it with data="))
    stream 'price' has no data
      hint: bind it with data=
    """

    code: ClassVar[str] = "QM-FAILED"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message, self.hint = message, hint

    def __str__(self) -> str:
        return self.message + (f"\n  hint: {self.hint}" if self.hint else "")


class BuildError(QmtlError):
    """A strategy or a node cannot be built."""

    code = "QM-BUILD"


class CycleError(BuildError):
    """Nodes depend on each other in a circle."""

    code = "QM-CYCLE"


class DuplicateNameError(BuildError):
    """Two things have one name."""

    code = "QM-DUPLICATE-NAME"


class UnknownNameError(BuildError):
    """A name that nothing has."""

    code = "QM-UNKNOWN-NAME"


class IntervalError(BuildError):
    """An interval, a time or a span that makes no sense."""

    code = "QM-INTERVAL"


class SignatureError(BuildError, TypeError):
    """A compute function does not take exactly one argument, the view."""

    code = "QM-SIGNATURE"


class WindowError(BuildError):
    """A window was asked for what it does not hold, or was written to."""

    code = "QM-WINDOW"


class OperatorError(BuildError):
    """An operator is declared or called wrongly."""

    code = "QM-OPERATOR"


class IdentityError(QmtlError):
    """The identity of a node cannot be derived."""

    code = "QM-IDENTITY"


class UnhashableCodeError(IdentityError):
    """Code refers to something whose meaning cannot be known."""

    code = "QM-UNHASHABLE-CODE"


class LoweringError(IdentityError):
    """Deriving the ids again from the lowered graph gives other ids."""

    code = "QM-LOWERING"


class DocumentError(QmtlError):
    """A DAG document is not valid; ``pointer`` is the JSON pointer to the fault."""

    code = "QM-DOCUMENT"

    def __init__(self, message: str, *, pointer: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.pointer = pointer


class DataError(QmtlError):
    """Data that cannot be used."""

    code = "QM-DATA"


class DataFormatError(DataError):
    """Data of the wrong form; the message names source, row and remedy."""

    code = "QM-DATA-FORMAT"


class DataGapError(DataError):
    """Bars are missing and the policy is to fail; ``gaps`` holds the missing spans."""

    code = "QM-DATA-GAP"

    def __init__(self, message: str, *, gaps: Sequence[Span] = (), hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.gaps = list(gaps)


class NotEnoughHistoryError(DataError):
    """There are fewer bars than the warm-up needs."""

    code = "QM-NOT-ENOUGH-HISTORY"


class SourceNotFoundError(DataError):
    """A file, a stream's data or a class is not there."""

    code = "QM-SOURCE-NOT-FOUND"


class RunError(QmtlError):
    """A run failed."""

    code = "QM-RUN"


class ComputeError(RunError):
    """A user's function raised.

    Attributes
    ----------
    node : str
        Label of the node.
    bucket : int
        Start of the bucket, seconds UTC.
    user_traceback : str
        Traceback of the user's own frames.
    """

    code = "QM-COMPUTE"

    def __init__(self, message: str, *, node: str, bucket: int, user_traceback: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.node, self.bucket, self.user_traceback = node, bucket, user_traceback


class SchemaMismatchError(RunError):
    """A user's function returned other fields or types than at its first bar."""

    code = "QM-SCHEMA-MISMATCH"


class WriteError(RunError):
    """Something could not be written; nothing half-written is left."""

    code = "QM-WRITE"


class ServiceError(QmtlError):
    """Something between processes went wrong."""

    code = "QM-SERVICE"


class UnreachableError(ServiceError):
    """Nobody answers at an address."""

    code = "QM-UNREACHABLE"
    exit_code = 3


class UnavailableError(ServiceError):
    """A dependency does not answer now; ``dependency`` names it; try again after ``retry_after_s`` seconds."""

    code = "QM-UNAVAILABLE"

    def __init__(self, message: str, *, dependency: str, retry_after_s: float = 1.0, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.dependency, self.retry_after_s = dependency, retry_after_s


class RefusedError(ServiceError):
    """The other side answered no; ``status`` is its HTTP status, ``pointer`` the JSON pointer to the fault."""

    code = "QM-REFUSED"

    def __init__(self, message: str, *, status: int, pointer: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status, self.pointer = status, pointer


class NotAllowedError(ServiceError):
    """There is no valid token, or it lacks a scope; ``status`` is 401 or 403."""

    code = "QM-NOT-ALLOWED"

    def __init__(self, message: str, *, status: int = 401, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class ConflictError(ServiceError):
    """Somebody else changed the same thing at the same time: read and decide again."""

    code = "QM-CONFLICT"


class EndedError(ServiceError):
    """A strategy was stopped meanwhile: nothing is mapped for it any more."""

    code = "QM-ENDED"


class MissingExtraError(ServiceError):
    """A driver is not installed."""

    code = "QM-MISSING-EXTRA"
    exit_code = 2


class UsageError(QmtlError):
    """An option or argument makes no sense."""

    code = "QM-USAGE"
    exit_code = 2


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """Return the error for a name that nothing has, with the nearest name that something has.

    Examples
    --------
    >>> print(unknown_name("field", "clsoe", ["open", "close"]))
    unknown field 'clsoe'
      hint: did you mean 'close'? known: open, close
    """
    names = list(dict.fromkeys(known))
    close = difflib.get_close_matches(name, names, n=1)
    listed = ", ".join(names[:_LISTED]) + (", …" if len(names) > _LISTED else "")
    hint = (f"did you mean {close[0]!r}? " if close else "") + (f"known: {listed}" if names else "there is none")
    return UnknownNameError(f"unknown {kind} {name!r}", hint=hint)
