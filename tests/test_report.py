"""`python -m simgen report`: the page in headless Chromium against numbers computed here, and what is written when."""

import base64
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from simgen.config import compose
from simgen.dataset.read import open_dataset
from simgen.dataset.values import instance_values, picture_values
from simgen.errors import ConfigError, DatasetError
from simgen.files import sha256_of
from simgen.geometry import inverse, look_at, rigid, rotation_about
from simgen.report import command
from simgen.report.again import command_of, settings_again
from simgen.report.columns import edges_of, pack
from simgen.report.command import report
from simgen.report.page import json_text
from simgen.report.samples import read_samples
from simgen.report.schema import ReportConfig
from simgen.report.thumbnails import make_thumbnails
from simgen.schema import Render

CHROMIUM = Path("/usr/bin/chromium")
OPTIONS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
# Of blocks and of pictures; whole numbers, words, angles and pictures without a value.
FACTORS = (
    "block.kind", "block.distance", "block.visible_fraction", "block.visible_pixels", "block.seen_from_elevation_deg",
    "camera.distance", "camera.azimuth_deg", "blocks.count", "blocks.visible_fraction",
)  # fmt: skip
COUNT, SIZE, FOCAL = 40, (64, 48), 60.0
INTRINSICS = np.array([[FOCAL, 0, 31.5], [0, FOCAL, 23.5], [0, 0, 1]])
EVIL = "</script><script>window.hacked=1</script>"
QUOTED = """q"uo'te <b onclick="window.hacked=1">&amp;"""
NAMES = (EVIL, QUOTED, "cube")
HALF = np.array([0.03, 0.02, 0.025])
CORNERS = HALF * np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])


