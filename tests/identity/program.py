"""Run as a script: reads programs as JSON, prints the id of each one's ``fn``, or the error that refuses it."""

import importlib
import json
import sys
import tempfile
from pathlib import Path

UTIL = "\n# util.py\n"


def identify(text: str, folder: Path) -> str:
    from qmtl.errors import UnhashableCodeError
    from qmtl.sdk import Node, StreamInput

    main, _, util = text.partition(UTIL)
    (folder / "main.py").write_text(main + "\n")
    (folder / "util.py").write_text(util + "\n")
    sys.path.insert(0, str(folder))
    try:
        importlib.invalidate_caches()
        fn = importlib.import_module("main").fn
        price = StreamInput(tags=["price"], interval="1m", name="price")
        return Node(input={"price": price}, compute_fn=fn, period=3).node_id
    except UnhashableCodeError as error:
        return f"refused: {error.message}" if error.hint else "refused without a hint"
    finally:
        sys.path.remove(str(folder))
        for name in ("main", "util"):
            sys.modules.pop(name, None)


def main() -> None:
    programs = json.load(sys.stdin)
    with tempfile.TemporaryDirectory() as root:
        found = {}
        for number, (name, text) in enumerate(programs.items()):
            folder = Path(root) / str(number)
            folder.mkdir()
            found[name] = identify(text, folder)
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
