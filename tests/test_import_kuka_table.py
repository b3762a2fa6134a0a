"""The importer of the kuka_table photographs. Without them the tests are skipped with a hint how to get them."""

from pathlib import Path

import numpy as np
import pytest
from builders import PHOTOGRAPHS, run_script

from simgen.dataset.read import open_dataset, read_rgb
from simgen.geometry import inverse, project

SOURCE = PHOTOGRAPHS / "kuka_table"
SCRIPT = "import_kuka_table.py"
# Where the picture's border cuts the box or leaves it out, by the README of the photographs.
CUT = {"2-0", "3-0", "3-8", "4-0", "4-1", "4-8", "5-1", "5-7"}
need_photographs = pytest.mark.skipif(
    not SOURCE.is_dir(),
    reason=f"no photographs in {SOURCE}: copy data/real of github.com/matwilso/domrand there, see README, Results",
)


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("kuka") / "set"
    done = run_script(SCRIPT, str(SOURCE), str(out))
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
        # The published calibration's rotation is rounded to six places.
        assert np.allclose(world[:3, 3], [-0.50 - 0.15 * i, 0.61 - 0.15 * j, 0.0445], atol=2e-6)
        assert instance.visible_fraction > 0.999 or name in CUT
        assert (instance.visible_fraction > 0.01) == (name != "4-0")


@need_photographs
@pytest.mark.photographs
def test_the_box_is_at_its_label(imported: Path) -> None:
    """Where the labels project the box, a picture differs from the cell without the box, and elsewhere it does not."""
    dataset = open_dataset(imported)
    names = sorted(path.stem for path in (SOURCE / "photos").glob("*.jpg"))
    whole = [picture for picture, name in zip(dataset.pictures, names, strict=True) if name not in CUT]
    assert len(whole) == 44
    pictures = np.stack([read_rgb(picture.path) for picture in whole]).astype(np.float32)
    usual = np.median(pictures, axis=0)
    # The camera set its exposure for each picture by itself: take out each channel's overall change.
    exposure = np.median(pictures / np.maximum(usual, 1), axis=(1, 2), keepdims=True)
    changes = np.abs(pictures - usual * exposure).mean(axis=-1)
    for k, picture in enumerate(whole):
        center = picture.instances[0].camera_from_block[:3, 3][None]
        u, v = np.rint(project(center, picture.intrinsics, picture.distortion)[0]).astype(int)
        here = changes[k, v - 6 : v + 7, u - 6 : u + 7].mean()
        assert here > 4 * changes[k].mean(), (picture.image_id, here, changes[k].mean())


def test_bad_sources_are_named(tmp_path: Path) -> None:
    done = run_script(SCRIPT, str(tmp_path), str(tmp_path / "out"))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "photos: holds no .jpg" in done.stderr
    assert not (tmp_path / "out").exists()