def pixels(pose: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(P, 2) px by OpenCV."""
    turn, _ = cv2.Rodrigues(pose[:3, :3])
    return cv2.projectPoints(points, turn, pose[:3, 3], INTRINSICS, None)[0].reshape(-1, 2)


def write_dataset(root: Path, count: int, *, manifest: bool = True, seed: int = 0, noise: bool = False) -> Path:
    """Pictures with 0 to 3 boxes each, the first with none, on a table that cameras look at from all sides."""
    rng = np.random.default_rng(seed)
    scene = root / "train" / "000000"
    for folder in (scene / "rgb", scene / "mask_visib", root / "models"):
        folder.mkdir(parents=True)
    sizes = {f"size_{axis}": 2000 * HALF[k] for k, axis in enumerate("xyz")}
    info = {"diameter": 2000 * float(np.linalg.norm(HALF)), **sizes}
    models = {str(k + 1): {"name": name, **info} for k, name in enumerate(NAMES)}
    (root / "models" / "models_info.json").write_text(json.dumps(models))
    parts: dict[str, dict[int, Any]] = {name: {} for name in ("camera", "gt", "gt_info", "keypoints")}
    for i in range(count):
        azimuth, height = rng.uniform(-np.pi, np.pi), rng.uniform(0.4, 0.9)
        eye = np.array([0.6 * np.cos(azimuth), 0.6 * np.sin(azimuth), height])
        camera = inverse(look_at(eye, np.zeros(3)))
        image = np.full((SIZE[1], SIZE[0], 3), rng.integers(30, 220, 3), np.uint8)
        if noise:
            image = rng.integers(0, 255, (150, 200, 3)).astype(np.uint8)
        parts["camera"][i] = {
            "cam_K": INTRINSICS.ravel().tolist(),
            "cam_R_w2c": camera[:3, :3].ravel().tolist(),
            "cam_t_w2c": (1000 * camera[:3, 3]).tolist(),
        }
        for name in ("gt", "gt_info", "keypoints"):
            parts[name][i] = []
        for k in range(0 if i == 0 else rng.integers(0, 4)):
            place = np.array([rng.uniform(-0.2, 0.2), rng.uniform(-0.15, 0.15), HALF[2]])
            pose = camera @ rigid(rotation_about(2, rng.uniform(0, 6)), place)
            points = pixels(pose, CORNERS)
            mask = np.zeros((SIZE[1], SIZE[0]), np.uint8)
            cv2.fillConvexPoly(mask, cv2.convexHull(np.rint(points).astype(np.int32)), 255)
            cv2.imwrite(str(scene / "mask_visib" / f"{i:06d}_{k:06d}.png"), mask)
            box = list(cv2.boundingRect(mask))
            image[: mask.shape[0], : mask.shape[1]][mask > 0] = 255
            parts["gt"][i].append(
                {
                    "obj_id": int(rng.integers(1, 4)),
                    "cam_R_m2c": pose[:3, :3].ravel().tolist(),
                    "cam_t_m2c": (1000 * pose[:3, 3]).tolist(),
                }
            )
            seen = round(float(rng.uniform(0, 1)), 3)
            parts["gt_info"][i].append(
                {"bbox_obj": box, "bbox_visib": box, "px_count_visib": int((mask > 0).sum()), "visib_fract": seen}
            )
            parts["keypoints"][i].append({"keypoints_px": points.tolist(), "visibility": [2, 1, 0, 2, 2, 2, 2, 2]})
        cv2.imwrite(str(scene / "rgb" / f"{i:06d}.png"), image)
    for name, content in parts.items():
        (scene / f"scene_{name}.json").write_text(json.dumps(content))
    if manifest:
        about = {"status": "complete", "table": {"center": [0, 0], "size": [0.5, 0.4]}, "files": {}}
        recipe = {"seed": 7, "data_version": 9, "scene": "tabletop", "note": EVIL}
        (root / "manifest.json").write_text(json.dumps({**about, "recipe": recipe}))
    return root


def write_evaluation(folder: Path, root: Path) -> list[dict[str, Any]]:
    """What `python -m train evaluate` writes, with errors that grow with the number of the block; each fifth is missed."""
    dataset = open_dataset(root)
    rows = []
    for picture in dataset.pictures:
        for one in picture.instances:
            k = len(rows)
            error = None if k % 5 == 4 else 0.0005 * k
            rows.append(
                {
                    "scene_id": picture.scene_id,
                    "image_id": picture.image_id,
                    "name": dataset.models[one.obj_id].name,
                    "visible_fraction": one.visible_fraction,
                    "confidence": None if error is None else 0.5,
                    **dict.fromkeys(("adds_m", "translation_m", "rotation_rad", "mspd_px", "xy_m"), error),
                }
            )
    folder.mkdir()
    content = {"checkpoint": "shipped", "dataset": str(root), "per_block": rows, "right": 0.5, "blocks": len(rows)}
    content["dataset_manifest_sha256"] = sha256_of(root / "manifest.json")
    (folder / "metrics.json").write_text(json.dumps(content))
    return rows


def data_in(page: Path) -> Any:
    """The data in a page."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found is not None
    return json.loads(found[1])


# ---- the packed factors


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(0).uniform(0.5, 1.3, 300),
        np.random.default_rng(1).integers(-3, 9, 100),
        np.random.default_rng(2).integers(0, 50_000, 300),
        np.random.default_rng(3).integers(-(10**9), 10**9, 90),
        np.random.default_rng(4).choice([0.1, 0.35, 0.7, 0.1 + 0.2], 60),
        1e-7 * np.random.default_rng(5).normal(size=200),
        1e9 + np.random.default_rng(6).uniform(size=30),
        np.array([-180.0, 180.0, 0.0, 14.999999999]),
        np.array([1e-300, 1e300]),
        np.array([5.0, 5.0, np.nan]),
        np.array([0.0, 1.0, np.inf]),
    ],
)
def test_each_value_is_in_the_bin_whose_edges_hold_it(values: np.ndarray) -> None:
    column = pack("seen_from_azimuth_deg" if 180.0 in values else "x", [*map(float, values), None])
    assert column is not None
    edges = edges_of(column)
    codes = np.frombuffer(base64.b64decode(column["codes"]), f"<u{column['bytes']}").astype(np.int64)
    none = 2 ** (8 * column["bytes"]) - 1
    known = np.isfinite([*values, np.nan])
    assert (codes == none).tolist() == (~known).tolist()
    bins, real = codes[known] // column["levels"], np.array([*values, np.nan])[known]
    inside = (edges[bins] <= real) & ((real < edges[bins + 1]) | ((real == edges[-1]) & (bins == column["bins"] - 1)))
    assert inside.all() and bins.max() < column["bins"] <= 42
    if (real == np.rint(real)).all() and column["levels"] == column["over"]:  # whole numbers are exact
        assert (column["first"] * column["over"] + codes[known] == real).all()


