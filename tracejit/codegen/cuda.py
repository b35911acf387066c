"""Kernel IR with block and thread loops as CUDA C.

In: a Kernel. Out: its ``CudaSource``: one ``extern "C" __global__`` function whose parameters are
8 bytes each: the buffers, the sizes, the flag's address where there is a Check.

    >>> from tracejit.kernel.text import parse
    >>> kernel = parse('''kernel double(in x: f32[1024], out y: f32[1024]) narrow
    ...   block b in 4:
    ...     thread t in 256:
    ...       y[add(mul(b, 256), t)] = mul(2.0, x[add(mul(b, 256), t)])
    ... ''')
    >>> print(cuda_source(kernel).text)
    // kernel double(in x: f32[1024], out y: f32[1024]) narrow
    //   block b in 4:
    //     thread t in 256:
    //       y[add(mul(b, 256), t)] = mul(2.0, x[add(mul(b, 256), t)])
    extern "C" __global__ void __launch_bounds__(256) double_(const float* x, float* y) {
      const int b = blockIdx.x;
      const int t = threadIdx.x;
      y[b * 256 + t] = 2.0f * x[b * 256 + t];
    }
    <BLANKLINE>

The grid is the block loop's extent. A pointer says ``__restrict__`` where no result can have taken
an operand's memory: the planner lets a map write over what it reads, which is of the same size
(passes/inplace.py), and then loads must not be moved across stores. Expressions are written by
``cuda_memory.py``, vec loops by ``cuda_vector.py``.
"""

from __future__ import annotations

import math
from collections import Counter

from tracejit.codegen.cuda_memory import Buffer, Variable, difference
from tracejit.codegen.cuda_scalar import (
    ATOM,
    CALL,
    CTYPE,
    EXPANDED,
    HALF,
    KNOWN,
    KNOWN_COMPLEX,
    SIZE,
    Text,
    constant,
    letter,
    typed,
    zero,
)
from tracejit.codegen.cuda_vector import Vectors
from tracejit.errors import InternalError
from tracejit.ir.expr import Const, Expr, Op, Var
from tracejit.ir.graph import Node
from tracejit.kernel.gpu.source import CudaSource
from tracejit.kernel.math import expand_math
from tracejit.kernel.math_half import widen_half, widen_node
from tracejit.kernel.nodes import (
    Accumulate,
    Atomic,
    Barrier,
    Check,
    Combine,
    Fence,
    If,
    Kernel,
    Local,
    Loop,
    Param,
    Scratch,
    Set,
    Stmt,
    Store,
    Transpose,
    While,
)
from tracejit.kernel.probe import computable
from tracejit.kernel.text import show, show_statement
from tracejit.kernel.verify import has_check
from tracejit.kernel.visit import statements, transpose_loops
from tracejit.ops import PRIMS

__all__ = ["can_fuse", "cuda_source"]

WARP = 32
#: bytes of shared memory that need not be asked for at the launch
STATIC_SHARED = 48 << 10
_NATIVE = frozenset(PRIMS) - EXPANDED
#: a longer list of parameters is written one to a line
_LONG = 90


def can_fuse(node: Node) -> bool:
    """Whether kernels in CUDA C can compute a node."""
    return computable(node, KNOWN, KNOWN_COMPLEX)


def cuda_source(kernel: Kernel) -> CudaSource:
    """The CUDA C of a kernel, under the kernel's own name.

    Raises InternalError for a kernel that is not one block loop around one thread loop, and
    MissingRule for an operation that has no spelling.
    """
    widened = widen_half(kernel)
    ready = expand_math(widened, _NATIVE)
    return _Printer(kernel, ready).source(contract=ready is widened)


