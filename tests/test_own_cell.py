"""From a print to labeled photographs: board, camera, table, scene, capture and predict board=, as one calls them."""

import json
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import matplotlib.pyplot as plt
import numpy as np
import PIL.Image
import pytest
import yaml
from builders import Done, run_command
from matplotlib.backends.backend_agg import FigureCanvasAgg
from numpy.typing import NDArray
from photographs import looking, photograph, printed, sensed

from simgen.__main__ import COMMANDS
from simgen.board.capture import _Scenes
from simgen.board.files import read_board
from simgen.board.find import find_pages
from simgen.camera import Camera, read_camera
from simgen.config import compose, main
from simgen.dataset.read import open_dataset
from simgen.geometry import Array, inverse, project
from simgen.pipeline import make_resized_pipeline
from simgen.schema import Render
from train.config import PredictConfig
from train.detect.board import BoardOnTable
from train.detect.predict import predict

SIZE = 640, 480
MATRIX = np.array([[620.0, 0, 325], [0, 620.6, 236], [0, 0, 1]])
FINE = 12 * 25.4  # px of a print to the inch: 12 to a mm
LENS = np.array([-0.2, 0.06, 0.001, -0.0008, 0])
# Of the photographs with blocks: those on outlines A and B of page 2, only B, none, and C, D and E of page 3.
SHOWN = {"two.jpg": (1, "AB"), "one.jpg": (1, "B"), "none.jpg": (1, ""), "three.jpg": (2, "CDE")}


def simgen(*words: str) -> Done:
    return run_command(lambda: main("simgen", COMMANDS), "simgen", *words)


def done(*words: str) -> str:
    """The output of a command that must end well."""
    result = simgen(*words)
    assert result.returncode == 0, result.stderr
    return result.stdout


def refused(*words: str) -> str:
    """The line with which a command refuses."""
    result = simgen(*words)
    assert result.returncode in (1, 2) and "Traceback" not in result.stderr
    return result.stderr.strip().splitlines()[-1]


@dataclass(frozen=True)
class Cell:
    """A folder with a board and photographs of it; `prints` are its pages, `poses` camera_from_page of each photograph."""

    folder: Path
    prints: list[NDArray[np.uint8]]
    poses: dict[str, Array]


