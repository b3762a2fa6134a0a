"""Own poses and photographs in (`python -m simgen label`), and detections out in the files of the BOP challenge."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import trimesh
from foreign_bop import HEIGHT, OBJECTS, PLACES, WIDTH, K, camera_from_block, write_foreign

from simgen.check.command import findings_of
from simgen.check.schema import CheckConfig
from simgen.dataset.models import solid_of
from simgen.dataset.read import open_dataset
from simgen.errors import ConfigError, DatasetError, SimgenError
from simgen.files import read_json
from simgen.formats.command import convert
from simgen.formats.posed import label
from simgen.formats.schema import ConvertConfig, LabelConfig
from simgen.geometry import inverse, quaternion_from_matrix, rigid
from train.blocks.kinds import Kind
from train.evaluate.bop_results import write_bop_results
from train.pose.view import View

LENS = [-0.1, 0.02, 0.001, -0.002, 0.0]
SHIFT = np.array([0.01, -0.02, 0.03])  # m: the middle of the wedge in its file
HEAD = "photo,block,x,y,z,qw,qx,qy,qz"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Photographs, a camera whose lens distorts, and a block set with a mesh whose origin is not its middle."""
    folder = tmp_path / "own"
    (folder / "photos" / "day").mkdir(parents=True)
    for name in ("a.jpg", "day/b.png", "unused.png"):
        noise = np.random.default_rng(len(name)).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / "photos" / name), noise)
    camera = {"width": WIDTH, "height": HEIGHT, "intrinsics": K.tolist(), "distortion": LENS}
    table = {"camera_from_table": camera_from_block(0, 0, 0, 0).tolist()}
    (folder / "camera.json").write_text(json.dumps(camera))
    (folder / "table.json").write_text(json.dumps({**camera, **table}))
    wedge = trimesh.convex.convex_hull(
        [[x, y, z] for x, z in ((-0.02, -0.02), (0.02, -0.02), (-0.02, 0.02)) for y in (-0.03, 0.03)]
    )
    wedge.apply_translation(SHIFT)
    wedge.export(folder / "wedge.stl")
    text = "cube: {shape: cube, size: [0.05, 0.05, 0.05]}\nwedge: {mesh: wedge.stl, scale: 1}\n"
    (folder / "blocks.yaml").write_text(text)
    return folder


def labeled(own: Path, lines: list[str], **changes: Any) -> Path:
    (own / "poses.csv").write_text("\n".join([HEAD, *lines]) + "\n")
    names = {"photos": own / "photos", "poses": own / "poses.csv", "blocks": own / "blocks.yaml", "out": own / "set"}
    keys = {"camera": own / "camera.json", **names, **changes}
    label(LabelConfig(**{key: str(value) for key, value in keys.items()}))
    return own / "set"


def line(photo: str, block: str, pose: np.ndarray) -> str:
    return ",".join([photo, block, *map(repr, map(float, [*pose[:3, 3], *quaternion_from_matrix(pose[:3, :3])]))])


