"""The photographs as a BOP dataset. Without them the test says how to get them."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from builders import PHOTOGRAPHS, ROOT

from simgen.dataset.read import open_dataset, read_rgb
from simgen.geometry import inverse, project

SOURCE = PHOTOGRAPHS / "kuka_table"
SCRIPT = [sys.executable, str(ROOT / "scripts" / "import_kuka_table.py")]
need_photographs = pytest.mark.skipif(
    not SOURCE.is_dir(),
    reason=f"no photographs in {SOURCE}: copy data/real of github.com/matwilso/domrand there, see README, Results",
)


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("kuka") / "set"
    done = subprocess.run([*SCRIPT, str(SOURCE), str(out)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "52 photographs" in done.stdout
    return out


@need_photographs
@pytest.mark.photographs
def test_positions_are_the_grid_labels(imported: Path) -> None:
    dataset = open_dataset(imported)
    names = sorted(path.stem for path in (SOURCE / "photos").glob("*.jpg"))
    assert len(dataset) == len(names) == 52
    for picture, name in zip(dataset.pictures, names, strict=True):
        assert picture.path.read_bytes() == (SOURCE / "photos" / f"{name}.jpg").read_bytes()
        (instance,) = picture.instances
        world = inverse(picture.camera_from_world) @ instance.camera_from_block
        i, j = map(int, name.split("-"))
        assert np.allclose(world[:3, 3], [-0.50 - 0.15 * i, 0.61 - 0.15 * j, 0.0445])
        cut = {"2-0", "3-0", "3-8", "4-1", "4-8", "5-1", "5-7"}  # by the README of the photographs
        assert (instance.visible_fraction > 0.999) == (name not in cut | {"4-0"})
        assert (instance.visible_fraction > 0.01) == (name != "4-0")


@need_photographs
@pytest.mark.photographs
def test_the_box_is_where_the_labels_say(imported: Path) -> None:
    """The picture is whiter at the projected centre of the box than the table is there without the box."""
    dataset = open_dataset(imported)
    whole = [picture for picture in dataset.pictures if picture.instances[0].visible_fraction > 0.999]
    assert len(whole) == 44
    pictures = np.stack([read_rgb(picture.path) for picture in whole]).min(axis=-1)  # white is high in every channel
    usual = np.median(pictures, axis=0)
    brighter = 0
    for k, picture in enumerate(whole):
        center = picture.instances[0].camera_from_block[:3, 3][None]
        u, v = np.rint(project(center, picture.intrinsics, picture.distortion)[0]).astype(int)
        patch = (slice(v - 4, v + 5), slice(u - 4, u + 5))
        brighter += pictures[k][patch].mean() > usual[patch].mean() + 10
    assert brighter >= 42


def test_bad_sources_are_named(tmp_path: Path) -> None:
    done = subprocess.run([*SCRIPT, str(tmp_path), str(tmp_path / "out")], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "photos: holds no .jpg" in done.stderr
    assert not (tmp_path / "out").exists()