def test_words_constants_and_nothing() -> None:
    assert pack("x", [None, float("nan")]) is None
    assert pack("x", [2.0, 2.0]) == {"kind": "constant", "value": 2.0}
    words = pack("x", ["b", None, "a", "b"])
    assert words is not None and words["words"] == ["a", "b"]
    assert list(base64.b64decode(words["codes"])) == [1, 255, 0, 1]


# ---- files


def test_only_a_report_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_dataset(tmp_path / "set", 2)

    def refused(out: Path) -> str:
        with pytest.raises(ConfigError) as error:
            report(ReportConfig(str(root), str(out), check=False))
        return str(error.value)

    mine = tmp_path / "mine.html"
    mine.write_text("<p>mine</p>")
    assert "report did not write it" in refused(mine) and mine.read_text() == "<p>mine</p>"
    assert "ends in .html" in refused(tmp_path / "a.txt")
    (tmp_path / "b.html").mkdir()
    assert "is a folder" in refused(tmp_path / "b.html")
    out = tmp_path / "new" / "c.html"
    assert report(ReportConfig(str(root), str(out), check=False)) == 0
    before = out.read_bytes()
    assert report(ReportConfig(str(root), str(out), check=False)) == 0
    assert out.read_bytes() == before  # the same dataset gives the same page
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(DatasetError, match="No space left"):
        report(ReportConfig(str(root), str(out), check=False))
    assert out.read_bytes() == before and [path.name for path in out.parent.iterdir()] == ["c.html"]


def test_a_keypoint_behind_the_camera_hides_no_label(tmp_path: Path) -> None:
    """simgen writes it as null."""
    root, out = write_dataset(tmp_path / "set", 5), tmp_path / "page.html"
    path = root / "train" / "000000" / "scene_keypoints.json"
    stored = json.loads(path.read_text())
    image, blocks = next((image, blocks) for image, blocks in stored.items() if blocks)
    report(ReportConfig(str(root), str(out), check=False))
    before = data_in(out)["thumbnails"][image]
    blocks[0]["keypoints_px"][3] = None
    other = write_dataset(tmp_path / "other", 5)
    (other / "train" / "000000" / "scene_keypoints.json").write_text(json.dumps(stored))
    report(ReportConfig(str(other), str(out), check=False))
    after = data_in(out)["thumbnails"][image]
    assert "error" not in after and after["size"] == before["size"] and after["blocks"][1:] == before["blocks"][1:]
    first, was = after["blocks"][0], before["blocks"][0]
    assert {key: first[key] for key in was if key != "keypoints"} == {
        key: was[key] for key in was if key != "keypoints"
    }
    # Of the corners 0 to 7 number 2 is not visible in either.
    assert first["keypoints"] == [point for k, point in enumerate(was["keypoints"]) if k != 2]


