"""The architecture: imports go one way, and each library is imported only by the modules that may."""

import ast
import importlib
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from builders import ROOT
from packaging.requirements import Requirement

import simgen
from simgen.engine import _remedy

# From the bottom up: a module imports only from modules named before it.
ORDER = [
    "errors", "exact", "yamlfile", "engine", "files", "storage", "pictures", "drawings", "resources", "distortion",
    "geometry", "camera.lenses",
    "camera.checks", "camera.value", "camera.files", "camera.formats", "camera.read", "camera", "command",
    "command.keys", "command.grammar", "command.swept", "schema", "command.arguments", "command.effects", "command.help",
    "command.progress", "config", "draws",
    "distributions", "shapes", "shapes.hulls", "shapes.symmetry", "shapes.sides", "shapes.surface",
    "shapes.polygons", "shapes.meshfile",
    "shapes.meshrepair", "shapes.solids", "shapes.reflections", "shapes.bodies", "shapes.parts", "shapes.dice",
    "shapes.desk",
    "shapes.clutter", "shapes.meshfolder", "scene", "catalogue", "textures", "textures.color",
    "textures.images", "textures.numbers", "textures.fields", "textures.lettering", "textures.collage",
    "textures.prints", "textures.wood", "textures.stone", "textures.fabric", "textures.fractal", "textures.grime",
    "textures.families", "textures.photographs", "textures.pool", "textures.procedural", "factors", "viewpoints",
    "clutter", "places", "randomize", "physics", "render", "silhouette", "render.meshes", "render.pinhole", "render.bullet",
    "render.kernels", "render.kernels.lanes", "render.kernels.device", "render.kernels.intersect",
    "render.kernels.tracing", "render.kernels.occlusion", "render.kernels.texturing", "render.kernels.shading",
    "render.kernels.lighting", "render.buffers", "render.raycast", "jpeg", "sensor", "labels", "dataset",
    "dataset.layout",
    "dataset.fields", "dataset.hashes", "dataset.models", "dataset.visibility", "dataset.scenes", "dataset.read",
    "dataset.storage", "dataset.shardindex", "dataset.shards",
    "dataset.values", "dataset.write", "dataset.assemble", "dataset.photographs", "dataset.recipe", "pipeline",
    "check", "check.findings", "check.schema", "check.numbers", "check.folder", "check.decode", "check.tree",
    "check.meshes", "check.models", "check.geometry", "check.pictures", "check.similar", "check.table", "check.factors",
    "check.shortcuts", "check.targets", "check.remake", "check.sample", "check.command",
    "executors", "workers", "merge", "preview",
    "live", "live.schema", "live.settings", "live.controls", "live.drawing", "live.newest", "live.parts", "live.page",
    "live.command",
    "explain", "explain.schema", "explain.presets", "explain.along", "explain.stage", "explain.strip", "explain.command",
    "diff", "diff.schema", "diff.sides", "diff.factors", "diff.pixels", "diff.command",
    "formats", "formats.schema", "formats.folder", "formats.pinhole", "formats.labels", "formats.mirror",
    "formats.meshes", "formats.coco", "formats.yolo", "formats.foundationpose", "formats.imagefolder", "formats.bop",
    "formats.shards", "formats.command", "formats.posed",
    "report", "report.schema", "report.columns", "report.samples", "report.overlays", "report.thumbnails",
    "report.predictions", "report.again", "report.page", "report.command",
    "board", "board.schema", "board.value", "board.files", "board.refine", "board.find", "board.layout", "board.pdf",
    "board.calibrate", "board.figures", "board.place", "board.commands", "board.cell", "board.capture", "__init__",
    "__main__",
]  # fmt: skip
# The packages of train/, likewise.
TRAIN = [
    "__init__", "config", "metrics", "adr", "blocks", "pose", "data", "nets", "runs", "draw", "detect", "evaluate", "fit",
    "sweep", "tobin", "__main__",
]  # fmt: skip
# Which modules may import a library; it is banned everywhere else.
ALLOWED = {
    "PIL": {"simgen/pictures.py", "simgen/drawings.py"},  # files are decoded in one place
    "pybullet": {"simgen/engine.py"},
    "omegaconf": {"simgen/config.py"},
    "hydra": {"simgen/config.py", "simgen/command/swept.py"},  # the latter reads its syntax only
    "optuna": {"train/sweep/study.py"},
    # Only training needs torch; the sensor imports it for tensors only.
    "torch": {"train/", "simgen/sensor.py"},
    "viser": {"simgen/live/page.py"},
    "warp": {"simgen/render/"},
    "torchvision": {"train/"},
    "pytorch_lightning": {"train/"},
    "fsspec": {"simgen/storage.py", "simgen/dataset/storage.py"},
}


def modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imports(path: Path, *, lazy: bool = True) -> set[str]:
    """The modules that `path` imports; without `lazy` those alone that importing it imports."""
    found = set()
    nodes: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    for node in nodes:
        if lazy or not isinstance(node, ast.FunctionDef):
            nodes.extend(ast.iter_child_nodes(node))
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = absolute(path, node)
            inner = (
                {alias.name for alias in node.names} & {"exact"} if module == "simgen" else set()
            )  # used by its name
            found |= {f"simgen.{name}" for name in inner} or {module}
    return found


def absolute(path: Path, node: ast.ImportFrom) -> str:
    """The name of the module that `path` imports from. Only kernels, which are imported twice, import relatively."""
    if node.level == 0:
        return node.module or ""
    assert node.level == 1 and path.parent.name == "kernels", f"{path}: relative import"
    return ".".join(["simgen.render.kernels", *([node.module] if node.module else [])])


def name_of(path: Path) -> str:
    relative = path.relative_to(ROOT / "simgen").with_suffix("")
    name = ".".join(relative.parts)
    return name.removesuffix(".__init__") if name != "__init__" else name


@pytest.mark.parametrize("path", modules("simgen"), ids=name_of)
def test_imports_point_down(path: Path) -> None:
    here = ORDER.index(name_of(path))
    for module in imports(path, lazy=False):
        if module.split(".")[0] == "simgen":
            there = ORDER.index(module.removeprefix("simgen").removeprefix(".") or "__init__")
            assert there < here, f"{name_of(path)} imports {module}, which is above it"
        assert module.split(".")[0] not in ("train", "scripts")


def test_train_imports_point_down() -> None:
    for path in modules("train"):
        here = TRAIN.index(path.relative_to(ROOT / "train").with_suffix("").parts[0])
        for module in imports(path):
            parts = module.split(".")
            if parts[0] == "train" and len(parts) > 1:
                there = TRAIN.index(parts[1])
                assert there <= here, f"{path} imports {module}, which is above it"


def test_only_the_command_table_imports_the_baseline() -> None:
    for path in modules("train"):
        if path.parent.name != "tobin" and path.name != "__main__.py":
            assert not any(module.startswith("train.tobin") for module in imports(path)), path


@pytest.mark.parametrize("folder", ["simgen", "train"])
def test_each_library_is_imported_only_where_it_belongs(folder: str) -> None:
    for path in modules(folder):
        place = str(path.relative_to(ROOT))
        for module in imports(path):
            homes = ALLOWED.get(module.split(".")[0])
            assert homes is None or any(place.startswith(home) for home in homes), f"{place} imports {module}"


def test_train_does_not_import_scripts() -> None:
    assert not any(module.split(".")[0] == "scripts" for path in modules("train") for module in imports(path))