@pytest.fixture(scope="session")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Cell:
    """Made once for all processes that run tests."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cell"
    poses = poses_of_cell()
    try:
        folder.mkdir()
    except FileExistsError:
        end = time.monotonic() + 120
        while not (folder / "done").exists():
            assert time.monotonic() < end, "the process that makes the photographs has failed"
            time.sleep(0.1)
    else:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            make_cell(poses)
    prints = [
        np.asarray(cv2.imread(str(folder / f"page{page}.png"), cv2.IMREAD_GRAYSCALE), np.uint8) for page in range(3)
    ]
    return Cell(folder, prints, poses)


def poses_of_cell() -> dict[str, Array]:
    rng = np.random.default_rng(2)
    poses = {}
    for k in range(9):
        corner = 0.06 * np.array([np.cos(2.4 * k), np.sin(2.4 * k)])
        poses[f"photos/{k}.jpg"] = looking(rng.uniform(0.26, 0.33), 12 + 6 * (k % 6), 137.5 * k, *corner)
    poses["table.jpg"] = looking(0.6, 40, 200, 0.02, 0.01)
    return poses | {name: looking(0.5, 30 - 6 * k, 70 + 100 * k) for k, name in enumerate(SHOWN)}


def make_cell(poses: dict[str, Array]) -> None:
    """Writes the board, its pages and the photographs into the current folder."""
    done("board")
    prints = [printed(Path("board.pdf").read_bytes(), page, FINE) for page in range(3)]
    for page, shown in enumerate(prints):
        cv2.imwrite(f"page{page}.png", shown, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    scenes, board, rng = _Scenes("tabletop"), read_board("board.json"), np.random.default_rng(3)
    for seed, (name, pose) in enumerate(poses.items()):
        page, letters = SHOWN.get(name, (0, ""))
        levels = photograph(prints[page], SIZE, MATRIX, pose, LENS, dpi=FINE).astype(np.float64)
        there = [outline for outline in board.pages[page].outlines if outline.name in letters]
        if there:
            camera = Camera(MATRIX, *SIZE, LENS, pose)
            for label in scenes.sample(levels.astype(np.uint8), camera, there, 0).labels:
                levels[label.visible] = rng.uniform(30, 220, 3)
        picture = sensed(levels, blur=rng.uniform(0.4, 1), noise=3, seed=seed)
        save(f"shots/{name}" if name in SHOWN else name, picture)
    Path("done").touch()


def save(name: str, picture: NDArray[np.uint8]) -> None:
    Path(name).parent.mkdir(exist_ok=True)
    PIL.Image.fromarray(picture).save(name, quality=92)


@pytest.fixture
def here(cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cell:
    """A copy of the cell in the current folder."""
    shutil.copytree(cell.folder, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("page*.png", "done"))
    monkeypatch.chdir(tmp_path)
    return Cell(tmp_path, cell.prints, cell.poses)


def write_true_camera(name: str = "camera.json") -> None:
    Path(name).write_text(json.dumps(Camera(MATRIX, *SIZE, LENS).to_json()))


# ---- board


def test_the_board_is_written_once_and_never_over_another_file(here: Cell) -> None:
    before = {name: Path(name).read_bytes() for name in ("board.pdf", "board.json")}
    assert "7 pages: a board to calibrate with, and 15 outlines of 8 blocks" in done("board")  # the same board again
    assert {name: Path(name).read_bytes() for name in before} == before
    assert "board.pdf exists, and is not this board" in refused("board", "blocks=[cube]")
    Path("own.json").write_text("{}")
    assert "own.json exists, and is not this board" in refused("board", "out=own.pdf")
    assert not Path("own.pdf").exists()  # neither of the two is written
    assert "has no block 'cub'" in refused("board", "blocks=[cub]", "out=b.pdf")
    assert "out: got b.png; expected the name of a .pdf" in refused("board", "out=b.png")
    assert not Path("b.pdf").exists()


# ---- camera and table


def test_a_camera_and_its_table_from_photographs(here: Cell) -> None:
    """The focal length within 0.3%, and the plane within as much of its distance and 0.2 degrees, in the board's frame."""
    photos = {path: path.read_bytes() for path in Path("photos").iterdir()}
    assert "camera.json: 9 photographs, RMS reprojection error 0.0" in done("camera", "photos=photos")
    camera = read_camera("camera.json")
    assert camera.notices == () and (camera.width, camera.height) == SIZE
    assert camera.intrinsics[[0, 1], [0, 1]] == pytest.approx(MATRIX[[0, 1], [0, 1]], rel=0.003)
    record = json.loads(Path("camera.json").read_text())["calibration"]
    assert record["error_px"] < 0.1 and set(record["photographs"]) == {f"{k}.jpg" for k in range(9)}
    assert cv2.imread("camera.png") is not None
    assert "the origin is page 1 of board.json; the camera is 0.587 m from the origin" in done(
        "table", "photo=table.jpg", "size=[0.6,0.4]"
    )
    found, true = read_camera("table.json"), here.poses["table.jpg"]
    assert found.camera_from_table is not None and found.table is not None
    height, tilt = plane_off(found.camera_from_table, true)
    assert height < 0.003 * 0.6 and tilt < 0.2
    assert found.camera_from_table == pytest.approx(true, abs=0.004)
    assert found.table.tolist() == [[-0.3, -0.2], [0.3, 0.2]]
    assert json.loads(Path("table.json").read_text())["calibration"] == record
    assert {path: path.read_bytes() for path in Path("photos").iterdir()} == photos
    for words in (("camera", "photos=photos"), ("table", "photo=table.jpg")):
        assert f"{words[0]}.json exists; name another file" in refused(*words)


def plane_off(found: Array, true: Array) -> tuple[float, float]:
    """How far the plane of `found` (4, 4) camera_from_table is from that of `true` at its origin, m and degrees."""
    height = abs(float(true[:3, 2] @ (found[:3, 3] - true[:3, 3])))
    return height, float(np.degrees(np.arccos(min(1.0, float(found[:3, 2] @ true[:3, 2])))))


@pytest.mark.parametrize("tilt", [10, 30, 60])
def test_the_plane_at_one_meter_is_known_to_a_millimeter(tilt: float, here: Cell) -> None:
    """And 0.2 degrees, from one photograph of 1280 x 960 px by a known camera."""
    size, matrix = (1280, 960), 2 * MATRIX - np.diag([0, 0, 1.0])
    pose = looking(1.0, tilt, 77 + tilt)
    save("one.png", photograph(here.prints[0], size, matrix, pose, LENS, blur=0.8, noise=3, dpi=FINE))
    Path("large.json").write_text(json.dumps(Camera(matrix, *size, LENS).to_json()))
    done("table", "photo=one.png", "camera=large.json")
    found = read_camera("table.json").camera_from_table
    assert found is not None
    height, off = plane_off(found, pose)
    assert height < 1e-3 and off < 0.2


