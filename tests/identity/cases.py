"""Pairs of programs: ``SAME`` mean the same and have one id, ``OTHER`` do not, ``REFUSED`` have none.

A program is the text of ``main.py``, which defines ``fn``; ``UTIL`` separates it from the text of ``util.py``.
"""

UTIL = "\n# util.py\n"
CLOSURE = "def make(k):\n    def fn(v): return v.x * k\n    return fn\nfn = make({})"
DEFAULT = "def fn(v, k={}): return v.x * k"
GLOBAL = "K = {}\ndef fn(v): return v.x * K"
HELPER = "from util import f\ndef fn(v): return f(v.x)" + UTIL + "def f(x): return x {} 2"
MODULE = "import util\ndef fn(v): return util.f(v.x)" + UTIL + "def f(x): return x {} 2"
DEEP = (
    "import util\ndef fn(v): return util.f(v.x)"
    + UTIL
    + "LIMIT = {}\ndef g(x): return x < LIMIT\ndef f(x): return g(x)"
)
ATTRIBUTE = (
    "class C:\n    limit = {}\n    def ask(self, x): return x < self.limit\nc = C()\ndef fn(v): return c.ask(v.x)"
)
STATE = "class C:\n    def __init__(self, k): self.k = k\n    def ask(self, v): return v.x < self.k\nfn = C({}).ask"
CALLABLE = "class C:\n    def __init__(self, k): self.k = k\n    def __call__(self, v): return v.x < self.k\nfn = C({})"
PARTIAL = "import functools\ndef g(v, k): return v.x * k\nfn = functools.partial(g, k={})"
DATACLASS = (
    "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass P:\n    a: float\nP_ = P({})\n"
    "def fn(v): return v.x * P_.a"
)
ENUM = "import enum\nclass E(enum.Enum):\n    A = {}\ndef fn(v): return v.x * E.A.value"
ARRAY = "import numpy as np\nW = np.array({})\ndef fn(v): return (v.x * W).sum()"
NESTED = "def fn(v):\n    def inner(x): return x {} 1\n    return inner(v.x)"
COMPREHENSION = "def fn(v): return sum(x for x in v.x if x > {})"
FSTRING = "def fn(v): return f'{{v.x:{}}}'"
DECORATED = (
    "def times(k):\n    def wrap(g):\n        def call(v): return g(v) * k\n        return call\n    return wrap\n"
    "@times({})\ndef fn(v): return v.x"
)
WRAPS = (
    "import functools\ndef deco(g):\n    @functools.wraps(g)\n    def call(v): return g(v) + {}\n    return call\n"
    "@deco\ndef fn(v): return v.x"
)
LATE = "def g(x): return x * {}\ndef fn(v): return g(v.x)"
PATCHED = "import util\nutil.f = lambda x: x * {}\ndef fn(v): return util.f(v.x)" + UTIL + "def f(x): return x"
NUMBA = "from numba import njit\n@njit({})\ndef g(x): return x * {}\ndef fn(v): return g(v.x)"
IMPORTED = "def fn(v):\n    from util import f\n    return f(v.x)" + UTIL + "def f(x): return x * {}"
ASYNC = "async def g(x): return x * {}\ndef fn(v): return g(v.x)"
PROPERTY = "class C:\n    @property\n    def k(self): return {}\nc = C()\ndef fn(v): return v.x * c.k"
STATICMETHOD = "class C:\n    @staticmethod\n    def k(x): return x * {}\ndef fn(v): return C.k(v.x)"
INHERITED = "class B:\n    def k(self): return {}\nclass C(B): pass\nc = C()\ndef fn(v): return v.x * c.k()"
CHAIN = "import util\ndef fn(v): return v.x * util.C.D.k" + UTIL + "class C:\n    class D:\n        k = {}"
NAMED = (
    "from typing import NamedTuple\nclass P(NamedTuple):\n    a: float\n    b: float\np = P({}, 2.0)\n"
    "def fn(v): return v.x * p.a"
)
TABLE = "T = {}\ndef fn(v): return T[v.x]"
CACHED = "import functools\n@functools.lru_cache\ndef g(x): return x * {}\ndef fn(v): return g(v.x)"
GENERATOR = "def g(xs):\n    for x in xs: yield x * {}\ndef fn(v): return sum(g(v.x))"
WALRUS = "def fn(v): return (y := v.x) * {} + y"
MATCH = "def fn(v):\n    match v.x:\n        case {}: return 1\n        case _: return 2"
TRY = "def fn(v):\n    try: return 1 / v.x\n    except {}: return 0"
SELF_REFERENCE = "def fn(v, n=3): return v.x if n == 0 else fn(v, n - {})"
DICT_ORDER = "D = {}\ndef fn(v): return [k for k in D]"
GETATTR = "import util\ndef fn(v): return getattr(util, {})(v.x)" + UTIL + "def f(x): return x\ndef g(x): return -x"

