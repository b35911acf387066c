"""``jit(control_flow=True)``: Python's own ``if``, ``while`` and ``for`` on traced values.

    find.py     the syntax tree of a function, and a function of a rewritten tree
    exits.py    break, continue and return become flags
    names.py    which names a statement assigns and reads, and which are read later
    convert.py  statements and expressions become calls of the helpers below
    state.py    values of variables before, inside and after a statement
    matches.py  match over values becomes a chain of ifs
    branches.py if, conditional expressions, and, or, not, chained comparisons
    loops.py    while and for; items.py: what a for goes over
    folds.py    sum, any, all, max, min of values and generators
    stores.py   what called functions change; reach.py: what they can reach
    checks.py   assert and raise under traced conditions; raised.py: those that tracing reaches
    entry.py    functions that are called are rewritten too; the door for ``jit``

The rewriting follows "AutoGraph: Imperative-style Coding with Graph-based Performance" (Moldovan et
al., 2019): each helper decides at run time. A traced condition becomes ``cond``, ``while`` or
``scan``; for anything else the statement does what Python does.
"""