def child(code: str) -> str:
    """What a new interpreter prints that runs `code`."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_all_but_its_own_renderers_and_settle_need_no_pybullet() -> None:
    """On a machine without any distribution of pybullet: training is imported, raycast renders and describes its recipe, and
    what needs pybullet names the package to install."""
    printed = child(
        "import importlib.metadata, sys\n"
        "sys.modules['pybullet'] = None\n"
        "installed = importlib.metadata.version\n"
        "def version(name):\n"
        "    if name.startswith('pybullet'): raise importlib.metadata.PackageNotFoundError(name)\n"
        "    return installed(name)\n"
        "importlib.metadata.version = version\n"
        "import simgen, simgen.workers, simgen.preview, simgen.dataset.write\n"
        "import train.fit.training, train.data.sources, train.evaluate.report, train.tobin.fit, train.__main__\n"
        "from simgen.config import compose\n"
        "from simgen.dataset.recipe import describe\n"
        "from simgen.pipeline import make_pipeline\n"
        "from simgen.schema import Render\n"
        "from train.config import TrainConfig\n"
        "from train.data.sources import sources_of\n"
        "small = ['randomize=none', 'width=64', 'height=48']\n"
        "made = make_pipeline(compose('render', Render, ['renderer=raycast', *small]))\n"
        "versions = describe(made.source, made.world, made.sampler, made.images)['versions']\n"
        "(sample,) = made.samples(simgen.make_renderer('raycast', made.world), [0])\n"
        "print('raycast', sample.rgb.shape, 'numpy' in versions, any('bullet' in name for name in versions))\n"
        "def pipeline(*more): make_pipeline(compose('render', Render, ['renderer=raycast', *more]))\n"
        "pipeline('randomize=full', 'physics=place')\n"
        "def stream(*more): sources_of(compose('train', TrainConfig, list(more)))\n"
        "stream('data.physics=place', 'data.photographs=false')\n"
        "pipeline('randomize=tobin2017')\n"
        "for need in (\n"
        "    lambda: simgen.make_renderer('tiny', made.world),\n"
        "    lambda: pipeline('randomize=none', 'physics=settle'),\n"
        "    lambda: pipeline('randomize=full'),\n"
        "    lambda: stream('data.physics=randomize'),\n"
        "):\n"
        "    try: need()\n"
        "    except simgen.SimgenError as error: print(error)\n"
    )
    raycast, tiny, *physics, training = printed.splitlines()
    assert raycast == "raycast (48, 64, 3) True False"
    assert tiny.startswith("renderer: pybullet cannot be imported") and "use renderer=raycast" in tiny
    assert len(physics) == 2  # always dropped, and as the factors state
    assert all(line.startswith("physics: pybullet cannot be imported") for line in physics)
    assert all(line.endswith("use physics=place") for line in physics)
    assert training.startswith("data.physics: pybullet cannot be imported") and training.endswith(
        "use data.physics=place"
    )
    assert all("pip install pybullet" in line for line in (tiny, *physics, training))


@pytest.mark.parametrize(
    ("python", "distribution"),
    [("3.11", "pybullet"), ("3.12", "pybullet-arm64"), ("3.13", "pybullet-arm64"), ("3.14", None)],
)
def test_one_distribution_of_pybullet_for_each_python(python: str, distribution: str | None) -> None:
    """Never both, and the error message names the one that pyproject.toml requires."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    required = [Requirement(line) for line in project["dependencies"]]
    wanted = [one.name for one in required if one.marker is None or one.marker.evaluate({"python_version": python})]
    assert [name for name in wanted if "pybullet" in name] == ([distribution] if distribution else [])
    major, minor = python.split(".")
    remedy = _remedy((int(major), int(minor)))
    assert f"`pip install {distribution}`" in remedy if distribution else "use Python 3.11, 3.12 or 3.13" in remedy


@pytest.mark.parametrize("argv", ["", "simgen --help", "train --help", "simgen rendr"])
def test_import_and_help_load_nothing_heavy(argv: str) -> None:
    """Half a second is not enough to import torch. Judged by what is loaded, since a clock would judge the machine."""
    printed = child(
        "import contextlib, io, runpy, sys\n"
        f"sys.argv = {argv.split() or ['x']!r}\n"
        "import simgen\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        f"    {f'runpy.run_module({argv.split()[0]!r}, run_name={chr(39)}__main__{chr(39)})' if argv else 'pass'}\n"
        "heavy = ('torch', 'pybullet', 'trimesh', 'cv2', 'scipy', 'numpy', 'pytorch_lightning', 'matplotlib')\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )
    assert printed.strip() == "[]"


def test_a_whole_dataset_needs_no_torch(tmp_path: Path) -> None:
    """All public names and a dataset of renderer=tiny, written by a worker process: where importing torch is an error."""
    (tmp_path / "torch.py").write_text("raise AssertionError('torch was imported')")
    small = [
        "randomize=none",
        "renderer=tiny",
        "num=1",
        "workers=1",
        "width=64",
        "height=48",
        f"out={tmp_path / 'set'}",
    ]
    code = (
        "import runpy, sys, simgen\n"
        "assert all(getattr(simgen, name) for name in simgen.__all__)\n"
        f"sys.argv = ['simgen', 'render', *{small!r}]\n"
        "if __name__ == '__main__': runpy.run_module('simgen', run_name='__main__')\n"
    )
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert done.returncode == 0, done.stderr
    assert "1 samples, complete" in done.stdout


def test_every_public_name_is_where_simgen_looks_for_it() -> None:
    assert set(simgen._HOMES) == set(simgen.__all__) <= set(dir(simgen))
    for name, home in simgen._HOMES.items():
        assert getattr(simgen, name) is getattr(importlib.import_module(home), name)
    with pytest.raises(AttributeError, match="no attribute 'Scene'"):
        _ = simgen.Scene


def test_modules_are_small() -> None:
    for folder in ("simgen", "train", "scripts"):
        for path in modules(folder):
            assert len(path.read_text(encoding="utf-8").splitlines()) <= 420, path
