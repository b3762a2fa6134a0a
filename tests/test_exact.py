"""Elementary functions with known bits: right to two units in the last place, and the same on every processor."""

import ast
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import mpmath
import numpy as np
import pytest
from builders import ROOT
from test_architecture import imports

from simgen import exact
from simgen.geometry import Array

RNG = np.random.default_rng(0)
ANGLES = np.concatenate(
    [RNG.uniform(-7, 7, 300), RNG.uniform(-1e5, 1e5, 200), np.arange(-8, 9) * np.pi / 4, [1e-9, -1e-300]]
)
POSITIVE = np.concatenate(
    [np.exp(RNG.uniform(-40, 40, 300)), RNG.uniform(0.4, 2.5, 200), [1.0, 0.5, np.nextafter(1, 2)]]
)
SIGNED = np.concatenate([RNG.uniform(-3, 3, 300), RNG.normal(size=100) * 1e4, [0.0, 1, -1, np.inf, -np.inf]])
EXPONENTS = np.concatenate([RNG.uniform(-30, 30, 400), [0.0, 1, -1, 1e-12]])
UNIT = np.concatenate([RNG.uniform(-1, 1, 300), [1.0, -1, 0, 1 - 1e-12]])
FUNCTIONS: dict[str, tuple[Callable[[Array], Array], Callable[..., object], Array]] = {
    "sine": (exact.sine, mpmath.sin, ANGLES),
    "cosine": (exact.cosine, mpmath.cos, ANGLES),
    "tangent": (exact.tangent, mpmath.tan, RNG.uniform(-1.5, 1.5, 300)),
    "exp": (exact.exp, mpmath.exp, EXPONENTS),
    "log": (exact.log, mpmath.log, POSITIVE),
    "arctan": (exact.arctan, mpmath.atan, SIGNED),
    "arccos": (exact.arccos, mpmath.acos, UNIT),
}


def off(found: Array, truth: list[object]) -> float:
    """The greatest error in units in the last place, of values that are not as good as 0."""
    units = [
        float(abs(mpmath.mpf(float(one)) - two) / max(np.spacing(abs(float(two))), 2e-17))
        for one, two in zip(found, truth, strict=True)
        if np.isfinite(one)
    ]
    return max(units)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_right_to_two_units_in_the_last_place(name: str) -> None:
    function, truth, values = FUNCTIONS[name]
    with mpmath.workprec(200):
        assert off(function(values), [truth(mpmath.mpf(float(x))) for x in values]) < 2


def test_arctan2_in_all_quadrants() -> None:
    y, x = RNG.normal(size=(2, 400))
    with mpmath.workprec(200):
        assert off(exact.arctan2(y, x), [mpmath.atan2(a, b) for a, b in zip(y.tolist(), x.tolist(), strict=True)]) < 2
    axes = exact.arctan2(np.array([0.0, 1, 0, -1, 0]), np.array([1.0, 0, -1, 0, 0]))
    assert axes.tolist() == [0, np.pi / 2, np.pi, -np.pi / 2, 0]