def test_any_dataset_has_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One picture without objects; another tool's dataset; several splits; a truncated picture; a broken split."""
    out = tmp_path / "page.html"
    root = write_dataset(tmp_path / "set", 1)
    assert report(ReportConfig(str(root), str(out), check=False)) == 0
    assert data_in(out)["blocks"] == [0] and data_in(out)["findings"] is None

    foreign = write_dataset(tmp_path / "foreign", 5, manifest=False)
    (foreign / "train").rename(foreign / "test")
    (foreign / "test" / "000000" / "scene_keypoints.json").unlink()
    other = write_dataset(tmp_path / "other", 3, manifest=False, seed=1)
    (other / "train").rename(foreign / "val")
    (foreign / "test" / "000000" / "rgb" / "000003.png").write_bytes(b"\x89PNG broken")
    assert report(ReportConfig(str(foreign), str(out))) == 0
    data = data_in(out)
    assert [name.partition("/")[0] for name in data["samples"]] == ["test"] * 5 + ["val"] * 3
    assert data["provenance"]["command"] is None and data["dataset"]["table"] is None
    assert "error" in data["thumbnails"]["3"] and "image" in data["thumbnails"]["4"]
    assert {row["name"] for row in data["findings"]["rows"] if row["sample"] == 3} == {"unreadable_file"}
    (column,) = (one for one in data["columns"] if one["key"] == "split")
    assert column["words"] == ["test", "val"]
    assert not any(one["key"] in ("x", "y", "z") for one in data["columns"])  # no table, no places on it
    assert report(ReportConfig(str(foreign), str(out), check=False, table=True, split="val")) == 0
    assert {"x", "y", "z"} <= {one["key"] for one in data_in(out)["columns"]}

    (foreign / "test" / "000000" / "scene_keypoints.json").write_text('{"4": [{}, {}, {}]}')
    (foreign / "manifest.json").write_text('{"by": "another tool", "scale": NaN}')
    (foreign / "val" / "000000" / "scene_gt.json").write_text("{")
    capsys.readouterr()
    assert report(ReportConfig(str(foreign), str(out), check=False)) == 1
    data = data_in(out)
    assert len(data["samples"]) == 5 and "scene_gt.json" in data["errors"][0]
    assert data["provenance"]["manifest"] == {"by": "another tool", "scale": "nan"}
    faults = {k for k, entry in data["thumbnails"].items() if "fault" in entry}
    assert faults == ({"4"} if data["blocks"][4] == 3 else set())
    assert "not shown: " in capsys.readouterr().out
    with pytest.raises(DatasetError, match="no folder"):
        report(ReportConfig(str(tmp_path / "nothing"), str(out)))


def test_the_page_keeps_its_size(tmp_path: Path) -> None:
    """Noise compresses badly: thumbnails become small, then few; which ones, only the seed decides."""
    root = write_dataset(tmp_path / "set", 6, noise=True)
    contents = read_samples(root, ReportConfig(str(root)))
    large = make_thumbnails(contents.samples, [], 10**8, 0)
    assert len(large.entries) == 6 and large.side == 320
    small = make_thumbnails(contents.samples, [], 75_000, 0)
    assert len(small.entries) == 6 and small.side < 320
    few = make_thumbnails(contents.samples, [5, 3], 20_000, 0)
    assert {3, 5} <= set(few.entries) and len(few.entries) < 6
    for made, budget in ((small, 75_000), (few, 20_000)):
        assert len(json_text(made.entries)) <= budget
    assert few == make_thumbnails(contents.samples, [5, 3], 20_000, 0)
    assert len({tuple(make_thumbnails(contents.samples, [5], 20_000, seed).entries) for seed in range(4)}) > 1
    out = tmp_path / "page.html"
    report(ReportConfig(str(root), str(out), check=False, megabytes=1))
    assert out.stat().st_size <= 1e6


def test_the_command_makes_the_same_recipe() -> None:
    """From what a manifest stores, without the command line that rendered it."""
    given = ["randomize=none", "seed=7", "num=50", "start=3", "width=320", "height=240", "image_format=png"]
    given += [
        "randomize.camera.distance=[uniform,0.5,0.9]",
        "randomize.images=my pictures/a'b",
        "raycast.supersample=2",
    ]
    config = compose("render", Render, given)
    recipe = {**asdict(config), "raycast": asdict(config.raycast), "data_version": 9}
    for key in ("num", "start", "out", "workers"):
        del recipe[key]
    del recipe["randomize"]["camera"]["file"]  # as the recipe leaves it out
    settings = settings_again({"recipe": recipe, "num": 50, "start": 3})
    assert settings is not None and len(settings) == len(given)
    words = shlex.split(command_of(settings))
    assert words[:4] == ["python", "-m", "simgen", "render"]
    assert compose("render", Render, words[4:]) == config
    assert settings_again({}) is None and settings_again({"recipe": {"seed": 1}}) is None