class _Printer(Vectors):
    """Writes one kernel, statement by statement."""

    def __init__(self, given: Kernel, kernel: Kernel) -> None:
        every = statements(kernel.body)
        assigned = {s.name for s in every if isinstance(s, Set | Accumulate | Combine)}
        super().__init__(kernel.narrow, _declared(kernel), assigned)
        self.given = given
        self.kernel = kernel
        self.threads = _threads(kernel)
        self.dtypes = {p.name: p.dtype for p in kernel.params}
        self.dtypes |= {s.name: s.dtype for s in every if isinstance(s, Scratch)}
        total = sum(_bytes(s) for s in _shared(kernel))
        #: bytes of shared memory taken so far, where it is asked for at the launch
        self.dynamic: int | None = 0 if total > STATIC_SHARED else None
        #: statements in the bodies around, innermost last, from the innermost loop on
        self.around_barrier: list[tuple[Stmt, ...]] = []
        self.loops = 0

    def source(self, contract: bool) -> CudaSource:
        kernel = self.kernel
        name = self.names.own(kernel.name, function=True)
        head = f'extern "C" __global__ void __launch_bounds__({self.threads}) {name}'
        arguments = self.arguments()
        between = ", "
        if len(head) + sum(map(len, arguments)) > _LONG:
            arguments, between = [f"\n    {argument}" for argument in arguments], ","
        self.block_loop(kernel.body)
        comment = (_comment(kernel) + "\n" + show(self.given)).split("\n")
        dump = ["// " + line.rstrip().rstrip("\\") for line in comment if line.strip()]
        text = "\n".join([*dump, f"{head}({between.join(arguments)}) {{", *self.lines, "}"]) + "\n"
        return CudaSource(name, text, contract, self.dynamic or 0)

    def arguments(self) -> list[str]:
        """The parameters; declares buffers and sizes."""
        kernel, found = self.kernel, []
        for param in kernel.params:
            name = self.names.own(param.name)
            self.buffers[param.name] = Buffer(name, param.dtype, param.shape)
            alone = "" if may_share(param, kernel) else " __restrict__"
            const = "const " if param.role == "in" else ""
            found.append(f"{const}{CTYPE[param.dtype]}*{alone} {name}")
        for size in kernel.sizes:
            name = self.names.own(size)
            text = Text(name, ATOM, True)
            self.variables[size] = Variable(text, "i64", True, start=Const(0, "i64"))
            found.append(f"long long {name}_wide" if self.narrow else f"const long long {name}")
            if self.narrow:
                self.line(f"const int {name} = (int){name}_wide;")
        if has_check(kernel):
            found.append("long long* flag")
        return found

    # ---- blocks and threads ----

    def block_loop(self, body: tuple[Stmt, ...]) -> None:
        (block,) = body
        assert isinstance(block, Loop)
        self.coordinate(block, "blockIdx.x")
        *before, threads = block.body
        assert isinstance(threads, Loop)
        for stmt in before:
            if isinstance(stmt, Scratch):
                self.shared_scratch(stmt)
            else:
                self.statement(stmt)
        self.coordinate(threads, "threadIdx.x")
        self.body(threads.body)

    def coordinate(self, loop: Loop, source: str) -> None:
        """A loop variable that the device gives."""
        name = self.names.own(loop.var)
        start = self.value(loop.start)
        text = source if start.text == "0" else f"{source} + {start.at(ATOM)}"
        cast = f"({self.index_type})" if start.text != "0" else ""
        self.line(f"const {self.index_type} {name} = {cast}{text};")
        variable = Variable(Text(name, ATOM, True), "i64", True, start=loop.start)
        self.variables[loop.var] = variable

    def shared_scratch(self, stmt: Scratch) -> None:
        name, ctype = self.names.own(stmt.name), CTYPE[stmt.dtype]
        self.buffers[stmt.name] = Buffer(name, stmt.dtype, stmt.shape)
        if self.dynamic is None:
            self.line(f"__shared__ __align__(16) {ctype} {name}[{math.prod(stmt.shape)}];")
            return
        if self.dynamic == 0:
            self.line("extern __shared__ float4 tj_shared[];")
        self.line(f"{ctype}* const {name} = ({ctype}*)(tj_shared + {self.dynamic // 16});")
        self.dynamic += _bytes(stmt)

    # ---- statements ----

    def body(self, body: tuple[Stmt, ...]) -> None:
        self.around_barrier.append(body)
        for stmt in body:
            self.statement(stmt)
        self.around_barrier.pop()

    def nested(self, head: str, body: tuple[Stmt, ...]) -> None:
        self.line(head)
        self.depth += 1
        self.body(body)
        self.depth -= 1
        self.line("}")

    def statement(self, stmt: Stmt) -> None:
        match stmt:
            case Loop():
                self.loop(stmt)
            case Local():
                self.local(stmt)
            case Scratch():
                self.private_scratch(stmt)
            case Set():
                self.line(f"{self.variables[stmt.name].text} = {self.typed(stmt.value)};")
            case Accumulate():
                self.accumulate(stmt)
            case Store():
                self.store(stmt)
            case Transpose():
                self.loop(transpose_loops(stmt, self.dtypes[stmt.source]))
            case If():
                self.branch(stmt)
            case While():
                self.loop_while(stmt)
            case Check():
                self.line(f"if (!({self.value(stmt.ok)})) tj_fail(flag, {stmt.code});")
            case Barrier():
                self.line("__syncthreads();")
            case Combine():
                self.combine(stmt)
            case Atomic():
                self.atomic(stmt)
            case Fence():
                self.line("__threadfence();")
            case _:
                raise InternalError(f"not a statement of the Kernel IR: {stmt!r}")

    def local(self, stmt: Local) -> None:
        value = self.value(stmt.value)
        if stmt.name in self.arrays:
            self.arrays.discard(stmt.name)
            self.line(f"{self.variables[stmt.name].text} = {typed(value, self.narrow)};")
            return
        lasting = stmt.name not in self.assigned
        index = lasting and value.index
        if not index:
            value = typed(value, self.narrow)
        name = self.names.own(stmt.name)
        ctype = self.index_type if index else CTYPE[stmt.dtype]
        self.line(f"{'const ' if lasting else ''}{ctype} {name} = {value};")
        known = stmt.value if lasting and stmt.dtype == "i64" else None
        self.variables[stmt.name] = Variable(
            Text(name, ATOM, index), stmt.dtype, index, known, lane=self.in_lane
        )

    def private_scratch(self, stmt: Scratch) -> None:
        name = self.names.own(stmt.name)
        self.buffers[stmt.name] = Buffer(name, stmt.dtype, stmt.shape, private=True)
        self.line(f"{CTYPE[stmt.dtype]} {name}[{math.prod(stmt.shape)}];")

    def accumulate(self, stmt: Accumulate) -> None:
        variable, dtype = self.variables[stmt.name], stmt.value.dtype
        sign = {"add": "+", "mul": "*"}.get(stmt.fn)
        if sign and (dtype in ("u32", "u64") or letter(dtype) in "fc"):
            self.line(f"{variable.text} {sign}= {self.typed(stmt.value)};")
            return
        folded = Op(stmt.fn, (Var(stmt.name, dtype), stmt.value), dtype)
        self.line(f"{variable.text} = {self.typed(folded)};")

    def store(self, stmt: Store) -> None:
        value = self.typed(stmt.value)
        if id(stmt) in self.kept:
            self.line(f"{self.kept[id(stmt)]}[lane] = {value};")
            return
        place = f"{self.buffers[stmt.buffer].text}[{self.offset(stmt.buffer, stmt.index)}]"
        guard = "" if stmt.guard is None else f"if ({self.value(stmt.guard)}) "
        self.line(f"{guard}{place} = {value};")

    # ---- control flow ----

    def branch(self, stmt: If) -> None:
        self.nested(f"if ({self.value(stmt.cond)}) {{", stmt.then)
        if stmt.orelse:
            self.lines.pop()
            self.nested("} else {", stmt.orelse)

    def loop(self, loop: Loop) -> None:
        if loop.how == "vec" and loop.width > 1:
            self.vec_loop(loop)
            return
        around, self.around_barrier = self.around_barrier, []
        self.loops += 1
        self.open_loop(loop)
        self.body(loop.body)
        self.depth -= 1
        self.line("}")
        self.loops -= 1
        self.around_barrier = around

    def open_loop(self, loop: Loop, step: int = 1) -> None:
        """The first line of a loop, with a pragma in front of it; a block for a single trip."""
        if loop.how not in ("seq", "vec"):
            raise self.misplaced(loop)
        trips = difference(loop.stop, loop.start)
        start, stop = self.value(loop.start), self.value(loop.stop)
        if trips != step and not stop.index:
            stop = self.bound(stop, "i64", "stop")
        name = self.names.own(loop.var)
        self.variables[loop.var] = Variable(
            Text(name, ATOM, True), "i64", True, start=loop.start, lane=self.in_lane, step=step
        )
        if trips == step:
            self.line("{")
            self.depth += 1
            self.line(f"const {self.index_type} {name} = {start};")
            return
        if loop.unroll > 1:
            whole = trips == loop.unroll * step
            self.line("#pragma unroll" if whole else f"#pragma unroll {loop.unroll}")
        update = f"++{name}" if step == 1 else f"{name} += {step}"
        self.line(f"for ({self.index_type} {name} = {start}; {name} < {stop}; {update}) {{")
        self.depth += 1

    def loop_while(self, stmt: While) -> None:
        around, self.around_barrier = self.around_barrier, []
        self.loops += 1
        before = len(self.lines)
        self.depth += 1
        cond = self.value(stmt.cond)
        self.depth -= 1
        extra = self.lines[before:]
        if extra:  # a condition of several statements
            self.lines[before:] = ["  " * self.depth + "while (true) {", *extra]
            self.depth += 1
            self.line(f"if (!({cond})) break;")
            self.body(stmt.body)
            self.depth -= 1
            self.line("}")
        else:
            self.nested(f"while ({cond}) {{", stmt.body)
        self.loops -= 1
        self.around_barrier = around

    # ---- threads together ----

    def fold(self, fn: str, dtype: str) -> str:
        """A function of two values, as a lambda."""
        texts = {name: Text(name, ATOM) for name in "ab"}
        text, ctype = self.folded(fn, dtype, texts), CTYPE[dtype]
        return f"[]({ctype} a, {ctype} b) -> {ctype} {{ return {text}; }}"

    def folded(self, fn: str, dtype: str, operands: dict[str, Text]) -> Text:
        """``fn`` of two values that have these names here."""
        outside, self.variables = (
            self.variables,
            {name: Variable(text, dtype) for name, text in operands.items()},
        )
        a, b = (Var(name, dtype) for name in operands)
        expr: Expr = Op(fn, (a, b), dtype)
        text = self.value(widen_node(expr, (a, b), set()) if dtype in HALF else expr)
        self.variables = outside
        return text

    def combine(self, stmt: Combine) -> None:
        variable = self.variables[stmt.name]
        name, fold = variable.text, self.fold(stmt.fn, variable.dtype)
        prefix = "tj_scan_" if stmt.prefix else "tj_"
        if stmt.width <= WARP:
            self.line(f"{name} = {prefix}warp<{stmt.width}>({name}, {fold});")
            return
        cells = self.names.fresh("cells")
        self.line(f"__shared__ {CTYPE[variable.dtype]} {cells}[{stmt.width // WARP}];")
        self.line(f"{name} = {prefix}block<{stmt.width}>({name}, {cells}, {fold});")
        # the next trip of a loop writes the cells again: not before all threads have read them
        if self.loops and not any(
            other is not stmt and _meets(other) for body in self.around_barrier for other in body
        ):
            self.line("__syncthreads();")

    def atomic(self, stmt: Atomic) -> None:
        dtype = stmt.value.dtype
        if self.buffers[stmt.buffer].private or SIZE[dtype] > 8:
            raise self.misplaced(stmt)
        value = self.typed(stmt.value)
        place = f"&{self.buffers[stmt.buffer].text}[{self.offset(stmt.buffer, stmt.index)}]"
        guard = None if stmt.guard is None else self.value(stmt.guard)
        done = self.update(stmt.fn, dtype, place, value)
        if stmt.old is None:
            done = done.removeprefix(f"({CTYPE[dtype]})")
            self.line(f"{'' if guard is None else f'if ({guard}) '}{done};")
            return
        name = self.names.own(stmt.old)
        if guard is None:
            self.line(f"const {CTYPE[dtype]} {name} = {done};")
        else:
            self.line(f"{CTYPE[dtype]} {name} = {constant(zero(dtype))};")
            self.line(f"if ({guard}) {name} = {done};")
        self.variables[stmt.old] = Variable(Text(name, ATOM), dtype, lane=self.in_lane)

    def update(self, fn: str, dtype: str, place: str, value: Text) -> str:
        """An update in one step: the device's own where it has one of this meaning."""
        native = _ATOMICS.get((fn, dtype))
        if native is not None:
            called, word = native
            if word == CTYPE[dtype]:
                return f"{called}({place}, {value})"
            return f"({CTYPE[dtype]}){called}(({word}*){place}, ({word}){value.at(CALL)})"
        value = self.simple(value, dtype)
        if fn == "exchange":
            return f"tj_atomic({place}, [=]({CTYPE[dtype]}) {{ return {value}; }})"
        text, ctype = self.folded(fn, dtype, {"old": Text("old", ATOM), "new": value}), CTYPE[dtype]
        return f"tj_atomic({place}, [=]({ctype} old) -> {ctype} {{ return {text}; }})"

    def simple(self, text: Text, dtype: str) -> Text:
        """A name or number with this value."""
        return text if text.binds == ATOM else self.bound(text, dtype)

    def misplaced(self, stmt: Stmt) -> InternalError:
        """A GPU has nothing for this statement."""
        return InternalError(
            f"kernel {self.kernel.name}: `{show_statement(stmt)}` cannot stand here in CUDA C"
        )