def test_photographs_that_cannot_be_used(here: Cell) -> None:
    for k in range(9):
        picture = cv2.imread(f"photos/{k}.jpg")
        if k < 2:
            cv2.imwrite(f"photos/{k}.jpg", picture[:, ::-1])
    cv2.imwrite("photos/empty.jpg", np.full((480, 640, 3), 90, np.uint8))
    Path("photos/torn.jpg").write_bytes(Path("photos/3.jpg").read_bytes()[:2000])
    result = simgen("camera", "photos=photos", "out=c.json")
    assert result.returncode == 0 and "c.json: 7 photographs" in result.stdout
    lines = [line for line in result.stderr.splitlines() if "not used" in line]
    assert lines[0].startswith("0.jpg: not used: the picture is mirrored") and len(lines) == 4
    assert lines[2].startswith("empty.jpg: not used: no board is seen") and lines[3].startswith("torn.jpg")
    cv2.imwrite("photos/8.jpg", cv2.resize(cv2.imread("photos/8.jpg"), (320, 240)))
    assert "photos/8.jpg: is of 320 x 240 px, most are of 640 x 480" in refused("camera", "photos=photos", "out=d.json")
    turned = np.ascontiguousarray(np.rot90(cv2.imread("photos/7.jpg")))
    cv2.imwrite("photos/8.jpg", turned)
    assert "a phone that was turned takes another picture" in refused("camera", "photos=photos", "out=d.json")
    Path("photos/8.jpg").unlink()
    for k in range(4, 8):
        Path(f"photos/{k}.jpg").unlink()
    assert "the board is found in 2 photographs; take at least 6" in refused("camera", "photos=photos", "out=d.json")
    assert not Path("d.json").exists() and not Path("d.png").exists()
    assert "no such folder" in refused("camera", "photos=nowhere")
    Path("none").mkdir()
    assert "no pictures there" in refused("camera", "photos=none")


def test_a_photograph_that_its_exif_turns(here: Cell) -> None:
    """Calibration, as all of simgen, sees pictures as a viewer shows them."""
    write_true_camera()
    picture = PIL.Image.open("table.jpg").transpose(PIL.Image.Transpose.ROTATE_90)
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # shown rotated back
    picture.save("turned.png", exif=exif)
    done("table", "photo=turned.png", "out=turned.json")
    done("table", "photo=table.jpg", "out=plain.json")
    one, other = (read_camera(name).camera_from_table for name in ("turned.json", "plain.json"))
    assert one is not None and other is not None and np.allclose(one, other, atol=1e-3)