def test_an_evaluation_is_of_the_dataset(tmp_path: Path) -> None:
    root, out = write_dataset(tmp_path / "set", 6), tmp_path / "page.html"
    rows = write_evaluation(tmp_path / "run", root)
    for config in (
        ReportConfig(str(tmp_path / "run"), str(out), check=False),  # the folder alone
        ReportConfig(str(root), str(out), check=False, predictions=str(tmp_path / "run" / "metrics.json")),
    ):
        assert report(config) == 0
        data = data_in(out)
        (result,) = (one for one in data["columns"] if one["key"] == "prediction.result")
        found = [result["words"][k] for k in base64.b64decode(result["codes"])]
        diameter = 2 * np.linalg.norm(HALF)
        assert found == [
            "missed" if row["adds_m"] is None else "right" if row["adds_m"] < 0.1 * diameter else "wrong"
            for row in rows
        ]
    (tmp_path / "positions").mkdir()  # of a model that predicts one position for each picture
    per_picture = [{"scene_id": 0, "image_id": k, "xy_error_cm": 0.5 + k} for k in range(5)]
    (tmp_path / "positions" / "metrics.json").write_text(json.dumps({"dataset": str(root), "per_picture": per_picture}))
    assert report(ReportConfig(str(root), str(out), check=False, predictions=str(tmp_path / "positions"))) == 0
    (error,) = (one for one in data_in(out)["columns"] if one["key"] == "prediction.xy_error_cm")
    codes = np.frombuffer(base64.b64decode(error["codes"]), f"<u{error['bytes']}")
    bins = np.searchsorted(edges_of(error), [0.5 + k for k in range(5)], side="right") - 1
    assert (codes[:5] // error["levels"]).tolist() == bins.tolist() and codes[5] == 2 ** (8 * error["bytes"]) - 1
    with pytest.raises(ConfigError, match="holds the evaluations"):
        report(ReportConfig(str(tmp_path / "run" / ".."), str(out)))
    with pytest.raises(ConfigError, match="is no evaluation"):
        report(ReportConfig(str(root), str(out), predictions=str(root)))
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    for row in metrics["per_block"]:
        row["name"] = "ape"
    (tmp_path / "run" / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(
        DatasetError, match=r"has no block 'ape', but .*; if the evaluation renamed .* give names= with"
    ):
        report(ReportConfig(str(root), str(out), check=False, predictions=str(tmp_path / "run")))
    other = write_dataset(tmp_path / "other", 6, seed=3)
    (other / "manifest.json").write_text(json.dumps({"status": "complete", "files": {}, "table": {}}))
    with pytest.raises(DatasetError, match="manifest is not that of"):
        report(ReportConfig(str(other), str(out), predictions=str(tmp_path / "run")))


# ---- in a browser


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In a folder whose name is HTML."""
    return write_dataset(tmp_path_factory.mktemp("report") / """<img src=x onerror="window.hacked=1">'""", COUNT)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"needs {CHROMIUM}")
    with sync.sync_playwright() as player:
        started = player.chromium.launch(executable_path=str(CHROMIUM), args=OPTIONS.split())
        yield started
        started.close()


@pytest.fixture(scope="module")
def seen(browser: Any, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, list[str]]]:
    """The page of `root` with an evaluation and findings, and what went wrong or left it."""
    folder = tmp_path_factory.mktemp("pages")
    out = folder / "report.html"
    write_evaluation(folder / "evaluation", root)
    command.report(ReportConfig(str(root), str(out), predictions=str(folder / "evaluation")))
    page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme="light")
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    page.on("dialog", lambda dialog: wrong.append(f"dialog: {dialog.message}"))
    page.on("request", lambda request: wrong.append(request.url) if not request.url.startswith("data:") else None)
    page.goto(f"file://{out}")
    assert wrong.pop() == f"file://{out}"  # the page itself
    yield page, wrong
    page.close()


def values_of(root: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray]:
    """The factors of pictures and of blocks as arrays, and the picture of each block: straight from the dataset."""
    dataset = open_dataset(root)
    pictures = [picture_values(one) for one in dataset.pictures]
    blocks, owner = [], []
    for k, one in enumerate(dataset.pictures):
        blocks += [instance_values(one, j, dataset.models) for j in range(len(one.instances))]
        owner += [k] * len(one.instances)
    known = {key: np.array([row.get(key, np.nan) for row in pictures]) for key in pictures[1]}
    return known, {key: np.array([row[key] for row in blocks]) for key in blocks[0]}, np.array(owner)


