"""Random functions: equal ids only for equal syntax, whatever is written around it."""

import ast
import itertools
import linecache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmtl.graph.fingerprint import fingerprint

pytestmark = pytest.mark.identity
_count = itertools.count()

leaves = st.sampled_from(["x", "y", "K", "1", "1.0", "2", "True", "'a'", "v.a", "v.b", "(1, 2)", "[1, 2]", "None"])


def _combined(inner):
    pairs = st.tuples(inner, st.sampled_from(["+", "-", "*", "<", "<=", "==", "and", "or", "!=", "in"]), inner)
    return st.one_of(
        pairs.map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        inner.map(lambda e: f"(not {e})"),
        st.tuples(inner, inner, inner).map(lambda t: f"({t[0]} if {t[1]} else {t[2]})"),
        inner.map(lambda e: f"abs({e})"),
        inner.map(lambda e: f"(lambda z: {e})(1)"),
        inner.map(lambda e: f"[{e} for x in v.b]"),
        inner.map(lambda e: f"f'{{{e}}}'" if "'" not in e else e),
    )


expressions = st.recursive(leaves, _combined, max_leaves=8)


def made(text, name="fn", before="", k=7):
    """Return a function that has a source, as a notebook cell has one."""
    source = f"{before}def {name}(v, x=1, y=2):\n    return {text}\n"
    file = f"<cell {next(_count)}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    namespace = {"__name__": "cell", "K": k}
    exec(compile(source, file, "exec"), namespace)
    return namespace[name]


@settings(max_examples=150, deadline=None)
@given(expressions, expressions)
def test_ids_are_equal_exactly_when_the_syntax_is(one, other):
    same = ast.dump(ast.parse(one)) == ast.dump(ast.parse(other))
    assert (fingerprint(made(one)).digest == fingerprint(made(other)).digest) is same


@settings(max_examples=80, deadline=None)
@given(expressions, st.integers(0, 3))
def test_place_name_and_comments_do_not_count(text, lines):
    moved = made(f"{text}  # a comment", name="another", before="\n" * lines + "# above\n")
    assert fingerprint(made(text)).digest == fingerprint(moved).digest


@settings(max_examples=80, deadline=None)
@given(expressions)
def test_a_global_counts_exactly_when_it_is_read(text):
    reads = any(isinstance(n, ast.Name) and n.id == "K" for n in ast.walk(ast.parse(text)))
    assert (fingerprint(made(text, k=7)).digest != fingerprint(made(text, k=8)).digest) is reads
