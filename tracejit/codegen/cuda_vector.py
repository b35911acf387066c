"""Vec loops in CUDA C: a thread's elements in groups of a vector's lanes.

    vec(4x1) j in n:                    for (int j = 0; j < n; j += 4) {
      t: f32 = x[i, j]                    const tj_vec<float, 4> x_0 = tj_load<4>(&x[i * n + j]);
      y[i, j] = mul(t, s[i])              const float s_0 = s[i];
                                          tj_vec<float, 4> y_0;
                                          #pragma unroll
                                          for (int lane = 0; lane < 4; ++lane) {
                                            const float t = x_0[lane];
                                            y_0[lane] = t * s_0;
                                          }
                                          tj_store(&y[i * n + j], y_0);

Statements in a row that have no loop between them are a run: what they read comes first, then each
lane by itself, then what they write. Loops and branches that are the same for all lanes stay around
the runs inside them; locals that live from run to run are arrays of a value a lane.
"""

from __future__ import annotations

from collections.abc import Sequence

from tracejit.codegen.cuda_memory import Memory, Variable
from tracejit.codegen.cuda_scalar import ATOM, CALL, CTYPE, Text, choose, constant, zero
from tracejit.ir.expr import Expr, Load, Var, walk_new
from tracejit.kernel.nodes import (
    Accumulate,
    Atomic,
    Check,
    If,
    Local,
    Loop,
    Scratch,
    Set,
    Stmt,
    Store,
    Transpose,
)
from tracejit.kernel.visit import expressions, nodes_of, statements

#: bytes of one access
_WIDEST = 16