def test_a_bar_leads_to_exactly_its_samples(seen: tuple[Any, list[str]], root: Path) -> None:
    """Every bar of every histogram, compared with numpy."""
    page, wrong = seen
    pictures, blocks, owner = values_of(root)
    page.evaluate('() => document.querySelectorAll(".group").forEach((group) => (group.open = true))')
    page.wait_for_selector('.factor[data-key="camera.distance"]')
    clicked = page.evaluate(
        """(keys) => keys.map((key) => {
          const factor = document.querySelector(`.factor[data-key="${key}"]`);
          const found = [...factor.querySelectorAll(".bar, .word")].map((bar) => {
            bar.click();
            const shown = [...document.querySelectorAll("#cards .card")].map((card) => Number(card.dataset.sample));
            return [key, Number(bar.dataset.low), Number(bar.dataset.high), bar.title, shown];
          });
          factor.querySelector(".clear").click();
          return found;
        }).flat()""",
        list(FACTORS),
    )
    assert {key for key, *_ in clicked} == set(FACTORS) and len(clicked) > 100
    for key, low, high, title, shown in clicked:
        values, rows = (blocks[key[6:]], owner) if key.startswith("block.") else (pictures[key], np.arange(COUNT))
        if np.isnan(low):  # a word
            inside = np.isnan(values) if title == "none" else values == title
        else:
            last = max(other for name, _, other, *_ in clicked if name == key)
            inside = (values >= low) & ((values < high) | ((values == high) & (high == last)))
        assert shown == np.unique(rows[inside]).tolist(), (key, low, high, title)
    # Two filters at once: of the same block.
    page.click('.factor[data-key="block.kind"] .word >> nth=0')
    page.click('.factor[data-key="block.visible_fraction"] .bar >> nth=3')
    low, high = (
        float(page.get_attribute('.factor[data-key="block.visible_fraction"] .bar >> nth=3', f"data-{end}"))
        for end in ("low", "high")
    )
    both = (
        (blocks["kind"] == sorted(NAMES)[0]) & (blocks["visible_fraction"] >= low) & (blocks["visible_fraction"] < high)
    )
    shown = page.eval_on_selector_all(".card", "cards => cards.map((card) => Number(card.dataset.sample))")
    assert shown == np.unique(owner[both]).tolist()
    page.click("text=clear all")
    assert page.text_content("#count") == f"{COUNT} of {COUNT} samples, {len(owner)} of {len(owner)} blocks"
    assert not wrong


def test_samples_are_sorted_by_any_factor(seen: tuple[Any, list[str]], root: Path) -> None:
    page, wrong = seen
    pictures, blocks, owner = values_of(root)
    page.select_option("#sort", label="camera.elevation_deg")
    order = page.eval_on_selector_all(".card", "cards => cards.map((card) => Number(card.dataset.sample))")
    assert order == np.argsort(-pictures["camera.elevation_deg"], kind="stable").tolist()
    page.select_option("#sort", label="block.distance")
    page.click("#direction")
    order = page.eval_on_selector_all(".card", "cards => cards.map((card) => Number(card.dataset.sample))")
    nearest = np.array([blocks["distance"][owner == k].min(initial=np.inf) for k in range(COUNT)])
    assert order == np.argsort(nearest, kind="stable").tolist()  # pictures without blocks last
    page.select_option("#sort", label="Order in the dataset")
    page.fill(".filters input", "00012")
    assert page.eval_on_selector_all(".card", "cards => cards.map((card) => card.dataset.sample)") == ["12"]
    page.fill(".filters input", "")
    assert not wrong


