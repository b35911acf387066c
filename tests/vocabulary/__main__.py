"""``python -m tests.vocabulary``: how much of the vocabulary is there, and how much is checked.

names provided      983 of 1015 (32 in docs/not-provided.md)
cases               2400, of 870 functions
gradients verified  512 functions

With a namespace, ``python -m tests.vocabulary tracejit.lax``, also the functions without a case.
"""

from __future__ import annotations

import sys
from collections import Counter

from tests.vocabulary import names, run


def main() -> None:
    paths = [f"{space}.{name}" for space, listed in names.listed().items() for name in listed]
    there = [path for path in paths if names.is_provided(path)]
    said = names.not_provided()
    silent = [path for path in paths if path not in said and path not in there]
    cases = [case for _, case in run.cases()]
    smooth = {case.name for case in cases if run.has_gradient(case)}
    print(f"names provided      {len(there)} of {len(paths)} ({len(said)} in {names.ABSENT.name})")
    print(f"cases               {len(cases)}, of {len({case.name for case in cases})} functions")
    print(f"gradients verified  {len(smooth)} functions")
    for space, count in sorted(Counter(name.rpartition(".")[0] for name in smooth).items()):
        print(f"  {space:<40}{count}")
    print(f"without a case      {len(run.without_case(there))} functions")
    if silent:
        print(f"neither provided nor listed as absent: {len(silent)}\n  {' '.join(silent)}")
    for space in sys.argv[1:]:
        print(*run.without_case([p for p in there if p.rpartition(".")[0] == space]))


if __name__ == "__main__":
    main()
