"""LAPACK called from compiled programs, without Python in between, against the interpreter."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tests.passes.pass_checks import equal_results
from tracejit import lax, linalg
from tracejit.codegen.lapack import print_lapack
from tracejit.ir import interp
from tracejit.ir.build import building
from tracejit.ir.graph import Graph, Node, Value
from tracejit.ir.types import DTYPES, TensorType
from tracejit.kernel.lapack import Int, LapackPlan, Work, lapack_plan
from tracejit.kernel.program import HostCall, LapackCall, Program
from tracejit.ops import PRIMS
from tracejit.passes.lapack import call_lapack
from tracejit.runtime import lapack as runtime
from tracejit.runtime.executable import compile_graph, make_stages