#: the device's own updates with the type they work on; maxima of floats do not keep nan
_ATOMICS: dict[tuple[str, str], tuple[str, str]] = {
    **{("add", d): ("atomicAdd", CTYPE[d]) for d in ("i32", "u32", "u64", "f32", "f64")},
    ("add", "i64"): ("atomicAdd", "unsigned long long"),
    **{
        (fn, d): (f"atomic{fn.title()}", CTYPE[d])
        for fn in ("max", "min")
        for d in ("i32", "u32", "i64", "u64")
    },
    **{
        (fn, d): (f"atomic{fn.title()}", CTYPE[d if SIZE[d] == 4 else "u64"])
        for fn in ("and", "or", "xor")
        for d in ("i32", "u32", "i64", "u64")
    },
    **{("exchange", d): ("atomicExch", CTYPE[d]) for d in ("i32", "u32", "u64", "f32")},
    ("exchange", "i64"): ("atomicExch", "unsigned long long"),
}


def may_share(param: Param, kernel: Kernel) -> bool:
    """Whether a parameter may have the memory of another one: a result may have taken that of an
    operand of as many elements of the same size.
    """
    mine = _extent(param)
    return any(
        _extent(other) == mine
        for other in kernel.params
        if other is not param and (other.role == "in") != (param.role == "in")
    )