class Vectors(Memory):
    """Writes vec loops; ``statement`` comes from the printer."""

    def __init__(self, narrow: bool, expected: set[str], assigned: set[str]) -> None:
        super().__init__(narrow, expected)
        #: locals that get another value than their first one
        self.assigned = assigned
        #: stores of the run being written -> the vector that keeps their values
        self.kept: dict[int, str] = {}
        #: locals that are arrays of a value a lane
        self.arrays: set[str] = set()

    def statement(self, stmt: Stmt) -> None:
        raise NotImplementedError

    def open_loop(self, loop: Loop, step: int = 1) -> None:
        raise NotImplementedError

    # ---- the loop ----

    def vec_loop(self, loop: Loop) -> None:
        """A vec loop of more than one lane; there are no other trips than full ones."""
        self.open_loop(loop, loop.width)
        self.vector = loop
        if any(isinstance(s, Scratch) for s in statements(loop.body)):
            self.run(loop.body, ())  # each lane has scratch of its own
        else:
            self.together(loop.body)
        self.vector = None
        self.depth -= 1
        self.line("}")

    def together(self, body: Sequence[Stmt]) -> None:
        """Statements of all lanes."""
        run: list[Stmt] = []
        for k, stmt in enumerate(body):
            uniform = self.uniform(stmt)
            if uniform and not (isinstance(stmt, Local) and not self.follows(stmt, run)):
                self.run(run, body[k:])
                run = []
            if not uniform:
                if isinstance(stmt, Local):
                    self.declare_lane(stmt)
                run.append(stmt)
            elif isinstance(stmt, Local):
                self.statement(stmt)
            else:
                self.around(stmt)
        self.run(run, ())

    def uniform(self, stmt: Stmt) -> bool:
        """Whether a statement is written once for all lanes, not for each of them."""
        coefficient = self.facts().coefficient
        match stmt:
            case Local():
                return stmt.name not in self.assigned and coefficient(stmt.value) == 0
            case Loop():
                return coefficient(stmt.start) == 0 and coefficient(stmt.stop) == 0
            case If():
                return coefficient(stmt.cond) == 0
        return False

    def follows(self, stmt: Local, run: Sequence[Stmt]) -> bool:
        """Whether a statement reads what the run before it writes."""
        written = _stored(run)
        return any(isinstance(n, Load) and n.buffer in written for n in nodes_of([stmt]))

    def around(self, stmt: Stmt) -> None:
        """A loop or branch that is the same for all lanes."""
        if isinstance(stmt, Loop):
            self.open_loop(stmt)
            self.together(stmt.body)
        else:
            assert isinstance(stmt, If)
            self.line(f"if ({self.value(stmt.cond)}) {{")
            self.depth += 1
            self.together(stmt.then)
            if stmt.orelse:
                self.depth -= 1
                self.line("} else {")
                self.depth += 1
                self.together(stmt.orelse)
        self.depth -= 1
        self.line("}")

    def declare_lane(self, stmt: Local) -> None:
        """A local that each lane has; what an index is, indices made of it can do without it."""
        lasting = stmt.dtype == "i64" and stmt.name not in self.assigned
        text = Text(self.names.own(stmt.name), ATOM)
        value = stmt.value if lasting else None
        self.variables[stmt.name] = Variable(text, stmt.dtype, value=value, lane=True)

    # ---- a run ----

    def run(self, body: Sequence[Stmt], rest: Sequence[Stmt]) -> None:
        """The statements of a run, for each lane; ``rest`` comes after them."""
        if not body:
            return
        assert self.vector is not None
        lanes = self.vector.width
        before, plan = dict(self.ready), _Run(self, body)
        later = _names(rest)
        for load in plan.loads():
            self.read(load, plan.is_vector(load))
        for stmt in body:
            if isinstance(stmt, Local) and stmt.name in later:
                self.arrays.add(stmt.name)
                variable = self.variables[stmt.name]
                self.line(f"{CTYPE[stmt.dtype]} {variable.text}[{lanes}];")
                variable.text = Text(f"{variable.text}[lane]", CALL)
        stores = plan.stores()
        for store in stores:
            self.kept[id(store)] = name = self.names.fresh(f"{store.buffer}_")
            self.line(f"tj_vec<{CTYPE[store.value.dtype]}, {lanes}> {name};")
        self.line("#pragma unroll")
        self.line(f"for (int lane = 0; lane < {lanes}; ++lane) {{")
        self.depth += 1
        self.in_lane = True
        for stmt in body:
            self.statement(stmt)
        self.in_lane = False
        self.depth -= 1
        self.line("}")
        for store in stores:
            place = f"&{self.buffers[store.buffer].text}[{self.offset(store.buffer, store.index)}]"
            guard = "" if store.guard is None else f"if ({self.value(store.guard)}) "
            self.line(f"{guard}tj_store({place}, {self.kept.pop(id(store))});")
        self.ready = before

    def read(self, load: Load, vector: bool) -> None:
        """Read what all lanes need, in one piece or the one element that they share."""
        assert self.vector is not None
        name, lanes = self.names.fresh(f"{load.buffer}_"), self.vector.width
        ctype, buffer = CTYPE[load.dtype], self.buffers[load.buffer].text
        place = f"{buffer}[{self.offset(load.buffer, load.index)}]"
        if not vector:
            text = Text(place, CALL)
            if load.guard is not None:
                text = choose(self.value(load.guard), text, constant(zero(load.dtype)))
            self.line(f"const {ctype} {name} = {text};")
            self.ready[load] = Text(name, ATOM)
            return
        if load.guard is None:
            self.line(f"const tj_vec<{ctype}, {lanes}> {name} = tj_load<{lanes}>(&{place});")
        else:
            self.line(f"tj_vec<{ctype}, {lanes}> {name} = {{}};")
            self.line(f"if ({self.value(load.guard)}) {name} = tj_load<{lanes}>(&{place});")
        self.ready[load] = Text(f"{name}[lane]", CALL)