SAME = {
    "comment": ("def fn(v): return v.x", "def fn(v):\n    # a comment\n    return v.x"),
    "docstring": ("def fn(v): return v.x", 'def fn(v):\n    "doc"\n    return v.x'),
    "type hints": ("def fn(v): return v.x", "def fn(v: object) -> float: return v.x"),
    "own name": ("def fn(v): return v.x", "def other(v): return v.x\nfn = other"),
    "formatting": ("def fn(v): return v.x + 1", "def fn(v):\n    return (\n        v.x   +   1\n    )"),
    "position in the file": ("def fn(v): return v.x", "A = 1\nB = 2\n\n\ndef fn(v): return v.x"),
    "quotes": ("def fn(v): return v['a']", 'def fn(v): return v["a"]'),
    "number literal": ("def fn(v): return v.x * 1000", "def fn(v): return v.x * 1_000"),
    "unused global": ("def fn(v): return v.x", "import os\nSECRET = object()\ndef fn(v): return v.x"),
    "module of a helper": (HELPER.format("*"), "def f(x): return x * 2\ndef fn(v): return f(v.x)"),
    "comment in a helper": (HELPER.format("*"), HELPER.format("*") + "  # why"),
    "one of many lambdas on a line": (
        "a, fn = (lambda v: v.x), (lambda v: v.y)",
        "b, c, fn = (lambda v: 1), (lambda v: 2), (lambda v: v.y)",
    ),
    "recursion under another name": (
        SELF_REFERENCE.format(1),
        SELF_REFERENCE.format(1).replace("fn", "g") + "\nfn = g",
    ),
    "set constant": (
        "S = {'a', 'b', 'c'}\ndef fn(v): return v.x in S",
        "S = {'c', 'b', 'a'}\ndef fn(v): return v.x in S",
    ),
    "f-string parts": ("def fn(v): return f'a' f'b{v.x}'", "def fn(v): return f'ab{v.x}'"),
    "reloaded helper": (
        MODULE.format("*"),
        "import importlib, util\nutil = importlib.reload(util)\n" + MODULE.format("*"),
    ),
    "parentheses": ("fn = lambda v: v.x", "fn = lambda v: (v.x)"),
}