def test_the_table_by_its_corners(here: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    write_true_camera()
    pose = here.poses["table.jpg"]
    corners = np.array([[-0.0875, -0.1225, 0], [0.0875, -0.1225, 0], [0.0875, 0.1225, 0], [-0.0875, 0.1225, 0]])
    pixels = project(corners @ pose[:3, :3].T + pose[:3, 3], MATRIX, LENS)
    text = json.dumps(pixels.round(2).tolist()).replace(" ", "")
    words = ("table", "photo=table.jpg", "board=null", "size=[0.175,0.245]")
    done(*words, f"corners={text}")
    found = read_camera("table.json")
    assert found.camera_from_table == pytest.approx(pose, abs=1e-3)
    assert "corners: click needs a screen" in refused(*words, "corners=click", "out=x.json")  # and does not wait
    monkeypatch.setattr(FigureCanvasAgg, "required_interactive_framework", "qt")
    # The same with a mouse.
    monkeypatch.setattr(plt, "ginput", lambda count, **_: [tuple(pixel) for pixel in pixels.round(2)])
    done(*words, "corners=click", "out=clicked.json")
    assert read_camera("clicked.json").camera_from_table == pytest.approx(found.camera_from_table)
    monkeypatch.setattr(plt, "ginput", lambda count, **_: [])
    assert "corners: 0 were clicked; expected 4" in refused(*words, "corners=click", "out=x.json")
    assert "corners: missing" in refused(*words, "out=x.json")
    assert "size: missing" in refused(*words[:3], f"corners={text}", "out=x.json")
    assert "corners: got [[1, 2]]; expected" in refused(*words, "corners=[[1,2]]", "out=x.json")


def test_a_photograph_without_the_board_and_the_wrong_camera(here: Cell) -> None:
    write_true_camera()
    cv2.imwrite("empty.jpg", np.full((480, 640, 3), 90, np.uint8))
    assert "photo: empty.jpg: no board is seen" in refused("table", "photo=empty.jpg")
    Path("other.json").write_text(json.dumps(Camera(MATRIX * [[2, 1, 1], [1, 1, 1], [1, 1, 1]], *SIZE).to_json()))
    assert "is this the calibration of this camera" in refused("table", "photo=table.jpg", "camera=other.json")
    assert not Path("table.json").exists()


# ---- scene


def blocks_file() -> str:
    Path("mine").mkdir()
    Path("mine/blocks.yaml").write_text("brick: {shape: rectangular_prism, size: [0.06, 0.03, 0.02]}\n")
    return "mine/blocks.yaml"


def test_a_scene_of_the_camera_over_the_table(here: Cell) -> None:
    """Its camera is the calibrated one, within what may be moved; blocks lie where it sees them."""
    write_true_camera()
    done("table", "photo=table.jpg", "size=[0.5,0.4]")
    printed_words = done("scene", f"blocks={blocks_file()}", "moves_mm=5", "turns_deg=0.5")
    assert "python -m train experiment=own scene=scenes/mine.yaml" in printed_words
    found = read_camera("table.json")
    assert found.camera_from_table is not None
    true = inverse(found.camera_from_table)
    content: dict[str, Any] = yaml.safe_load(Path("scenes/mine.yaml").read_text())
    assert content["table"]["size"] == [0.5, 0.4] and content["blocks"] == "../mine/blocks.yaml"
    for preset, near, turned, focal in (("none", 1e-3, 0.01, 1e-4), ("full", 0.02, 1.5, 0.01)):
        pipeline = make_resized_pipeline(compose("render", Render, ["scene=scenes/mine.yaml", f"randomize={preset}"]))
        scenes = pipeline.sampler.sample(1, range(64))
        cameras = scenes.cameras
        assert (cameras.width, cameras.height) == SIZE
        off = np.linalg.norm(cameras.world_from_camera[:, :3, 3] - true[:3, 3], axis=1)
        assert off.max() < near
        cosine = ((cameras.world_from_camera[:, :3, :3] * true[:3, :3]).sum((1, 2)) - 1) / 2
        assert np.degrees(np.arccos(np.clip(cosine, -1, 1))).max() < turned
        if preset == "full":  # and reaches to almost the ends of what may be moved
            ahead = np.degrees((cameras.world_from_camera[:, :3, :3].swapaxes(1, 2) @ true[:3, 2])[:, :2])
            assert ahead.min(0).max() < -0.4 and ahead.max(0).min() > 0.4 and off.max() > 0.006
        assert cameras.intrinsics[:, 0, 0] == pytest.approx(np.full(64, 620.3), rel=focal)
        assert cameras.intrinsics[:, :2, 2] == pytest.approx(np.tile(MATRIX[:2, 2], (64, 1)), abs=3)
        if preset == "none":
            assert cameras.distortion == pytest.approx(np.tile(LENS, (64, 1)), abs=1e-5)
    assert "exists; name another file" in refused("scene", "blocks=mine/blocks.yaml")


def test_a_scene_needs_a_camera_over_a_table(here: Cell) -> None:
    write_true_camera()
    blocks = blocks_file()
    words = ("scene", f"blocks={blocks}", "out=x.yaml")
    assert "states no camera_from_table" in refused(*words, "camera=camera.json")
    done("table", "photo=table.jpg")
    assert "size: missing, and table.json states no table" in refused(*words)
    assert "expected [[least X, least Y], [greatest X, greatest Y]]" in refused(*words, "size=[0.5,0.4]", "place=[1,2]")
    assert "size: got [0, 1]" in refused(*words, "size=[0,1]")
    assert "size: got 0.6x0.4; expected [length, width]" in refused(*words, "size=0.6x0.4")
    assert "moves_mm: got -5.0; expected at least 0" in refused(*words, "size=[0.5,0.4]", "moves_mm=-5")
    assert "out: got x.txt" in refused("scene", f"blocks={blocks}", "out=x.txt")
    Path("mine/blocks.yaml").write_text("brick: {shape: rectangular_prism, size: [0.16, 0.13, 0.12]}\n")
    assert "do not fit on a table of 0.3 x 0.25 m" in refused(*words, "size=[0.3,0.25]")
    assert not Path("x.yaml").exists()


# ---- capture


def test_blocks_on_their_outlines_are_labeled(here: Cell) -> None:
    """Within 1 mm and 0.5 degrees of the truth, each on its outline, none where there is none."""
    write_true_camera()
    before = {path: path.read_bytes() for path in Path("shots").iterdir()}
    result = simgen("capture", "photos=shots", "out=captured")
    assert result.returncode == 1 and "captured: 3 photographs, 6 blocks" in result.stdout
    assert "none.jpg: not used: no block is on an outline of page 2" in result.stderr
    dataset = open_dataset("captured", table=True)
    record = {entry["photograph"]: entry for entry in json.loads(Path("captured/capture.json").read_text())}
    board = read_board("board.json")
    assert {name: "".join(entry["outlines"]) for name, entry in record.items()} == {
        name: letters for name, (_, letters) in SHOWN.items() if letters
    }
    for name, entry in record.items():
        picture = next(one for one in dataset.pictures if one.image_id == entry["image"])
        outlines = {outline.name: outline for outline in board.pages[entry["page"] - 1].outlines}
        assert len(picture.instances) == len(entry["outlines"])
        for letter, instance in zip(entry["outlines"], picture.instances, strict=True):
            true = here.poses[name] @ outlines[letter].page_from_block
            pose = instance.camera_from_block
            assert np.linalg.norm(pose[:3, 3] - true[:3, 3]) < 1e-3
            cosine = (np.trace(pose[:3, :3].T @ true[:3, :3]) - 1) / 2
            assert np.degrees(np.arccos(min(1.0, float(cosine)))) < 0.5
            assert dataset.models[instance.obj_id].name == outlines[letter].block
    # The masks are where the blocks were painted.
    gray = cv2.imread("captured/test/000000/rgb/000001.png")
    assert gray is not None and gray.shape == (480, 640, 3)
    assert {path: path.read_bytes() for path in Path("shots").iterdir()} == before
    assert "captured exists and is not an empty folder" in refused("capture", "photos=shots", "out=captured")
    Path("link").symlink_to("nowhere")
    assert "link exists and is not an empty folder" in refused("capture", "photos=shots", "out=link")
    assert not list(Path().glob(".*unfinished"))


def test_an_empty_current_folder_is_a_new_folder(here: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    write_true_camera()
    words = ("capture", "photos=../shots", "camera=../camera.json", "board=../board.json")
    Path("own").mkdir()
    monkeypatch.chdir("own")
    assert ".: 3 photographs, 6 blocks" in simgen(*words, "out=.").stdout
    assert (here.folder / "own/capture.json").is_file() and not list(here.folder.glob(".*"))


def test_masks_are_where_blocks_are_seen(here: Cell) -> None:
    write_true_camera()
    simgen("capture", "photos=shots", "out=captured")
    entry = next(e for e in json.loads(Path("captured/capture.json").read_text()) if e["photograph"] == "one.jpg")
    folder, name = Path("captured/test/000000"), f"{entry['image']:06d}"
    picture = cv2.imread(str(folder / "rgb" / f"{name}.png"))
    mask = cv2.imread(str(folder / "mask_visib" / f"{name}_000000.png"), cv2.IMREAD_GRAYSCALE)
    assert picture is not None and mask is not None
    inner = cv2.erode(mask, np.ones((7, 7))) > 0
    outer = (cv2.dilate(mask, np.ones((7, 7))) > 0) & (cv2.dilate(mask, np.ones((15, 15))) > 0)
    color = np.median(picture[inner], axis=0)
    assert np.abs(picture[inner] - color).max() < 25
    ring = outer & (cv2.dilate(mask, np.ones((5, 5))) == 0)
    assert np.mean(np.abs(picture[ring] - color).max(1) < 25) < 0.2


def test_a_marker_that_is_too_small_to_be_read_is_no_block(here: Cell) -> None:
    """From 1.25 m its cells are a pixel wide: whether it is covered cannot be seen, while the page itself is found."""
    write_true_camera()
    save(
        "far/far.jpg",
        photograph(here.prints[1], SIZE, MATRIX, looking(1.25, 25, 40), LENS, blur=0.5, noise=2, dpi=FINE),
    )
    line = refused("capture", "photos=far", "out=far_set")
    assert "is too small in the picture to tell whether a block is there" in line and not Path("far_set").exists()


def test_a_block_of_another_size_than_the_outline_is_refused(here: Cell) -> None:
    write_true_camera()
    content = json.loads(Path("board.json").read_text())
    content["pages"][1]["outlines"][0]["page_from_block"][2][3] += 0.002
    Path("old.json").write_text(json.dumps(content))
    line = refused("capture", "photos=shots", "board=old.json", "out=old_set")
    assert "block 'cone' does not lie on its outline A, by 2.0 mm: its size has changed" in line


def test_which_outlines_hold_blocks_can_be_named(here: Cell) -> None:
    write_true_camera()
    assert "the board has no outline 'Z'; it has A to O" in refused("capture", "photos=shots", "blocks=[Z]")
    result = simgen("capture", "photos=shots", "out=named", "blocks=[A]")
    assert "named: 3 photographs, 3 blocks" in result.stdout
    assert "three.jpg: not used: no block is on an outline of page 3 that blocks= names" in result.stderr
    result = simgen("capture", "photos=shots", "out=other", "scene=tea_box")
    assert "scene: has no block 'cone', of which the board has an outline" in result.stderr
    plain = {"columns": 5, "rows": 7, "square": 0.035, "marker": 0.026, "dictionary": "DICT_4X4_50"}
    Path("plain.json").write_text(json.dumps(plain))
    assert "board: has no outlines" in refused("capture", "photos=shots", "board=plain.json")
    assert not Path("other").exists()


def test_an_empty_outline_behind_a_block_is_not_guessed(here: Cell) -> None:
    """From low behind, the block on outline B hides outline A: whether there is one, nobody can see."""
    write_true_camera()
    board, scenes = read_board("board.json"), _Scenes("tabletop")
    outlines = board.pages[1].outlines
    gap = outlines[0].page_from_block[:2, 3] - outlines[1].page_from_block[:2, 3]
    azimuth = float(np.degrees(np.arctan2(-gap[1], -gap[0])))
    pose = looking(0.42, 63, azimuth)
    levels = photograph(here.prints[1], SIZE, MATRIX, pose, LENS, dpi=FINE).astype(np.float64)
    for label in scenes.sample(levels.astype(np.uint8), Camera(MATRIX, *SIZE, LENS, pose), outlines[1:2], 0).labels:
        levels[label.visible] = (40, 160, 60)
    save("low/low.jpg", sensed(levels, blur=0.5, noise=2))
    line = refused("capture", "photos=low", "out=low_set")
    assert not list(Path().glob(".*unfinished"))
    assert "the block on outline B hides outline A, which may be empty" in line
    assert not Path("low_set").exists()
    result = simgen("capture", "photos=low", "out=low_set", "blocks=[B]")
    assert result.returncode == 0 and "low_set: 1 photographs, 1 blocks" in result.stdout


# ---- predict


def test_predict_finds_the_table_in_every_picture(here: Cell, capsys: pytest.CaptureFixture[str]) -> None:
    """With a camera that moves: the table of each picture is that of the board in it."""
    write_true_camera()
    names = ["photos/0.jpg", "photos/3.jpg", "empty.jpg"]
    cv2.imwrite("empty.jpg", np.full((480, 640, 3), 90, np.uint8))
    config = compose("predict", PredictConfig, [f"image=[{','.join(names)}]", "camera=camera.json", "board=board.json"])
    predict(config)
    lines = {line["image"]: line for line in json.loads(Path("predictions/predictions.json").read_text())}
    assert "page 1 of board.json" in lines["photos/0.jpg"]["coordinate_frames"]["table"]
    assert "table" not in lines["empty.jpg"]["coordinate_frames"]
    assert "board.json is not seen in 1 of 3 pictures" in capsys.readouterr().err


def test_the_board_places_the_camera_where_it_is(here: Cell) -> None:
    table = BoardOnTable("board.json", 100)
    for name, pose in here.poses.items():
        if name not in SHOWN:
            picture = cv2.cvtColor(cv2.imread(name), cv2.COLOR_BGR2RGB)  # type: ignore[arg-type]
            seen_by, frame = table.view(Camera(MATRIX, *SIZE, LENS), np.asarray(picture), name)
            assert seen_by.camera_from_table == pytest.approx(pose, abs=2e-3) and "page 1" in frame
    assert find_pages(np.zeros((48, 64, 3), np.uint8), read_board("board.json")) == []
