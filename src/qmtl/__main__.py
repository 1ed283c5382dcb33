"""``python -m qmtl``: the command line."""

from qmtl.cli import main

main()