def test_own_photographs_and_poses_become_a_dataset(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Poses of the files' own origins; one block hides a part of the other; a photograph without blocks."""
    near, far = camera_from_block(0, -0.02, -0.03, 0.4), camera_from_block(0, 0.0, 0.03, 1.0)
    out = labeled(
        own,
        [line("a.jpg", "wedge", far @ rigid(np.eye(3), -SHIFT)), line("a.jpg", "cube", near), "day/b.png,,,,,,,,"],
    )
    assert "1 photographs are not in the table" in capsys.readouterr().err
    assert findings_of(CheckConfig(dataset=str(out), dark=0)) == []
    read = open_dataset(out)
    wedge, cube = read.pictures[0].instances
    assert not read.pictures[1].instances
    assert [read.models[one.obj_id].name for one in (wedge, cube)] == ["wedge", "cube"]
    np.testing.assert_allclose(wedge.camera_from_block, far, atol=1e-9)
    np.testing.assert_allclose(cube.camera_from_block, near, atol=1e-9)
    np.testing.assert_allclose(read.pictures[0].distortion, LENS)
    assert (out / "test/000000/rgb/000000.jpg").read_bytes() == (own / "photos/a.jpg").read_bytes()
    assert wedge.visible_fraction < 0.95 and cube.visible_fraction == 1.0
    # OpenCV's projection of the cube's corners, filled, is its mask up to the border.
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * 0.025
    pixels = cv2.projectPoints(corners, cv2.Rodrigues(near[:3, :3])[0], near[:3, 3], K, np.array(LENS))[0][:, 0]
    filled = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.fillConvexPoly(filled, cv2.convexHull(np.rint(16 * pixels).astype(np.int32)), 255, shift=4)
    mask = cv2.imread(str(out / "test/000000/mask/000000_000001.png"), cv2.IMREAD_GRAYSCALE)
    kernel = np.ones((3, 3), np.uint8)
    assert np.all(cv2.erode(filled, kernel) <= mask) and np.all(mask <= cv2.dilate(filled, kernel))
    assert cv2.imread(str(out / "overlays.png")).shape[1] % 640 == 0


def test_how_the_camera_file_was_read_is_told_once(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As by all commands: here the photographs have half the size that the camera was calibrated at."""
    camera = json.loads((own / "camera.json").read_text())
    camera |= {"width": 2 * WIDTH, "height": 2 * HEIGHT}
    camera["intrinsics"] = [[2 * x for x in row] for row in K[:2].tolist()] + [[0, 0, 1]]
    (own / "camera.json").write_text(json.dumps(camera))
    near = camera_from_block(0, -0.02, -0.03, 0.4)
    labeled(own, [line("a.jpg", "cube", near), line("day/b.png", "cube", near)])
    printed = [text for text in capsys.readouterr().err.splitlines() if text.startswith("camera: ")]
    assert len(printed) == len(set(printed)) == 1 and "camera.json" in printed[0]


def test_poses_in_the_frame_of_the_table_and_of_the_middle_of_a_block(own: Path) -> None:
    table = camera_from_block(0, 0, 0, 0)
    pose = inverse(table) @ camera_from_block(0, 0.0, 0.03, 1.0)
    out = labeled(own, [line("a.jpg", "wedge", pose)], frame="table", origin="block", camera=own / "table.json")
    (one,) = open_dataset(out).pictures[0].instances
    np.testing.assert_allclose(one.camera_from_block, table @ pose, atol=1e-9)


def test_a_table_that_cannot_be_right_is_refused_by_line(own: Path) -> None:
    good = camera_from_block(0, 0, 0, 0)
    far, behind, beside = good.copy(), good.copy(), good.copy()
    far[:3, 3] *= 1000
    behind[:3, 3] *= -1
    beside[0, 3] += 1.5
    row = line("a.jpg", "cube", good).split(",")
    cases = {
        "line 2: photo: .*c.jpg: no such file": line("c.jpg", "cube", good),
        r"line 2: photo: got '../a.jpg'": line("../a.jpg", "cube", good),
        "line 2: block: got 'ball'; .* has cube, wedge": line("a.jpg", "ball", good),
        "line 2: x: got 'nan'": ",".join([*row[:2], "nan", *row[3:]]),
        "line 2: z: got ''": ",".join([*row[:4], "", *row[5:]]),
        "line 2: qw, qx, qy, qz: got .* of length 2": ",".join([*row[:5], "2", "0", "0", "0"]),
        "line 2: the block is .* m away .* divide millimeters by 1000": line("a.jpg", "cube", far),
        "line 2: the block is behind the camera": line("a.jpg", "cube", behind),
        "line 2: the block is not in the picture": line("a.jpg", "cube", beside),
    }
    for message, text in cases.items():
        with pytest.raises(DatasetError, match=message):
            labeled(own, [text])
    with pytest.raises(DatasetError, match="has no pose"):
        labeled(own, [])
    with pytest.raises(ConfigError, match="frame: table needs camera_from_table"):
        labeled(own, [",".join(row)], frame="table")
    (own / "poses.csv").write_text("photo,block,x\n")
    with pytest.raises(SimgenError, match="line 1: no column y, z, qw"):
        label(
            LabelConfig(str(own / "photos"), str(own / "poses.csv"), str(own / "blocks.yaml"), str(own / "camera.json"))
        )
    assert not [path for path in own.iterdir() if "set" in path.name]


def test_the_truth_as_detections_is_perfect_for_pycocotools(tmp_path: Path) -> None:
    """BOP's CSV has the source's own poses, of a model whose origin is not its middle; COCO's evaluation gives 1."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    dataset = open_dataset(write_foreign(tmp_path / "my_set-1"))
    kinds = {}
    found = []
    for picture in dataset.pictures:
        for k, one in enumerate(picture.instances):
            kinds.setdefault(one.obj_id, Kind.of(solid_of(dataset.models[one.obj_id])))
            detection = SimpleNamespace(
                kind=kinds[one.obj_id],
                confidence=0.9 - 0.1 * k,
                pose=SimpleNamespace(camera_from_block=one.camera_from_block),
            )
            found.append((picture, View(picture.intrinsics, picture.distortion), detection))
    unknown = SimpleNamespace(kind=SimpleNamespace(name="ball"), confidence=1.0)
    found.append((dataset.pictures[0], found[0][1], unknown))
    names = write_bop_results(tmp_path, dataset, found)
    assert names == ["simgen_myset1-test_real.csv", "simgen_myset1-test_real_coco.json"]
    head, *lines = (tmp_path / names[0]).read_text().splitlines()
    assert head == "scene_id,im_id,obj_id,score,R,t,time" and len(lines) == 4
    truths = {scene: read_json(dataset.root / f"test_real/{scene:06d}/scene_gt.json") for scene in PLACES}
    counts: dict[tuple[str, str], int] = {}
    for row in lines:
        scene, image, obj_id, score, rotation, translation, time = row.split(",")
        k = counts[scene, image] = counts.get((scene, image), -1) + 1
        truth = truths[int(scene)][image][k]
        assert (int(obj_id), float(score), float(time)) == (truth["obj_id"], 0.9 - 0.1 * k, -1)
        np.testing.assert_allclose(np.array(rotation.split(), dtype=float), truth["cam_R_m2c"], atol=1e-9)
        np.testing.assert_allclose(np.array(translation.split(), dtype=float), truth["cam_t_m2c"], atol=1e-6)
    convert(ConvertConfig(str(dataset.root), "coco", str(tmp_path / "coco"), boxes="whole"))
    coco = COCO(str(tmp_path / "coco" / "annotations" / "instances_test_real.json"))
    ids = {(one["scene_id"], one["im_id"]): one["id"] for one in coco.dataset["images"]}
    results = json.loads((tmp_path / names[1]).read_text())
    assert {one["category_id"] for one in results} == set(OBJECTS)
    for one in results:
        one["image_id"] = ids[one["scene_id"], one["image_id"]]
    evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
    evaluation.params.iouThrs = np.array([0.5, 0.85])
    evaluation.evaluate()
    evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    assert (precision > -1).any()
    np.testing.assert_allclose(precision[precision > -1], 1)
