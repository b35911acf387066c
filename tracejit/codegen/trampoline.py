"""How Python calls a program: a function of the C-API's kind, as LLVM text.

    PyObject *call_program(PyObject *record, PyObject *const *arguments, Py_ssize_t count)

``record``: the address of a Record, as a Python integer. ``arguments``: integers, the arena and the
``env`` of the run, then the addresses of the program's operands and of its results. They go into a
table on the stack, the program's ``main`` runs, and True is the answer. Only functions of Python's
stable ABI are called.
"""

from __future__ import annotations

from tracejit.codegen.target import Target

#: words of a Record: the address of ``main``, how many arguments there are, how many of them are
#: operands, and whether other Python threads may run meanwhile
MAIN, COUNT, OPERANDS, RELEASE = range(4)

_TEXT = """\
declare ptr @PyLong_AsVoidPtr(ptr)
declare i64 @PyLong_AsUnsignedLongLong(ptr)
declare ptr @PyErr_Occurred()
declare i32 @PyErr_BadArgument()
declare ptr @PyEval_SaveThread()
declare void @PyEval_RestoreThread(ptr)
declare ptr @PyBool_FromLong(i64)

define ptr @call_program(ptr %given, ptr %arguments, i64 %count) {
entry:
  %record = call ptr @PyLong_AsVoidPtr(ptr %given)
  %count_at = getelementptr i64, ptr %record, i64 1
  %wanted = load i64, ptr %count_at
  %right = icmp eq i64 %count, %wanted
  br i1 %right, label %begin, label %wrong
begin:
  %table = alloca i64, i64 %count, align 16
  br label %read
read:
  %k = phi i64 [ 0, %begin ], [ %next, %store ]
  %object_at = getelementptr ptr, ptr %arguments, i64 %k
  %object = load ptr, ptr %object_at
  %word = call i64 @PyLong_AsUnsignedLongLong(ptr %object)
  %odd = icmp eq i64 %word, -1
  br i1 %odd, label %doubt, label %store
doubt:
  %error = call ptr @PyErr_Occurred()
  %failed = icmp ne ptr %error, null
  br i1 %failed, label %raise, label %store
store:
  %word_at = getelementptr i64, ptr %table, i64 %k
  store i64 %word, ptr %word_at
  %next = add i64 %k, 1
  %more = icmp ult i64 %next, %count
  br i1 %more, label %read, label %ready
ready:
  %main = load ptr, ptr %record
  %arena = load ptr, ptr %table
  %env_at = getelementptr i64, ptr %table, i64 1
  %env = load ptr, ptr %env_at
  %operands = getelementptr i64, ptr %table, i64 2
  %operands_at = getelementptr i64, ptr %record, i64 2
  %split = load i64, ptr %operands_at
  %results = getelementptr i64, ptr %operands, i64 %split
  %release_at = getelementptr i64, ptr %record, i64 3
  %release = load i64, ptr %release_at
  %long = icmp ne i64 %release, 0
  br i1 %long, label %beside, label %alone
beside:
  %thread = call ptr @PyEval_SaveThread()
  call void %main(ptr %operands, ptr %results, ptr %arena, ptr %env)
  call void @PyEval_RestoreThread(ptr %thread)
  br label %end
alone:
  call void %main(ptr %operands, ptr %results, ptr %arena, ptr %env)
  br label %end
end:
  %answer = call ptr @PyBool_FromLong(i64 1)
  ret ptr %answer
wrong:
  %bad = call i32 @PyErr_BadArgument()
  ret ptr null
raise:
  ret ptr null
}
"""


def print_trampoline(target: Target) -> str:
    """LLVM text of ``call_program`` for a CPU."""
    return f'target triple = "{target.triple}"\ntarget datalayout = "{target.layout}"\n' + _TEXT
