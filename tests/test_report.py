"""`python -m simgen report`: the data in the page, and what is written when."""

import base64
import json
import re
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_data import (
    HALF,
    write_dataset,
    write_evaluation,
)

from simgen.command.keys import groups_of, keys_of
from simgen.config import compose
from simgen.errors import ConfigError, DatasetError
from simgen.report.again import command_of, settings_again
from simgen.report.columns import edges_of, pack
from simgen.report.command import report
from simgen.report.page import json_text
from simgen.report.samples import read_samples
from simgen.report.schema import ReportConfig
from simgen.report.thumbnails import make_thumbnails
from simgen.schema import Render


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


@pytest.mark.parametrize(
    "name", ["1", "brick (red)", "null", "it's", "a\\", "a\\'b", "3.5e2", "[x]", "a,b", "a: b", "cube"]
)
def test_the_command_has_any_name_of_a_block(name: str) -> None:
    """As a constant, and among others."""
    for model in (name, ["choice", "cone", name]):
        config = compose("render", Render, ["randomize=none"])
        config.randomize.blocks.model = model
        recipe = {**asdict(config), "raycast": asdict(config.raycast)}
        settings = settings_again({"recipe": recipe, "num": config.num})
        assert settings is not None
        assert compose("render", Render, settings).randomize.blocks.model == model


def test_what_is_measured_has_an_explanation_of_its_own(tmp_path: Path) -> None:
    """And no name of a configuration's key."""
    report(ReportConfig(str(write_dataset(tmp_path / "set", 6)), str(tmp_path / "page.html"), check=False))
    about = {
        one["key"]: (one.get("help"), one.get("unit"), one["group"])
        for one in data_in(tmp_path / "page.html")["columns"]
    }
    start = "of the camera as seen from the world's origin, the middle of the table's top"
    assert {key: text for key, text in about.items() if key.startswith("camera.from_origin.")} == {
        "camera.from_origin.distance": (f"distance {start}", "m", "Camera"),
        "camera.from_origin.azimuth_deg": (f"direction {start}, from X toward Y", "degrees", "Camera"),
        "camera.from_origin.elevation_deg": (f"angle above the table's plane {start}", "degrees", "Camera"),
    }
    assert all(help and unit is not None for help, unit, _ in about.values())
    assert (
        not {f"randomize.{key}" for key in about if key.startswith("camera.")}
        & keys_of(Render, groups_of("render")).keys()
    )


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
    for name in ("run/typo", "typo", "run/metrics.csv", "run/metrics.json/typo"):  # not the evaluation beside it
        with pytest.raises(ConfigError, match=rf"predictions: {tmp_path / name} is no evaluation; expected the folder"):
            report(ReportConfig(str(root), str(out), check=False, predictions=str(tmp_path / name)))
    other = write_dataset(tmp_path / "other", 6, seed=3)
    (other / "manifest.json").write_text(json.dumps({"status": "complete", "files": {}, "table": {}}))
    with pytest.raises(DatasetError, match="manifest is not that of"):
        report(ReportConfig(str(other), str(out), predictions=str(tmp_path / "run")))
