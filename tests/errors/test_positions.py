"""Where an error points: several lines, lambdas, methods, code without source, wide characters."""

from __future__ import annotations

import linecache
import pickle
import textwrap
from typing import Any

import numpy as np
import pytest

import tracejit.numpy as jnp
from tracejit import errors, grad, jit, source
from tracejit.errors import ShapeError, TracejitError


def error_of(text: str, file: str = "", **names: Any) -> TracejitError:
    """The error of a program given as text, which linecache knows as ``file`` if that is given."""
    text = textwrap.dedent(text)
    if file:
        linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    scope = {"x": jnp.ones((2, 3)), "y": jnp.ones((4, 3)), "jit": jit, "jnp": jnp, **names}
    with pytest.raises(TracejitError) as caught:
        exec(compile(text, file or "<stdin>", "exec"), scope)
    return caught.value


def shown(error: TracejitError) -> list[str]:
    assert error.at is not None
    return error.at.excerpt_lines()


def test_one_expression_of_a_line() -> None:
    assert shown(error_of("z = (x + 1) * y + 1", "model.py")) == [
        "z = (x + 1) * y + 1",
        "    ^^^^^^^^^^^",
    ]


def test_several_lines_keep_their_indentation() -> None:
    program = """
    if True:
        z = jnp.add(
            x,

            y,
        )
    """
    assert shown(error_of(program, "model.py")) == [
        "z = jnp.add(",
        "    ^^^^^^^^",
        "    x,",
        "    ^^",
        "    y,",
        "    ^^",
        ")",
        "^",
    ]


def test_a_long_expression_is_cut_in_the_middle() -> None:
    arguments = "\n".join(f"    {name}," for name in ("x", "y", "*()", "*()", "*()", "*()"))
    lines = shown(error_of(f"jnp.add(\n{arguments}\n)", "model.py"))
    assert lines.count("...") == 1
    assert lines[0] == "jnp.add(" and lines[-2] == ")"
    assert len(lines) == 2 * (source.MAX_LINES - 1) + 1


def test_a_test_of_a_block_is_underlined_alone() -> None:
    program = """
    while jnp.ones(3):  # as long as it takes
        x = x + 1
    """
    assert shown(error_of(program, "model.py")) == [
        "while jnp.ones(3):  # as long as it takes",
        "      ^^^^^^^^^^^",
    ]


def test_a_lambda() -> None:
    error = error_of("f = jit(lambda a: a + y); f(x)", "model.py")
    assert error.at is not None and error.at.function == "<lambda>"
    assert shown(error)[1] == "                  ^^^^^"


def test_wide_characters_and_tabs() -> None:
    error = error_of("if True:\n\tz = ('重み', 'é', x + y)", "model.py")
    assert shown(error) == ["z = ('重み', 'é', x + y)", "                  ^^^^^"]
    error = error_of("z =\t(x + y)", "model.py")
    assert shown(error) == ["z =\t(x + y)", "   \t ^^^^^"]


def test_code_without_a_source() -> None:
    error = error_of("z = x + y")
    assert shown(error) == [] and error.at is not None
    assert error.at.excerpt() == ("", "") and error.at.expression() == ""
    assert "  <stdin>:1 in <module>\n  operand 1" in str(error)


def test_a_source_that_changed_gets_no_marks() -> None:
    error = error_of("z = 1 + 1 + 1 + (x + y)", "model.py")
    linecache.cache["model.py"] = (5, None, ["z = 1\n"], "model.py")
    assert shown(error) == []


def test_a_notebook_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    error = error_of("z = x + y", "<ipython-input-7-0123abcd>")
    assert error.at is not None and error.at.short() == "cell In[7]:1"
    error = error_of("z = x + y", "/tmp/ipykernel_12/345.py")
    assert error.at is not None and error.at.short() == "cell:1"
    cells = {"/tmp/ipykernel_12/345.py": 3}
    shell = type("Shell", (), {"compile": type("Compiler", (), {"_filename_map": cells})})
    monkeypatch.setitem(
        source.sys.modules, "IPython", type("M", (), {"get_ipython": lambda: shell})
    )
    assert error.at.short() == "cell In[3]:1"


