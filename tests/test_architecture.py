"""The house stays in order: one direction of imports, and each library in its rooms."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from builders import ROOT

# From the ground up: a room imports only from rooms named before it.
FLOORS = [
    "errors", "files", "pictures", "resources", "keys", "schema", "arguments", "effects", "help", "progress", "config",
    "distortion", "geometry", "camera.lenses",
    "camera.checks", "camera.value", "camera.files", "camera.formats", "camera.read", "camera", "draws",
    "distributions", "hulls", "symmetry", "polygons", "meshfile", "meshrepair", "shapes", "scene", "yamlfile",
    "catalogue", "textures", "textures.color", "textures.images", "textures.procedural", "factors", "viewpoints",
    "randomize", "physics", "render", "silhouette", "render.meshes", "render.pinhole", "render.bullet", "render.stage",
    "render.kernels", "render.rays", "render.lens", "render.shading", "render.surface", "render.light",
    "render.raycast", "sensor", "labels", "targets", "dataset", "dataset.layout", "dataset.fields", "dataset.models",
    "dataset.visibility", "dataset.scenes", "dataset.read", "dataset.write", "dataset.photographs", "dataset.recipe",
    "pipeline", "workers", "preview", "__init__", "__main__",
]  # fmt: skip
# The packages of train/, likewise.
TRAIN = [
    "__init__", "config", "metrics", "blocks", "pose", "data", "nets", "runs", "draw", "detect", "evaluate", "fit", "tobin",
    "__main__",
]  # fmt: skip
# Which rooms may import a library; it is banned everywhere else.
ALLOWED = {
    "PIL": {"simgen/pictures.py", "train/detect/overlays.py", "train/draw/sheets.py"},  # files are decoded in one place
    "pybullet": {"simgen/physics.py", "simgen/render/bullet.py"},
    "omegaconf": {"simgen/config.py"},
    "hydra": {"simgen/config.py"},
    "torch": {
        "train/",
        "simgen/render/",
        "simgen/sensor.py",
        "simgen/textures/",
        "simgen/workers.py",
        "simgen/targets.py",
    },
    "torchvision": {"train/"},
    "pytorch_lightning": {"train/"},
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
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
    return found


def name_of(path: Path) -> str:
    relative = path.relative_to(ROOT / "simgen").with_suffix("")
    name = ".".join(relative.parts)
    return name.removesuffix(".__init__") if name != "__init__" else name


@pytest.mark.parametrize("path", modules("simgen"), ids=name_of)
def test_imports_point_down(path: Path) -> None:
    here = FLOORS.index(name_of(path))
    for module in imports(path, lazy=False):
        if module.split(".")[0] == "simgen":
            there = FLOORS.index(module.removeprefix("simgen").removeprefix(".") or "__init__")
            assert there < here, f"{name_of(path)} imports {module}, which stands above it"
        assert module.split(".")[0] not in ("train", "scripts")


def test_train_imports_point_down() -> None:
    for path in modules("train"):
        here = TRAIN.index(path.relative_to(ROOT / "train").with_suffix("").parts[0])
        for module in imports(path):
            parts = module.split(".")
            if parts[0] == "train" and len(parts) > 1:
                there = TRAIN.index(parts[1])
                assert there <= here, f"{path} imports {module}, which stands above it"


def test_only_the_command_table_imports_the_baseline() -> None:
    for path in modules("train"):
        if path.parent.name != "tobin" and path.name != "__main__.py":
            assert not any(module.startswith("train.tobin") for module in imports(path)), path


@pytest.mark.parametrize("folder", ["simgen", "train"])
def test_each_library_stays_in_its_rooms(folder: str) -> None:
    for path in modules(folder):
        place = str(path.relative_to(ROOT))
        for module in imports(path):
            rooms = ALLOWED.get(module.split(".")[0])
            assert rooms is None or any(place.startswith(room) for room in rooms), f"{place} imports {module}"


def test_train_does_not_import_scripts() -> None:
    assert not any(module.split(".")[0] == "scripts" for path in modules("train") for module in imports(path))


def test_reading_and_sampling_need_no_pybullet() -> None:
    """`import simgen`, sampling and all of train/ on a machine without pybullet."""
    code = (
        "import sys; sys.modules['pybullet'] = None\n"
        "import simgen, simgen.workers, simgen.preview, simgen.dataset.write\n"
        "import train.fit.training, train.data.sources, train.evaluate.report, train.tobin.fit, train.__main__\n"
        "try: simgen.make_renderer('tiny', simgen.load_world('tabletop'))\n"
        "except simgen.SimgenError as error: print(error)\n"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert child.returncode == 0, child.stderr
    assert "pip install pybullet" in child.stdout


def test_rooms_are_small() -> None:
    for folder in ("simgen", "train", "scripts"):
        for path in modules(folder):
            assert len(path.read_text(encoding="utf-8").splitlines()) <= 420, path
