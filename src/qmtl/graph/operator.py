"""Operators: what a node does at each bar, declared once and compiled for every mode."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from qmtl.errors import OperatorError, unknown_name

if TYPE_CHECKING:
    from qmtl.graph.operator_node import OperatorNode

Kind = Literal["pointwise", "window", "fold", "recursive", "cross_section", "resample"]
Params = Mapping[str, Any]
Step = Callable[..., Any]

#: Every registered operator by name; the check-suite discovers operators here.
REGISTRY: dict[str, Operator] = {}

#: Where the library is: the file of a step tells whose it is; its module can be any, as in a doctest.
_LIBRARY = str(Path(__file__).parents[1])


@dataclass(frozen=True)
class Param:
    """A parameter of an operator: its type, default and lower bound.

    Parameters
    ----------
    kind : type
        ``int``, ``float`` or ``bool``; the value is converted to it, so that ``1`` and ``1.0`` are
        one parameter of a float operator and one identity.
    default : object, optional
        Value when the caller gives none; ``...`` means that the caller must give one.
    minimum : float, optional
        Smallest value allowed.
    """

    kind: type
    default: Any = ...
    minimum: float | None = None

    def convert(self, operator: str, name: str, value: Any) -> Any:
        """Return the value in this parameter's type, or say what is wrong with it."""
        try:
            converted = self.kind(value)
            exact = isinstance(value, bool) is (self.kind is bool) and converted == value
        except (TypeError, ValueError, OverflowError):
            exact = False
        if not exact:
            raise OperatorError(
                f"{operator}: parameter {name!r} is {value!r}, not a {self.kind.__name__}",
                hint=f"pass a {self.kind.__name__}, for example {name}=20",
            )
        if self.minimum is not None and not converted >= self.minimum:
            raise OperatorError(
                f"{operator}: parameter {name!r} is {value!r}, below {self.minimum:g}",
                hint=f"use at least {self.minimum:g}",
            )
        return converted


