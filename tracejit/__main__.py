"""The command line: ``python -m tracejit doctor`` and ``python -m tracejit demo``.

$ python -m tracejit doctor
tracejit   0.1.0
...
"""

from __future__ import annotations

import argparse
import importlib
import sys

COMMANDS = {
    "doctor": "versions, CPU, threads, BLAS, GPU and cache that tracejit finds here",
    "demo": "train a small network on handwritten digits and show what the compiler did",
}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tracejit")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in COMMANDS.items():
        # each command's module reads its own options, --help too
        commands.add_parser(name, help=text, add_help=False)
    chosen, rest = parser.parse_known_args(arguments)
    # by name: the demo imports packages that the other commands do not need
    module = importlib.import_module(f"tracejit.{chosen.command}")
    return int(module.main(rest) or 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
