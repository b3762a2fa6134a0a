"""The ray caster's kernels: `kernels(rays)`, compiled for that many rays in each thread.

A CPU computes with eight numbers in the time of one, so that its threads follow eight rays at once. A GPU has a thread for
each ray: with eight, whose numbers do not fit its registers, the kernels took 423 s to compile instead of 12 s. The lengths
of vectors are part of the kernels' types, so the modules of this folder are imported once for each number of rays. They
import each other relatively, and so find those of their own number. Pictures are the same bytes for any.
"""

import importlib
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

RAYS = 8  # of the modules that are imported by the name of this package
_MODULES = "lanes", "device", "tracing", "occlusion", "lighting"


def kernels(rays: int) -> Any:
    """The modules `lanes`, `device`, `tracing`, `occlusion` and `lighting` whose threads follow `rays` rays: 1 or 8."""
    name = __name__ if rays == RAYS else f"{__name__}.of_{rays}"
    if name not in sys.modules:
        package = ModuleType(name)
        package.__path__ = __path__
        vars(package)["RAYS"] = rays
        sys.modules[name] = package
    return SimpleNamespace(**{module: importlib.import_module(f"{name}.{module}") for module in _MODULES})