def test_labels_are_those_of_the_dataset_and_can_be_switched(seen: tuple[Any, list[str]], root: Path) -> None:
    page, wrong = seen
    truths, infos, keypoints = (
        json.loads((root / "train" / "000000" / f"scene_{name}.json").read_text())
        for name in ("gt", "gt_info", "keypoints")
    )
    number = next(k for k in range(COUNT) if len(truths[str(k)]) == 3)
    page.click("#direction")
    page.click("#direction")
    drawn = page.evaluate(
        """(number) => [...document.querySelectorAll(`.card[data-sample="${number}"] svg > g`)].map((block) => {
          const numbers = (one, names) => names.map((name) => Number(one.getAttribute(name)));
          const all = (part, names) => [...block.querySelectorAll(`${part}:not(.halo)`)].map((one) => numbers(one, names));
          return {
            boxes: all(".l-boxes rect", ["x", "y", "width", "height"]), axes: all(".l-axes line", ["x1", "y1", "x2", "y2"]),
            points: all(".l-keypoints circle", ["cx", "cy"]), name: block.querySelector(".l-names text").textContent,
            outlines: [...block.querySelectorAll(".l-outlines .fill")].map((one) => one.getAttribute("points").split(" ")),
          };
        })""",
        number,
    )
    assert len(drawn) == 3
    for k, block in enumerate(drawn):
        truth = truths[str(number)][k]
        u, v, width, height = infos[str(number)][k]["bbox_visib"]
        assert block["boxes"] == [[u - 0.5, v - 0.5, width, height]]
        assert block["name"] == NAMES[truth["obj_id"] - 1]
        pose = rigid(np.array(truth["cam_R_m2c"]).reshape(3, 3), np.array(truth["cam_t_m2c"]) / 1000)
        ends = pixels(pose, np.concatenate([np.zeros((1, 3)), HALF.max() * np.eye(3)]))
        assert np.allclose(block["axes"], [[*ends[0], *end] for end in ends[1:]], atol=0.06)
        stored = np.array(keypoints[str(number)][k]["keypoints_px"])[[0, 1, 3, 4, 5, 6, 7]]  # one is outside
        assert np.allclose(block["points"], stored, atol=0.06)
        mask = cv2.imread(str(root / "train" / "000000" / "mask_visib" / f"{number:06d}_{k:06d}.png"), 0)
        filled = np.zeros_like(mask)
        for outline in block["outlines"]:
            cv2.fillPoly(filled, [np.array(outline, float).astype(np.int32).reshape(-1, 2)], 255)
        assert ((filled > 0) & (mask > 0)).sum() > 0.85 * ((filled > 0) | (mask > 0)).sum()

    def visible() -> dict[str, bool]:
        return {
            name: page.is_visible(f'.card[data-sample="{number}"] .l-{name} >> nth=0')
            for name in ("boxes", "outlines", "axes", "keypoints", "names")
        }

    before = visible()
    for name in before:
        page.click(f"[data-label={name}]")
    assert visible() == {name: not shown for name, shown in before.items()}
    for name in before:
        page.click(f"[data-label={name}]")
    assert visible() == before and not wrong


def test_coverage_errors_findings_and_provenance(seen: tuple[Any, list[str]], root: Path) -> None:
    page, wrong = seen
    _, blocks, owner = values_of(root)
    page.click("[data-tab=coverage]")
    counts = page.eval_on_selector_all(
        "#table-map .cell title, #sphere-map .cell title",
        "all => all.map((one) => [one.closest('.chart').id, Number(one.textContent.match(/: ([0-9]+) block/)[1])])",
    )
    for chart in ("table-map", "sphere-map"):
        assert sum(count for name, count in counts if name == chart) == len(owner)
    page.click("#sphere-map .cell:not(.empty-cell) >> nth=0")
    # The cells are in the order of azimuth, then elevation: the first that is not empty has the least of both.
    bins = (
        np.floor((blocks["seen_from_azimuth_deg"] + 180) / 15),
        np.floor((blocks["seen_from_elevation_deg"] + 90) / 10),
    )
    first = min(zip(*bins, strict=True))
    inside = (bins[0] == first[0]) & (bins[1] == first[1])
    assert page.text_content("#count").endswith(f"{inside.sum()} of {len(owner)} blocks")
    page.click("text=clear all")
    assert page.text_content("#kinds tbody tr:first-child td:last-child") == str(
        (blocks["kind"] == sorted(NAMES)[0]).sum()
    )

    page.click("[data-tab=errors]")
    worst = page.eval_on_selector_all("#worst .value", "all => all.map((one) => one.textContent)")
    missed = np.arange(len(owner)) % 5 == 4
    seen_fraction = np.sort(blocks["visible_fraction"][missed])[::-1]
    assert [text for text in worst if text.startswith("missed")] == worst[: missed.sum()]
    assert worst[0].startswith(f"missed, {round(100 * seen_fraction[0])}%")
    assert "wrong" in worst[missed.sum()] if missed.sum() < 24 else True
    shares = page.eval_on_selector_all(
        "#effects .effect-row", "rows => rows.map((row) => [row.title, row.querySelector('.amount').textContent])"
    )
    assert shares and all(text.endswith("%") for _, text in shares)
    page.select_option("#measure", label="median adds cm")
    assert "explains" in page.text_content("#effects")

    page.click("[data-tab=findings]")
    assert page.locator("#findings tbody tr").count() > 0  # boxes that are not exact, models without meshes
    page.click("#findings .link >> nth=0")
    assert page.is_visible("dialog h2")
    page.keyboard.press("Escape")
    page.click("[data-tab=provenance]")
    text = page.text_content("main")
    assert str(root) in text and "7" in text
    page.click("[data-tab=samples]")
    page.click(".card >> nth=3")
    assert page.text_content("dialog h2") == "train/000000/000003"
    page.keyboard.press("ArrowRight")
    assert page.text_content("dialog h2") == "train/000000/000004"
    page.keyboard.press("Escape")
    assert not wrong