class Model:
    def __init__(self) -> None:
        self.w = np.ones((3, 2), np.float32)

    @jit
    def step(self, x: Any) -> Any:
        return x @ self.w

    @staticmethod
    @jit
    def scale(x: Any) -> Any:
        return x * np.ones(7, np.float32)


def test_methods_are_named_with_their_class() -> None:
    with pytest.raises(ShapeError) as caught:
        Model().step(np.ones((2, 2), np.float32))
    assert caught.value.at is not None and caught.value.at.function == "Model.step"
    assert "operand 1: f32[2,2]  argument `x`" in str(caught.value)
    with pytest.raises(ShapeError) as caught:
        Model.scale(np.ones(3, np.float32))
    assert caught.value.at is not None and caught.value.at.function == "Model.scale"


def test_an_error_below_the_standard_library_is_at_the_users_line() -> None:
    @jit
    def f(x: Any) -> Any:
        import statistics

        return statistics.fmean([x])

    with pytest.raises(TracejitError) as caught:
        f(1.0)
    assert caught.value.at is not None and caught.value.at.file == __file__


def test_errors_can_be_pickled() -> None:
    error = error_of("z = x + y", "model.py")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is ShapeError and str(again) == str(error)


# ---- tracebacks ----------------------------------------------------------------------------------


def frames(error: BaseException) -> list[str]:
    found, tb = [], error.__traceback__
    while tb is not None:
        found.append(tb.tb_frame.f_code.co_qualname.rpartition("<locals>.")[2])
        tb = tb.tb_next
    return found


def test_all_frames_of_the_user_remain() -> None:
    def inner(x: Any) -> Any:
        return (x @ x).sum()

    @jit
    def middle(x: Any) -> Any:
        return inner(x)

    def outer(x: Any) -> Any:
        return grad(middle)(x)

    with pytest.raises(ShapeError) as caught:
        outer(np.ones((2, 3), np.float32))
    assert frames(caught.value)[1:] == ["outer", "middle", "inner"]


def test_the_users_own_exceptions_pass_with_the_users_frames() -> None:
    @jit
    def f(x: Any) -> Any:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine") as caught:
        grad(f)(1.0)
    assert frames(caught.value)[1:] == ["f"]


def test_what_happened_inside_is_not_chained_but_what_the_user_raised_is() -> None:
    class Odd:
        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            raise RuntimeError("no data")

    with pytest.raises((TracejitError, RuntimeError)) as caught:
        jit(lambda x: x)(Odd())
    error = caught.value
    assert isinstance(error, RuntimeError) or isinstance(error.__cause__, RuntimeError)
    with pytest.raises(TracejitError) as plain:
        jit(lambda x: x)("text")
    assert plain.value.__cause__ is None and plain.value.__context__ is None


def test_internal_frames_can_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors, "show_internal_frames", True)
    with pytest.raises(ShapeError) as caught:
        jnp.ones(2) + jnp.ones(3)
    assert len(frames(caught.value)) > 1


def test_defects_keep_their_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **kwargs: Any) -> Any:
        raise errors.InternalError("a defect")

    with pytest.raises(errors.InternalError) as caught:
        errors.user_traceback(broken)()
    assert len(frames(caught.value)) == 3


def test_equal_code_in_two_files() -> None:
    """Code objects are equal where only their files differ: each keeps its own name."""
    found = []
    for file in ("one.py", "two.py"):
        code = compile("def f(x):\n    return x + 1\n", file, "exec")
        namespace: dict[str, Any] = {}
        exec(code, namespace)
        found.append(source.Position(namespace["f"].__code__, 4).short())
    assert found == ["one.py:2", "two.py:2"]
