"""`python -m simgen diff`: nothing differs between equals, one frozen factor is the only one that differs, and a changed
pixel is reported at its index."""

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.stats import chi2_contingency, ks_2samp

from simgen.__main__ import COMMANDS
from simgen.command.keys import groups_of, keys_of
from simgen.config import compose, main
from simgen.diff.command import Difference, compare, diff
from simgen.diff.factors import _compare, _numbers, _Table, _words, kinds_of
from simgen.diff.schema import DiffConfig
from simgen.diff.sides import open_sides
from simgen.draws import Draws
from simgen.errors import ConfigError, DatasetError
from simgen.schema import Render
from simgen.workers import render

VARIED = "randomize=tobin2017 renderer=tiny width=64 height=48 image_format=png"
IMAGE = "train/000000/rgb/000001.png"


def make(root: Path, *settings: str) -> Path:
    render(compose("render", Render, [*VARIED.split(), "workers=1", "num=3", *settings, f"out={root}"]))
    return root


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("diff") / "set")


@pytest.fixture
def copy(dataset: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(dataset, tmp_path / "copy"))


def found(a: object, b: object, **settings: object) -> Difference:
    with ExitStack() as stack:
        return compare(*open_sides(DiffConfig(str(a), str(b), **settings), stack))  # type: ignore[arg-type]


def edit(root: Path, file: str, change: Callable[[bytes], bytes]) -> None:
    """Changes a file, and its hash in the manifest."""
    data = change((root / file).read_bytes())
    (root / file).write_bytes(data)
    manifest = json.loads((root / "manifest.json").read_text())
    manifest["files"][file] = hashlib.sha256(data).hexdigest()
    (root / "manifest.json").write_text(json.dumps(manifest))


def test_a_dataset_equals_itself_and_its_configuration(
    dataset: Path, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "diff.json"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["simgen", "diff", str(dataset), str(copy), f"out={out}"])
    assert main("simgen", COMMANDS) == 0
    text = capsys.readouterr().out
    assert "pixels: 3 of 3 pictures are identical" in text and text.endswith("A and B are equal\n")
    content = json.loads(out.read_text())
    assert content["equal"] and content["samples"] == {"a": 3, "b": 3, "both": 3}
    assert len(content["factors"]) > 150 and not any(one["other"] or one["differs"] for one in content["factors"])
    assert not (tmp_path / "diff.png").exists()
    sampled = found(dataset, VARIED)
    assert sampled.is_empty and sampled.pairs == 3 and len(sampled.factors) > 150


CAMERAS = "randomize=camera physics=place renderer=tiny width=64 height=48 image_format=png seed=3"