def test_light_dark_and_narrow(seen: tuple[Any, list[str]]) -> None:
    page, wrong = seen

    def brightness() -> float:
        return float(
            np.mean(
                page.evaluate(
                    "getComputedStyle(document.body).backgroundColor.match(/[\\d.]+/g).slice(0, 3).map(Number)"
                )
            )
        )

    assert brightness() > 200
    page.emulate_media(color_scheme="dark")
    assert brightness() < 50
    page.click("[data-set=light]")
    assert brightness() > 200
    page.click("[data-set=auto]")
    page.set_viewport_size({"width": 390, "height": 800})
    for tab in ("coverage", "errors", "findings", "provenance", "samples"):
        page.click(f"[data-tab={tab}]")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, tab  # nothing is wider than the screen
    page.set_viewport_size({"width": 1280, "height": 800})
    page.emulate_media(color_scheme="light")
    assert not wrong


def test_empty_pages_work(browser: Any, tmp_path: Path) -> None:
    """Of one picture without objects, and of a dataset that cannot be opened."""
    empty, broken = write_dataset(tmp_path / "empty", 1), write_dataset(tmp_path / "broken", 2)
    (broken / "train" / "000000" / "scene_gt.json").write_text("[]")
    out = tmp_path / "page.html"
    for root, status, text in (
        (empty, 0, "1 of 1 sample, 0 of 0 blocks"),
        (broken, 1, "0 of 0 samples, 0 of 0 blocks"),
    ):
        assert report(ReportConfig(str(root), str(out))) == status
        page, wrong = browser.new_page(), []
        page.on("console", lambda message, wrong=wrong: wrong.append(message.text))
        page.on("pageerror", lambda error, wrong=wrong: wrong.append(str(error)))
        page.goto(f"file://{out}")
        assert page.text_content("#count") == text
        assert ("scene_gt.json" in page.text_content("main")) == bool(status)
        for tab in ("coverage", "findings", "provenance", "samples"):
            page.click(f"[data-tab={tab}]")
        assert not wrong
        page.close()


def test_nothing_in_the_data_runs_and_nothing_leaves(seen: tuple[Any, list[str]]) -> None:
    """Last: its own attempts are violations."""
    page, wrong = seen
    assert page.evaluate("window.hacked") is None and not wrong
    assert page.locator("script").count() == 2 and page.locator("[onclick], [onerror]").count() == 0
    assert page.locator("img:not([src^='data:']), link, iframe, object, embed, base, form").count() == 0
    blocked = page.evaluate(
        """async () => {
          const found = [];
          document.addEventListener("securitypolicyviolation", (event) => found.push(event.effectiveDirective));
          await fetch("http://127.0.0.1:9/x").catch(() => null);
          new Image().src = "http://127.0.0.1:9/x.png";
          const script = document.createElement("script");
          script.textContent = "window.hacked = 1";
          document.body.append(script);
          await new Promise((done) => setTimeout(done, 100));
          return [found.sort(), window.hacked === undefined];
        }"""
    )
    assert blocked == [["connect-src", "img-src", "script-src-elem"], True]
