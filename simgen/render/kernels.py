"""Runs the kernels eagerly or compiled with torch.compile. The results are the same bit for bit."""

import shutil
from collections.abc import Callable
from typing import Any, TypeVar

import torch

from simgen.errors import RenderError

T = TypeVar("T")


class Run:
    """Calls a kernel: `run(kernel, *arguments)`. Raises RenderError if it should compile and there is no C++ compiler."""

    def __init__(self, compiled: bool) -> None:
        if compiled and shutil.which("g++") is None and shutil.which("clang++") is None:
            raise RenderError(
                "raycast.compile: no C++ compiler (g++ or clang++) on the PATH; install one, or use raycast.compile=false: "
                "the same pictures, more slowly"
            )
        self.compiled = compiled
        self._kernels: dict[Callable[..., Any], Callable[..., Any]] = {}
        if compiled:
            # One kernel for each number of slabs; torch gives up after 8 by default.
            torch._dynamo.config.recompile_limit = 256
            torch._dynamo.config.accumulated_recompile_limit = 1024

    def __call__(self, kernel: Callable[..., T], *arguments: Any) -> T:
        if not self.compiled:
            return kernel(*arguments)
        if kernel not in self._kernels:
            self._kernels[kernel] = torch.compile(kernel, dynamic=True, fullgraph=True)
        return self._kernels[kernel](*arguments)  # type: ignore[no-any-return]