class _Run:
    """Which loads of a run may be done before it for all lanes, and which stores after it."""

    def __init__(self, printer: Vectors, body: Sequence[Stmt]) -> None:
        self.printer = printer
        self.body = body
        self.facts = printer.facts()
        assert printer.vector is not None
        self.lanes = printer.vector.width
        self.written = _stored(body)
        self.read: dict[str, list[Load]] = {}
        for node in nodes_of(body):
            if isinstance(node, Load):
                self.read.setdefault(node.buffer, []).append(node)
        self.whole = {buffer for buffer in self.written if self.can_wait(buffer)}

    def can_wait(self, buffer: str) -> bool:
        """Whether the run's stores to a buffer may all come after it."""
        stores = [s for s in self.body if isinstance(s, Store) and s.buffer == buffer]
        if len(stores) != len(self.written[buffer]) or not all(map(self.fits_store, stores)):
            return False
        if buffer not in self.read:
            return True
        # it is read at the very element that is written, and before that
        if len(stores) > 1 or any(load.index != stores[0].index for load in self.read[buffer]):
            return False
        place = next(k for k, stmt in enumerate(self.body) if stmt is stores[0])
        after = nodes_of(self.body[place + 1 :])
        return not any(isinstance(n, Load) and n.buffer == buffer for n in after)

    def fits_store(self, store: Store) -> bool:
        if any(isinstance(n, Load) and n.buffer in self.written for n in _parts(store.index)):
            return False
        return self.fits(store.buffer, store.index, store.guard)

    def fits(self, buffer: str, index: tuple[Expr, ...], guard: Expr | None) -> bool:
        """Whether the lanes' elements lie side by side at a multiple of the vector."""
        if self.printer.buffers[buffer].private or self.lanes & (self.lanes - 1):
            return False
        if guard is not None and self.facts.coefficient(guard) != 0:
            return False
        offset = self.printer.flat(buffer, index)
        together = min(self.lanes, max(1, _WIDEST // self.printer.element_bytes(buffer)))
        return self.facts.coefficient(offset) == 1 and self.facts.divisor(offset) % together == 0

    def is_vector(self, load: Load) -> bool:
        return self.facts.coefficient(load) != 0

    def loads(self) -> list[Load]:
        """What is read before the run, in order; only what each lane reads in any case."""
        found: list[Load] = []
        done: set[Expr] = set()
        for stmt in self.body:
            if not isinstance(stmt, Local | Set | Accumulate | Store | If | Check | Loop):
                continue
            for expr in expressions(stmt):
                for node in walk_new(expr, done):
                    done.add(node)
                    if isinstance(node, Load) and node not in self.printer.ready:
                        if self.early(node):
                            found.append(node)
        return found

    def early(self, load: Load) -> bool:
        if load.buffer in self.written and load.buffer not in self.whole:
            return False
        if any(isinstance(n, Load) and n.buffer in self.written for n in _parts(load.index)):
            return False
        return self.facts.coefficient(load) == 0 or self.fits(load.buffer, load.index, load.guard)

    def stores(self) -> list[Store]:
        """What is written after the run, in order."""
        return [s for s in self.body if isinstance(s, Store) and s.buffer in self.whole]


def _stored(body: Sequence[Stmt]) -> dict[str, list[Stmt]]:
    """The buffers that statements write, and which do."""
    found: dict[str, list[Stmt]] = {}
    for stmt in statements(body):
        if isinstance(stmt, Store | Atomic):
            found.setdefault(stmt.buffer, []).append(stmt)
        elif isinstance(stmt, Transpose):
            found.setdefault(stmt.target, []).append(stmt)
    return found


def _names(body: Sequence[Stmt]) -> set[str]:
    """The locals that statements read or write."""
    found = {node.name for node in nodes_of(body) if isinstance(node, Var)}
    return found | {s.name for s in statements(body) if isinstance(s, Set | Accumulate)}


def _parts(index: Sequence[Expr]) -> set[Expr]:
    """Every node of an index."""
    done: set[Expr] = set()
    for entry in index:
        for node in walk_new(entry, done):
            done.add(node)
    return done