@pytest.fixture(scope="module")
def cameras(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four samples, the first of which is number 998, so that they are in two scenes."""
    root = tmp_path_factory.mktemp("diff") / "cameras"
    render(compose("render", Render, [*CAMERAS.split(), "workers=1", "start=998", "num=4", f"out={root}"]))
    return root


@pytest.mark.parametrize("rendered", [False, True])
def test_a_configuration_follows_the_samples_of_a_dataset(cameras: Path, rendered: bool) -> None:
    """Which may have more than are compared, and begin anywhere. What is not compared is no difference."""
    for num, compared in ((2, 2), (200, 4)):
        for a, b in ((cameras, f"{CAMERAS} start=5"), (f"{CAMERAS} start=5", cameras)):
            difference = found(a, b, num=num, render=rendered)
            assert difference.is_empty and difference.pairs == compared
            dataset, other = (difference.a, difference.b) if a == cameras else (difference.b, difference.a)
            assert dataset.total == 4 and other.total == compared
            assert set(other.rows) == set(dataset.rows) == set([(0, 998), (0, 999), (1, 0), (1, 1)][:compared])
            assert kinds_of(dataset) == kinds_of(other) and kinds_of(dataset).total() == compared
            assert not [one for one in difference.factors if one.distance or one.other]
            assert other.is_dataset == rendered
            assert [one.name for one in difference.factors if one.only_in] == []
    changed = found(cameras, f"{CAMERAS} randomize.sensor.gamma=2", num=3, render=rendered)
    assert {one.name: one.other for one in changed.factors if one.other} == {"sensor.gamma": 3}
    assert len(changed.pixels) == (3 if rendered else 0) and not changed.is_empty


def test_the_number_of_samples_that_are_compared_is_stated(
    cameras: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "diff.json"
    monkeypatch.setattr(sys, "argv", ["simgen", "diff", str(cameras), f"b={CAMERAS}", "num=3", f"out={out}"])
    assert main("simgen", COMMANDS) == 0
    first, second, *_, last = capsys.readouterr().out.splitlines()
    assert first == f"A: {cameras}: 3 of 4 pictures" and second == f"B: {CAMERAS}: 3 sampled scenes"
    assert last == "A and B are equal in the 3 samples that were compared"
    assert json.loads(out.read_text())["samples"] == {"a": 4, "b": 3, "both": 3}


def test_one_frozen_factor_is_the_only_one_that_differs(dataset: Path, tmp_path: Path) -> None:
    frozen = make(tmp_path / "frozen", "randomize.sensor.shot_noise=3")
    difference = found(dataset, frozen)
    assert difference.settings == [("randomize.sensor.shot_noise", ["uniform", 0, 8], 3)]
    assert {one.name: one.other for one in difference.factors if one.other or one.distance} == {"sensor.shot_noise": 3}
    assert not difference.labels and len(difference.pixels) == 3 and not difference.is_empty
    assert {path.split("/")[2] for path in difference.files} == {"rgb", "sample"}


def test_freezing_a_factor_of_the_camera_changes_no_other_factor() -> None:
    """The camera is aimed beside the origin, so its distance from there follows from many factors, and has another name."""
    keys = keys_of(Render, groups_of("render"))
    plain = "randomize=camera physics=place 'randomize.camera.aim=[0.3,0,0]'"
    for frozen in ("distance=0.6", "azimuth_deg=20", "elevation_deg=40", "fov_deg=50", "fov_scale=1.03"):
        difference = found(plain, f"{plain} randomize.camera.{frozen}", num=5)
        changed = {one.name for one in difference.factors if one.other}
        assert not {name for name in changed if f"randomize.{name}" in keys}, frozen
        assert {name.rpartition(".")[0] for name in changed} <= {"camera", "camera.from_origin", "block", "blocks"}
        assert changed, frozen


def test_the_distributions_of_configurations(tmp_path: Path) -> None:
    """With equal seeds all but the factor are identical; with other seeds chance alone is no difference."""
    file = tmp_path / "mine.yaml"
    file.write_text("randomize: light\nphysics: place\nseed: 8\n")
    plain = "randomize=light physics=place"
    changed = "randomize.light.kind=area 'randomize.sensor.gamma=[choice, 1, 1.3]'"
    difference = found(plain, f"{plain} {changed}", num=48)
    assert {one.name for one in difference.factors if one.p < 0.01} == {"light.kind", "sensor.gamma"}
    assert {one.name for one in difference.factors if one.other} == {"light.kind", "sensor.gamma"}
    assert {key for key, _, _ in difference.settings} == {"randomize.light.kind", "randomize.sensor.gamma"}
    other = found(plain, file, num=48)
    assert [key for key, _, _ in other.settings] == ["seed"] and not other.is_empty
    assert not [one for one in other.factors if one.p < 0.01] and sum(one.other for one in other.factors) > 20 * 48


def test_a_changed_pixel_and_a_changed_label_are_reported_at_their_index(
    dataset: Path, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def one_pixel(data: bytes) -> bytes:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        image[5, 7, 2] ^= 64
        return cv2.imencode(".png", image)[1].tobytes()

    edit(copy, IMAGE, one_pixel)
    edit(
        copy,
        "train/000000/scene_gt_info.json",
        lambda data: data.replace(b'"visib_fract": ', b'"visib_fract": 0.5, "v": ', 1),
    )
    sheet = tmp_path / "sheet.png"
    monkeypatch.setattr(sys, "argv", ["simgen", "diff", str(dataset), str(copy), f"picture={sheet}"])
    assert main("simgen", COMMANDS) == 1
    text = capsys.readouterr().out
    assert "labels: 1 of 3 pictures differ: scene 0, image 0" in text
    assert "pixels: 2 of 3 pictures are identical" in text
    assert f"  scene 0, image 1: up to 64 of 255 in {1 / (64 * 48):.2%} of the pixels" in text
    drawn = cv2.imread(str(sheet))
    assert drawn.shape == (240 + 23, 3 * 323, 3)
    gap = drawn[:240, 646:966, 2]
    assert gap[27, 37] > 200 and (gap[:20] == 0).all()  # the pixel (7, 5) of a picture that is five times as large
    difference = found(dataset, copy)
    assert difference.files == [IMAGE, "train/000000/scene_gt_info.json"] and not difference.settings


def test_a_setting_without_effect_is_reported(
    cameras: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    none = "randomize=none physics=place renderer=tiny width=64 height=48"
    datasets = "it is for configurations, and both sides are datasets"
    unlike = "no two pictures of the same number differ"
    unseen = "a configuration has no pictures without render=true"
    light = (
        "b: randomize.light.size has no effect with randomize.light.kind=directional; it needs randomize.light.kind="
    )
    light += "area or window"
    for arguments, notes in (
        (
            (cameras, cameras, "num=3", "render=true", "picture=zz.png", "show=2"),
            {"num": datasets, "render": datasets, "picture": unlike, "show": unlike},
        ),
        ((cameras, f"b={CAMERAS} start=998", "num=2"), {"b: start": "the samples are those of the dataset"}),
        (
            (f"a={none} num=2 out=x workers=3", f"b={none} check=true seed=1", "num=1", "split=val", "show=2"),
            {
                "split": "no side is a dataset",
                "show": unseen,
                "a: num": "the number of samples is num= of diff",
                "a: out": "what is rendered is not kept",
                "a: workers": "nothing is rendered without render=true",
                "b: check": "nothing is rendered without render=true",
            },
        ),
    ):
        monkeypatch.setattr(sys, "argv", ["simgen", "diff", *map(str, arguments)])
        main("simgen", COMMANDS)
        lines = [line for line in capsys.readouterr().err.splitlines() if "note" in line]
        assert lines == [f"simgen: note: {key} has no effect: {why}" for key, why in notes.items()]
    idle = "randomize.light.size=1 randomize.fixture.wear=1 start=1"
    monkeypatch.setattr(sys, "argv", ["simgen", "diff", f"a={none}", f"b={none} {idle}", "num=1"])
    main("simgen", COMMANDS)
    boxes = "b: randomize.fixture.wear has no effect: no fixtures in tabletop"
    assert capsys.readouterr().err.splitlines() == [f"simgen: note: {light}", f"simgen: note: {boxes}"]


def test_errors(dataset: Path, copy: Path, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes((dataset / IMAGE).read_bytes())
    (tmp_path / "list.yaml").write_text("- 1\n")
    (copy / IMAGE).write_bytes(b"")
    two = tmp_path / "two"
    for split in ("train", "val"):
        shutil.copytree(dataset / "train", two / split)
    shutil.copytree(dataset / "models", two / "models")
    for config, message in (
        (
            DiffConfig(str(dataset), "data/missing"),
            "b: data/missing: no such folder; expected the folder of a dataset, a .yaml",
        ),
        (DiffConfig("randomize=ful", str(dataset)), "a: randomize: got ful; did you mean full?"),
        (DiffConfig(str(tmp_path / "list.yaml"), str(dataset)), "expected a mapping with keys of `render`"),
        (DiffConfig(str(dataset), str(tmp_path / "no.yaml")), "no.yaml: no such file"),
        (DiffConfig(str(dataset), str(dataset), picture=str(photo)), "exists, and diff did not draw it"),
        (
            DiffConfig(str(dataset), str(dataset), out=str(dataset / "manifest.json")),
            "exists, and diff did not write it",
        ),
    ):
        with pytest.raises(ConfigError) as caught:
            diff(config)
        assert message in str(caught.value)
    with pytest.raises(DatasetError, match=r"000001\.png: truncated or changed"):
        diff(DiffConfig(str(dataset), str(copy)))
    with pytest.raises(DatasetError, match=r"a: .*two: holds the splits train, val; name one with split="):
        diff(DiffConfig(str(two), str(dataset)))


def test_rounding_is_no_difference(tmp_path: Path) -> None:
    """Of numbers that are computed from the camera's pose and a block's, as where a block is: on the table at the same place
    however the camera stands."""
    dataset = make(tmp_path / "set", *CAMERAS.split(), "num=8")
    assert found(dataset, CAMERAS).is_empty
    plain = "randomize=camera physics=place"
    moved = found(plain, f"{plain} randomize.camera.elevation_deg=40", num=20)
    seen = {"distance", "u", "v", "seen_from_azimuth_deg", "seen_from_elevation_deg"}
    changed = {one.name for one in moved.factors if one.other or one.distance}
    assert changed >= {f"block.{name}" for name in seen} and not changed & {f"block.{axis}" for axis in "xyz"}
    assert not {name for name in changed if not name.startswith(("block.", "camera.", "blocks.distance"))}
    # Straight from above, and from -X, where angles have no value or two. Only the block's middle is above the aim.
    lower = {"block.seen_from_elevation_deg"}
    for view, angles in (("elevation_deg=90", set()), ("elevation_deg=30 randomize.camera.azimuth_deg=180", lower)):
        still = f"randomize=none physics=place randomize.camera.aim=0 randomize.camera.{view}"
        moved = found(still, f"{still} randomize.camera.distance=0.7", num=4)
        changed = {one.name for one in moved.factors if one.other or one.distance}
        assert {name for name in changed if name.endswith(("_deg", ".x", ".y", ".z"))} == angles


def test_numbers_are_equal_to_a_nanometer_and_whole_ones_exactly() -> None:
    """Also as distributions, where the smallest differences change the order."""
    ones = [0.0, 1e-17, -3e-17, 0.025, 1234.5, 2.0**31, -5.0]
    others = [1e-17, -2e-17, 0.0, 0.025 * (1 + 1e-15), 1234.5 * (1 + 1e-14), 2.0**31, -5.0]
    tables = [{(k,): {"x": value} for k, value in enumerate(values)} for values in (ones, others)]
    assert (_compare("x", _Table(*tables), (7, 7)).other, _compare("x", _Table(*tables), (7, 7)).distance) == (0, 0.0)
    for k, step in ((0, 3e-9), (3, 3e-9), (5, -1.0)):
        changed = {**tables[1], (k,): {"x": others[k] + step}}
        one = _compare("x", _Table(tables[0], changed), (7, 7))
        assert one.other == 1 and one.distance == pytest.approx(1 / 7)


def test_a_number_that_is_not_known_is_no_difference() -> None:
    """As the place in its picture of a block behind the camera, which is NaN."""
    rows = {(k,): {"block.u": float("nan") if k == 1 else float(k), "block.v": float("nan")} for k in range(4)}
    for name, described in (("block.u", 3), ("block.v", 0)):
        one = _compare(name, _Table(rows, {key: dict(row) for key, row in rows.items()}), (4, 4))
        assert (one.other, one.distance, one.p) == (0, 0.0, 1.0)
        assert described == sum(row[name] == row[name] for row in rows.values())
    gone = {key: {**row, "block.u": float("nan")} for key, row in rows.items()}
    one = _compare("block.u", _Table(rows, gone), (4, 4))
    assert (one.other, one.distance) == (3, 1.0)


def test_the_statistics_are_those_of_scipy() -> None:
    """Where all values are independent; where only a share is, p is larger."""
    numbers = [Draws(seed, np.arange(count)).normal()[:, 0] + seed / 4 for seed, count in ((0, 150), (1, 200))]
    distance, p = _numbers(numbers, (1.0, 1.0))
    expected = ks_2samp(*numbers, method="asymp")
    assert distance == expected.statistic and p == pytest.approx(expected.pvalue, rel=1e-6) and p < 0.05
    assert _numbers(numbers, (0.5, 0.5))[1] > p
    counts = [{"a": 40, "b": 60, "c": 20}, {"a": 60, "b": 30, "c": 30}]
    words = [[word for word, count in one.items() for _ in range(count)] for one in counts]
    distance, p = _words(words, 1.0)
    assert distance == pytest.approx(0.25)
    assert p == pytest.approx(chi2_contingency([list(one.values()) for one in counts]).pvalue)
    assert _words([["a"] * 9, ["a"] * 9], 1.0) == (0.0, 1.0)
