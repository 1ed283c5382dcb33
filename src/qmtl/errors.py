"""TEMPORARY by lead until the data helper's lands: overwrite me."""
from __future__ import annotations
import difflib
from collections.abc import Iterable
from typing import Any, ClassVar
class QmtlError(Exception):
    code: ClassVar[str] = "QM"
    exit_code: ClassVar[int] = 1
    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message); self.message = message; self.hint = hint
    def __str__(self) -> str:
        return self.message + (f"\n  hint: {self.hint}" if self.hint else "")
class BuildError(QmtlError): pass
class CycleError(BuildError): pass
class DuplicateNameError(BuildError): pass
class UnknownNameError(BuildError): pass
class IntervalError(BuildError): pass
class WindowError(BuildError): pass
class OperatorError(BuildError): pass
class IdentityError(QmtlError): pass
class UnhashableCodeError(IdentityError): pass
class LoweringError(IdentityError): pass
class DocumentError(QmtlError):
    def __init__(self, message: str, *, pointer: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint); self.pointer = pointer
class DataError(QmtlError): pass
class DataFormatError(DataError): pass
class DataGapError(DataError): pass
class NotEnoughHistoryError(DataError): pass
class SourceNotFoundError(DataError): pass
class RunError(QmtlError): pass
class ComputeError(RunError):
    def __init__(self, message: str, *, node: str, bucket: int, user_traceback: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint); self.node=node; self.bucket=bucket; self.user_traceback=user_traceback
class SchemaMismatchError(RunError): pass
class WriteError(RunError): pass
class UsageError(QmtlError): pass
def unknown_name(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    names = list(known); close = difflib.get_close_matches(name, names, 1)
    return UnknownNameError(f"unknown {kind} {name!r}", hint=f"did you mean {close[0]!r}?" if close else "known: " + ", ".join(names))