OTHER = {
    "operator": ("def fn(v): return v.x + 1", "def fn(v): return v.x - 1"),
    "constant": ("def fn(v): return v.x + 1", "def fn(v): return v.x + 2"),
    "constant of another type": ("def fn(v): return v.x + 1", "def fn(v): return v.x + 1.0"),
    "bool for int": (DEFAULT.format("True"), DEFAULT.format("1")),
    "negative zero": (DEFAULT.format("0.0"), DEFAULT.format("-0.0")),
    "text for number": (CLOSURE.format("'2'"), CLOSURE.format("2")),
    "order of statements": (
        "def fn(v):\n    a = v.x\n    a += 1\n    a *= 2\n    return a",
        "def fn(v):\n    a = v.x\n    a *= 2\n    a += 1\n    return a",
    ),
    "default": (DEFAULT.format(2), DEFAULT.format(3)),
    "keyword default": ("def fn(v, *, k=2): return v.x * k", "def fn(v, *, k=3): return v.x * k"),
    "closure": (CLOSURE.format(2), CLOSURE.format(3)),
    "closure over a list": (CLOSURE.format("[1, 2]"), CLOSURE.format("[2, 1]")),
    "global": (GLOBAL.format(2), GLOBAL.format(3)),
    "global tuple or list": (GLOBAL.format("(1, 2)"), GLOBAL.format("[1, 2]")),
    "helper": (HELPER.format("*"), HELPER.format("+")),
    "helper through its module": (MODULE.format("*"), MODULE.format("+")),
    "constant of a helper of a helper": (DEEP.format(1), DEEP.format(2)),
    "class attribute": (ATTRIBUTE.format(1), ATTRIBUTE.format(2)),
    "state of a bound method": (STATE.format(1), STATE.format(2)),
    "state of a callable": (CALLABLE.format(1), CALLABLE.format(2)),
    "partial argument": (PARTIAL.format(1), PARTIAL.format(2)),
    "dataclass value": (DATACLASS.format(1.0), DATACLASS.format(2.0)),
    "enum value": (ENUM.format(1), ENUM.format(2)),
    "array value": (ARRAY.format("[1.0, 2.0]"), ARRAY.format("[1.0, 3.0]")),
    "array type": (ARRAY.format("[1.0, 2.0]"), ARRAY.format("[1.0, 2.0], dtype='f4'")),
    "array shape": (ARRAY.format("[1.0, 2.0]"), ARRAY.format("[[1.0], [2.0]]")),
    "nested function": (NESTED.format("+"), NESTED.format("-")),
    "comprehension": (COMPREHENSION.format(1), COMPREHENSION.format(2)),
    "f-string format": (FSTRING.format(".1f"), FSTRING.format(".2f")),
    "argument of a decorator": (DECORATED.format(1), DECORATED.format(2)),
    "body of a wrapper": (WRAPS.format(1), WRAPS.format(2)),
    "helper defined later": (
        "def fn(v): return g(v.x)\ndef g(x): return x",
        "def fn(v): return g(v.x)\ndef g(x): return -x",
    ),
    "rebound helper": (LATE.format(1), LATE.format(1) + "\ndef g(x): return x * 2"),
    "monkey-patched helper": (PATCHED.format(1), PATCHED.format(2)),
    "monkey-patched or not": (MODULE.format("*"), "import util\nutil.f = lambda x: x\n" + MODULE.format("*")),
    "compiled helper": (NUMBA.format("", 2), NUMBA.format("", 3)),
    "options of the compiler": (NUMBA.format("", 2), NUMBA.format("fastmath=True", 2)),
    "import inside": (IMPORTED.format(1), IMPORTED.format(2)),
    "coroutine": (ASYNC.format(1), ASYNC.format(2)),
    "property": (PROPERTY.format(1), PROPERTY.format(2)),
    "static method": (STATICMETHOD.format(1), STATICMETHOD.format(2)),
    "inherited method": (INHERITED.format(1), INHERITED.format(2)),
    "chain of attributes": (CHAIN.format(1), CHAIN.format(2)),
    "named tuple": (NAMED.format(1.0), NAMED.format(2.0)),
    "table": (TABLE.format("{1: 2}"), TABLE.format("{1: 3}")),
    "cached helper": (CACHED.format(1), CACHED.format(2)),
    "generator": (GENERATOR.format(1), GENERATOR.format(2)),
    "walrus": (WALRUS.format(1), WALRUS.format(2)),
    "pattern": (MATCH.format(1), MATCH.format(2)),
    "exception": (TRY.format("ZeroDivisionError"), TRY.format("ValueError")),
    "recursion": (SELF_REFERENCE.format(1), SELF_REFERENCE.format(2)),
    "order of a mapping": (DICT_ORDER.format("{'a': 1, 'b': 2}"), DICT_ORDER.format("{'b': 2, 'a': 1}")),
    "getattr with a literal": (GETATTR.format("'f'"), GETATTR.format("'g'")),
    "which lambda of a line": ("a, fn = (lambda v: v.x), (lambda v: v.y)", "fn, a = (lambda v: v.x), (lambda v: v.y)"),
    "name of a library function": (
        "import numpy as np\ndef fn(v): return np.mean(v.x)",
        "import numpy as np\ndef fn(v): return np.median(v.x)",
    ),
    "alias of a library function": (
        "from numpy import mean as f\ndef fn(v): return f(v.x)",
        "from numpy import median as f\ndef fn(v): return f(v.x)",
    ),
    "yield or return": ("def fn(v): return v.x", "def fn(v): yield v.x"),
    "integer division": ("def fn(v): return v.x / 2", "def fn(v): return v.x // 2"),
    "chained comparison": ("def fn(v): return 1 < v.x < 2", "def fn(v): return 1 < v.x <= 2"),
    "slice": ("def fn(v): return v.x[1:]", "def fn(v): return v.x[:1]"),
    "default of a helper": (
        "def g(x, k=1): return x * k\ndef fn(v): return g(v.x)",
        "def g(x, k=2): return x * k\ndef fn(v): return g(v.x)",
    ),
    "shared or equal lists": (
        "A = [1]\nB = A\ndef fn(v):\n    A.append(v.x)\n    return B",
        "A = [1]\nB = [1]\ndef fn(v):\n    A.append(v.x)\n    return B",
    ),
}

REFUSED = {
    "open file": "handle = open(__file__)\ndef fn(v): return handle.read()",
    "lock": "import threading\nlock = threading.Lock()\ndef fn(v):\n    with lock: return v.x",
    "generator object": "g = (i for i in range(3))\ndef fn(v): return next(g)",
    "code without source": "namespace = {}\nexec('def fn(v): return v.x', namespace)\nfn = namespace['fn']",
    "eval": "def fn(v): return eval('v.x')",
    "exec": "def fn(v):\n    exec('a = 1')\n    return v.x",
    "globals": "K = 1\ndef fn(v): return v.x * globals()['K']",
    "getattr with a name from a variable": "import util\nN = 'f'\ndef fn(v, n=N): return getattr(util, n)(v.x)"
    + UTIL
    + "def f(x): return x",
    "import by name": "import importlib\ndef fn(v): return importlib.import_module('util').f(v.x)"
    + UTIL
    + "def f(x): return x",
    "name bound nowhere": "def fn(v): return v.x * UNKNOWN",
    "write to a global": "N = 0\ndef fn(v):\n    global N\n    N += 1\n    return N",
    "write to a module": "import util\ndef fn(v):\n    util.k = v.x\n    return v.x" + UTIL + "k = 0",
    "frames": "import sys\ndef fn(v): return sys._getframe().f_back",
    "own code": "def fn(v): return fn.__code__.co_code",
    "module as a value": "import util\ndef g(m, x): return m.f(x)\ndef fn(v): return g(util, v.x)"
    + UTIL
    + "def f(x): return x",
    "edited source": "import linecache, pathlib\ndef fn(v): return v.x\n"
    "path = pathlib.Path(__file__)\npath.write_text(path.read_text().replace('return v.x\\n', 'return v.y\\n'))",
}