def test_powers_and_products() -> None:
    base, exponent = RNG.uniform(0.1, 9, 300), RNG.uniform(-4, 4, 300)
    np.testing.assert_allclose(exact.power(base, exponent), base**exponent, rtol=1e-14)
    a, b = RNG.normal(size=(5, 1, 4, 3)), RNG.normal(size=(6, 3, 2))
    np.testing.assert_allclose(exact.product(a, b), a @ b, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(exact.norm(b), np.linalg.norm(b, axis=-1), rtol=1e-15)
    np.testing.assert_allclose(exact.dot(b, b[..., ::-1, :]), (b * b[..., ::-1, :]).sum(-1), rtol=1e-13, atol=1e-15)


def test_the_bits_are_known() -> None:
    """A processor that gives others breaks the promise that samples are the same everywhere."""
    x = np.arange(1, 4001) / 257.0
    values = [
        *exact.sine_cosine(x * 37), exact.tangent(x / 12), exact.exp(x - 9), exact.log(x), exact.power(x, x / 7),
        exact.arctan(x - 8), exact.arctan2(x - 8, 5 - x), exact.arccos(x / 16 - 0.5),
        exact.product(x.reshape(-1, 4, 4) / 3, x.reshape(-1, 4, 4) / 7), exact.norm(x.reshape(-1, 4) / 3),
    ]  # fmt: skip
    digest = hashlib.sha256(b"".join(np.ascontiguousarray(part, dtype="<f8").tobytes() for part in values)).hexdigest()
    assert digest[:16] == "738708e161779ee0"


# ---- the promise itself: samples do not depend on the processor

SWITCHES = {  # each makes a library take the routines of another processor
    "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
    "OPENBLAS_CORETYPE": "Nehalem",
    "OPENCV_CPU_DISABLE": "AVX2,FMA3,AVX512_SKX",
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA",
}
INEXACT = (
    "sin", "cos", "tan", "arcsin", "arccos", "arctan", "arctan2", "exp", "exp2", "expm1", "log", "log2", "log10", "log1p",
    "power", "float_power", "cbrt", "hypot", "sinh", "cosh", "tanh", "einsum", "dot", "inner", "vdot", "tensordot",
)  # fmt: skip
_PRINT = """
import hashlib, sys, tempfile
from pathlib import Path
import numpy as np

def moved(function):
    # Every second number is off by a unit in the last place, as that of a processor with other routines may be.
    def other(*given, **options):
        result = function(*given, **options)
        if isinstance(result, np.ndarray | np.floating) and result.dtype.kind == "f":
            numbers = np.array(result)
            flat = numbers.reshape(-1)
            flat[::2] = np.nextafter(flat[::2], np.inf, dtype=flat.dtype)
            return numbers if isinstance(result, np.ndarray) else numbers[()]
        return result
    return other

for name in filter(None, sys.argv[1].split(",")):
    setattr(np, name, moved(getattr(np, name)))

from simgen.config import compose
from simgen.dataset.write import write_models, write_samples
from simgen.pipeline import make_pipeline
from simgen.render import make_renderer
from simgen.schema import Render
from simgen.storage import Folder

made = make_pipeline(compose("render", Render, ["randomize=full", "width=64", "height=48"]))
folder = Path(tempfile.mkdtemp())
write_models(folder / "models", made.world.solids)
renderer = make_renderer("raycast", made.world, made.images, threads=1)
write_samples(Folder(folder), made.samples(renderer, range(4)), "jpg")
for path in sorted(folder.rglob("*")):
    if path.is_file():
        print(path.relative_to(folder), hashlib.sha256(path.read_bytes()).hexdigest())
"""


def printed(names: str, **switches: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _PRINT, names],
        capture_output=True,
        text=True,
        env={**os.environ, **switches, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_another_processor_gives_the_same_files() -> None:
    """The files of samples and models, made with the routines for another processor, and with every inexact function of
    NumPy moved by a unit in the last place."""
    here = printed("")
    assert here.count(".jpg") == 4 and "models_info.json" in here
    assert printed(",".join(INEXACT), **SWITCHES) == here


def reached(name: str) -> set[str]:
    """The modules of simgen that importing the module `name` imports, itself included."""
    found, todo = set(), {name}
    while todo:
        module = todo.pop()
        path = ROOT / Path(*module.split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        found.add(module)
        if path.exists():
            todo |= {one for one in imports(path) if one.split(".")[0] == "simgen"} - found
    return found


def test_nothing_that_makes_samples_uses_inexact_functions() -> None:
    """NumPy's own elementary functions and products, in any module that the pipeline imports. Camera files are read once,
    and what they state is stored in the recipe."""
    for module in sorted(reached("simgen.pipeline")):
        path = (ROOT / Path(*module.split("."))).with_suffix(".py")
        if not path.exists() or module.startswith("simgen.camera"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "np":
                assert node.attr not in INEXACT, f"{path}:{node.lineno}: np.{node.attr}; use simgen.exact"
