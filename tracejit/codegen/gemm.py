"""A BLAS product as a function that threads share, called as kernels are.

    void gemm_0(ptr args, ptr dims, ptr steps, ptr data)      data: lhs, rhs, out, the BLAS routine

A range of units is one thread's part: rows or columns of the product.
BLAS itself runs on one thread then, so that its pool and ours do not fight over the cores.
Row-major C = A B is column-major C' = B' A'.
"""

from __future__ import annotations

from tracejit.kernel.program import GemmCall
from tracejit.record import dataclass

GEMM_TYPE = "void (ptr, ptr, ptr, ptr, ptr, ptr, ptr, ptr, ptr, ptr, ptr, ptr, ptr)"


def print_gemm(call: GemmCall, name: str) -> list[str]:
    """LLVM text of the function ``name``, and of the constants it uses."""
    return _Printer(call, name).function()


@dataclass
class _Printer:
    call: GemmCall
    name: str

    def __post_init__(self) -> None:
        self.lines: list[str] = []
        self.count = 0

    def value(self, text: str) -> str:
        self.count += 1
        self.lines.append(f"  %v{self.count} = {text}")
        return f"%v{self.count}"

    def emit(self, text: str) -> None:
        self.lines.append("  " + text)

    def load(self, type: str, base: str, place: int | str) -> str:
        return self.value(
            f"load {type}, ptr {self.value(f'getelementptr {type}, ptr {base}, i64 {place}')}"
        )

    def moved(self, base: str, units: str, stride: int) -> str:
        """``base`` plus ``units`` strides, in elements."""
        offset = self.value(f"mul i64 {units}, {stride * self.item}")
        return self.value(f"getelementptr i8, ptr {base}, i64 {offset}")

    @property
    def item(self) -> int:
        return 4 if self.call.dtype == "f32" else 8

    def function(self) -> list[str]:
        call, m = self.call, self.call.matmul
        assert m.lhs_view is not None and m.rhs_view is not None
        pairs = self.value("load ptr, ptr %args")
        last = self.value(f"add i64 {self.value('load i64, ptr %dims')}, -1")
        low = self.load("i64", pairs, 0)
        high = self.load("i64", pairs, self.value(f"add i64 {self.value(f'mul i64 {last}, 2')}, 1"))
        a, b, c, gemm = (self.load("ptr", "%data", k) for k in range(4))
        extents = {"m": str(m.m), "n": str(m.n), "k": str(m.k)}
        if call.split in ("m", "n"):
            extents[call.split] = self.value(f"sub i64 {high}, {low}")
            if call.split == "m":
                a = self.moved(a, low, 1 if m.lhs_view.transposed else m.lhs_view.leading)
                c = self.moved(c, low, m.n)
            else:
                b = self.moved(b, low, m.rhs_view.leading if m.rhs_view.transposed else 1)
                c = self.moved(c, low, 1)
        self.numbers(extents)
        if call.split == "batch":
            self.batch(low, high, (a, b, c), gemm)
        else:
            self.product(a, b, c, gemm)
        type = "float" if self.item == 4 else "double"
        return [
            f"@{self.name}_n = private constant i8 110",
            f"@{self.name}_t = private constant i8 116",
            f"@{self.name}_one = private constant {type} 1.0",
            f"@{self.name}_zero = private constant {type} 0.0",
            f"define internal void @{self.name}(ptr %args, ptr %dims, ptr %steps, ptr %data) {{",
            "  %numbers = alloca [6 x i64], align 16",
            *self.lines,
            "  ret void",
            "}",
        ]

    def numbers(self, extents: dict[str, str]) -> None:
        """The integers BLAS takes by address: ``runtime/blas.py`` says why they have 64 bits."""
        m = self.call.matmul
        assert m.lhs_view is not None and m.rhs_view is not None
        leading = (m.rhs_view.leading, m.lhs_view.leading, max(m.n, 1))
        values = (extents["n"], extents["m"], extents["k"], *map(str, leading))
        for k, number in enumerate(values):
            place = self.value(f"getelementptr i64, ptr %numbers, i64 {k}")
            self.emit(f"store i64 {number}, ptr {place}")

    def product(self, a: str, b: str, c: str, gemm: str) -> None:
        m = self.call.matmul
        assert m.lhs_view is not None and m.rhs_view is not None
        n, rows, k, ldb, lda, ldc = (
            self.value(f"getelementptr i64, ptr %numbers, i64 {place}") for place in range(6)
        )
        letter = {False: f"@{self.name}_n", True: f"@{self.name}_t"}
        flags = (letter[m.rhs_view.transposed], letter[m.lhs_view.transposed])
        one, zero = f"@{self.name}_one", f"@{self.name}_zero"
        given = (*flags, n, rows, k, one, b, ldb, a, lda, zero, c, ldc)
        self.emit(f"call {GEMM_TYPE} {gemm}({', '.join('ptr ' + p for p in given)})")