def _extent(param: Param) -> tuple[int, int, Counter[str]]:
    """The size of an element, and how many there are: a number times run-time sizes."""
    count = math.prod(n for n in param.shape if isinstance(n, int))
    return SIZE[param.dtype], count, Counter(n for n in param.shape if isinstance(n, str))


def _meets(stmt: Stmt) -> bool:
    """Whether all threads of a block meet at a statement."""
    return isinstance(stmt, Barrier) or (isinstance(stmt, Combine) and stmt.width > WARP)


def _threads(kernel: Kernel) -> int:
    """The extent of the thread loop. Raises InternalError for a kernel of another form."""

    def wrong(what: str) -> InternalError:
        return InternalError(f"kernel {kernel.name}: {what}")

    block = kernel.body[0] if len(kernel.body) == 1 else None
    if not isinstance(block, Loop) or block.how != "block":
        raise wrong("a kernel for a GPU is one block loop")
    *before, threads = block.body or (Fence(),)
    if not isinstance(threads, Loop) or threads.how != "thread":
        raise wrong("a block loop ends in a thread loop")
    for stmt in before:
        if not isinstance(stmt, Scratch | Local):
            raise wrong(f"`{show_statement(stmt)}` stands before the thread loop")
    count = difference(threads.stop, threads.start)
    if count is None or not 0 < count <= 1024 or count % WARP:
        raise wrong(f"`{show_statement(threads)}`: threads are a constant multiple of {WARP}")
    return count


def _shared(kernel: Kernel) -> list[Scratch]:
    block = kernel.body[0]
    assert isinstance(block, Loop)
    return [s for s in block.body if isinstance(s, Scratch)]


def _bytes(stmt: Scratch) -> int:
    """Bytes of shared scratch, a multiple of 16."""
    return -(-math.prod(stmt.shape) * SIZE[stmt.dtype] // 16) * 16


def _declared(kernel: Kernel) -> set[str]:
    """The names of the sizes, parameters, locals, scratch buffers and loop variables."""
    found = {kernel.name, *kernel.sizes, *(p.name for p in kernel.params)}
    for stmt in statements(kernel.body):
        match stmt:
            case Local() | Scratch():
                found.add(stmt.name)
            case Loop():
                found.add(stmt.var)
            case Atomic() if stmt.old is not None:
                found.add(stmt.old)
    return found


def _comment(kernel: Kernel) -> str:
    """The user's lines, unless they fit the first line of the dump."""
    return kernel.comment if "\n" in kernel.comment.strip() else ""