@dataclass(frozen=True)
class Operator:
    """A deterministic computation per bar, with a bounded memory.

    Calling it builds a node. The step functions are plain Python in the subset that numba
    compiles; they may use ``math``, ``np``, module constants and plain helper functions.

    Attributes
    ----------
    name, version : str, int
        Together they are the identity of a library operator's code.
    kind : Kind
        Decides the signature of ``step`` (see :func:`operator`).
    inputs : tuple[str, ...]
        Input names in order.
    outputs : tuple[str, ...]
        Output field names; one output is called ``value``.
    params : Mapping[str, Param]
        Parameters in the order in which the step sees them in ``p``.
    lookback : Callable[[Params], int]
        Joined bars of the inputs that one output depends on.
    """

    name: str
    version: int
    kind: Kind
    step: Step
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    params: Mapping[str, Param]
    window: Callable[[Params], int]
    state: int = 0
    lift: Step | None = None
    merge: Step | None = None
    doc: str = field(default="", repr=False, compare=False)

    def __call__(
        self, *args: Any, name: str | None = None, tags: Any = None, interval: Any = None, **params: Any
    ) -> OperatorNode:
        """Build the node that applies this operator to its inputs."""
        from qmtl.graph.operator_node import OperatorNode

        sources, values = self.bind(args, params)
        return OperatorNode(self, sources, values, name=name, tags=tags, interval=interval)

    def bind(self, args: tuple[Any, ...], params: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Split call arguments into inputs and checked parameters."""
        count = len(self.inputs)
        if len(args) < count:
            raise OperatorError(
                f"{self.name} takes {count} input(s) ({', '.join(self.inputs)}), got {len(args)}",
                hint=f"call {self.signature}",
            )
        positional = dict(zip(self.params, args[count:], strict=False))
        if len(args) - count > len(self.params):
            raise OperatorError(f"{self.name} got too many arguments", hint=f"call {self.signature}")
        for given in params:
            if given not in self.params:
                raise unknown_name(f"parameter of {self.name}", given, self.params)
            if given in positional:
                raise OperatorError(f"{self.name}: parameter {given!r} is given twice")
        return args[:count], self.complete({**positional, **params})

    def complete(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return all parameters, converted, with defaults filled in."""
        values: dict[str, Any] = {}
        for key, param in self.params.items():
            value = given.get(key, param.default)
            if value is ...:
                raise OperatorError(f"{self.name}: parameter {key!r} is missing", hint=f"call {self.signature}")
            values[key] = None if value is None and param.default is None else param.convert(self.name, key, value)
        return values

    @property
    def signature(self) -> str:
        """How to call it, for error messages and docs."""
        tail = [k if v.default is ... else f"{k}={v.default!r}" for k, v in self.params.items()]
        return f"{self.name}({', '.join([*self.inputs, *tail])})"

    @property
    def is_library(self) -> bool:
        """Whether QMTL ships it, so that name and version stand for the code."""
        return inspect.getfile(self.step).startswith(_LIBRARY)

    def lookback(self, params: Params) -> int:
        """Return the joined bars of the inputs that one output depends on.

        A recursive operator is restarted ``window`` bars before the last absolute block boundary,
        and a block is ``window`` buckets long: twice the window covers every case.
        """
        window = self.window(params)
        return 2 * window if self.kind == "recursive" else window


def operator(
    *,
    kind: Kind,
    inputs: tuple[str, ...] = ("x",),
    outputs: tuple[str, ...] = ("value",),
    params: Mapping[str, Param] | None = None,
    window: Callable[[Params], int] | None = None,
    state: int = 0,
    lift: Step | None = None,
    merge: Step | None = None,
    version: int = 1,
    name: str | None = None,
) -> Callable[[Step], Operator]:
    """Declare an operator; batch, stream, snapshots, identity and checks come with it.

    Parameters
    ----------
    kind : Kind
        ===============  ==========================================================================
        pointwise        ``step(x, p) -> y``: ``x`` the inputs of one symbol at one bar
        window           ``step(w, p) -> y``: ``w`` float64[inputs, window], oldest first
        fold             ``step(agg, p) -> y`` with ``lift(x, p) -> agg`` and an associative
                         ``merge(a, b) -> agg``; ``agg`` is a tuple of ``state`` floats
        recursive        ``step(state, x, p) -> (state, y)``: ``state`` a tuple of floats, zero at
                         a restart
        cross_section    ``step(x, p, out)``: ``x`` float64[inputs, S], ``out`` float64[outputs, S]
        resample         ``step(w, p) -> y``: ``w`` float64[inputs, bars in the longer bucket]
        ===============  ==========================================================================

        ``x`` and ``p`` are tuples of floats; ``y`` is a float for one output, a tuple for several.
    inputs, outputs : tuple of str
        Names in order.
    params : mapping, optional
        Parameters, seen by the step as ``p`` in this order.
    window : callable, optional
        Bars of memory from the parameters; 1 by default.
    state : int
        Width of the state (recursive) or of the aggregate (fold).
    version : int
        Raise it when the meaning changes.

    Examples
    --------
    >>> from qmtl.graph.operator import Param, operator
    >>> @operator(kind="window", params={"period": Param(int, minimum=1)}, window=lambda p: p["period"])
    ... def mid_range(w, p):
    ...     return (w[0].max() + w[0].min()) / 2
    >>> mid_range.signature
    'mid_range(x, period)'
    """

    def declare(step: Step) -> Operator:
        made = Operator(
            name=name or step.__name__,
            version=version,
            kind=kind,
            step=step,
            inputs=inputs,
            outputs=outputs,
            params=dict(params or {}),
            window=window or (lambda _: 1),
            state=state,
            lift=lift,
            merge=merge,
            doc=inspect.getdoc(step) or "",
        )
        if made.is_library:
            _register(made)
        return made

    return declare


def _register(made: Operator) -> None:
    known = REGISTRY.get(made.name)
    if (
        known is not None
        and known.step.__code__ is not made.step.__code__
        and known.step.__module__ != made.step.__module__
    ):
        raise OperatorError(f"two library operators are called {made.name!r}")
    REGISTRY[made.name] = made
