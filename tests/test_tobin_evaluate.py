"""train.tobin.evaluate: the numbers of a model whose predictions are known, the files it writes, and their contents."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from toy_dataset import HEIGHT, WIDTH, random_positions, write_dataset

from simgen.errors import ConfigError, DatasetError
from simgen.files import sha256_of
from train.config import EvaluateConfig, ModelConfig, SourceConfig
from train.draw.sheets import GREEN, RED, TILE
from train.tobin.checkpoint import describe
from train.tobin.data import find_examples
from train.tobin.evaluate import evaluate
from train.tobin.figures import draw_table, draw_worst
from train.tobin.model import make_model

CONSTANT = np.array([0.05, -0.02, 0.045])


def write_constant(path: Path, target: str = "box") -> Path:
    """A checkpoint that always predicts CONSTANT."""
    config = ModelConfig("tobin_small", HEIGHT, WIDTH)
    model = make_model(config)
    for weight in model.head[-1].parameters():
        torch.nn.init.zeros_(weight)
    model.mean.copy_(torch.from_numpy(CONSTANT))
    weights = {f"model.{name}": value for name, value in model.state_dict().items()}
    torch.save({"state_dict": weights, **describe(config, target)}, path)
    return path


def run(checkpoint: Path, root: Path, out: Path | None = None, **data: Any) -> dict[str, Any]:
    source = SourceConfig(str(root), **{"min_visible": 0.0, **data})
    return evaluate(EvaluateConfig(str(checkpoint), source, accelerator="cpu", out=str(out) if out else None))


def test_numbers_of_a_known_model(tmp_path: Path) -> None:
    positions = random_positions(20)
    root = write_dataset(tmp_path / "d", positions)
    checkpoint = write_constant(tmp_path / "constant.ckpt")
    result = run(checkpoint, root, tmp_path / "out")
    errors = 100 * np.linalg.norm(positions[:, :2] - CONSTANT[:2], axis=1)
    baseline = 100 * np.linalg.norm(positions[:, :2], axis=1)  # the table's center is the origin
    for name, values in (("model", errors), ("baseline", baseline)):
        row = result["xy_error_cm"][name]
        assert row["mean"]["value"] == pytest.approx(values.mean(), abs=1e-4)
        assert row["median"]["value"] == pytest.approx(np.median(values), abs=1e-4)
        assert row["max"]["value"] == pytest.approx(values.max(), abs=1e-4)
        assert row["share_under_5_cm"]["value"] == pytest.approx((values < 5).mean())
    assert result["baseline"] == "the table's center"
    assert [row["xy_error_cm"] for row in result["per_picture"]] == pytest.approx(list(errors), abs=1e-4)
    assert result["checkpoint_sha256"] == sha256_of(checkpoint)
    assert result["dataset_manifest_sha256"] == sha256_of(root / "manifest.json")
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == json.loads(json.dumps(result))
    for name in ("table.png", "worst.png"):
        assert cv2.imread(str(tmp_path / "out" / name)) is not None
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"metrics.json", "table.png", "worst.png"}


def test_pictures_without_the_target_are_left_out_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    visible = [1.0, 0.0, 0.01, 1.0]
    root = write_dataset(tmp_path / "d", random_positions(4), visible=visible, table=False)
    result = run(write_constant(tmp_path / "constant.ckpt"), root)
    assert [row["image_id"] for row in result["per_picture"]] == [0, 2, 3]
    assert "3 pictures of box; left out 1 where box is outside the picture or hidden" in capsys.readouterr().out
    assert result["baseline"].startswith("the mean label") and result["dataset_manifest_sha256"] is None
    assert (tmp_path / "evaluate-constant-d" / "metrics.json").exists()  # the default `out`: beside the checkpoint


def test_results_of_anything_else_are_not_overwritten(tmp_path: Path) -> None:
    root, checkpoint = write_dataset(tmp_path / "d", random_positions(3)), write_constant(tmp_path / "constant.ckpt")
    out = tmp_path / "out"
    first = run(checkpoint, root, out)
    write_constant(tmp_path / "constant.ckpt", "cube")  # trained anew: the same command replaces its own results
    assert run(checkpoint, root, out)["trained_for"] == "cube" != first["trained_for"]
    before = (out / "metrics.json").read_bytes()
    with pytest.raises(
        ConfigError, match=rf"^out: {out} holds results of other settings \(min_visible\); name another"
    ):
        run(checkpoint, root, out, min_visible=0.5)
    other = write_constant(tmp_path / "other.ckpt")
    with pytest.raises(ConfigError, match=r"settings \(checkpoint\)"):
        run(other, root, out)
    assert (out / "metrics.json").read_bytes() == before
    run(checkpoint, root)
    run(checkpoint, root, target="box")
    names = {path.name for path in tmp_path.glob("evaluate-*")}
    assert names == {"evaluate-constant-d", "evaluate-constant-d-box"}
    trained = tmp_path / "run"
    trained.mkdir()
    for name in ("config.json", "metrics.json"):
        (trained / name).write_text('{"history": []}')
    with pytest.raises(ConfigError, match=rf"^out: {trained} holds a run, whose metrics.json would be overwritten"):
        run(checkpoint, root, trained)
    assert (trained / "metrics.json").read_text() == '{"history": []}'
    (trained / "config.json").unlink()  # results of a version that did not state its settings, or of another program
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "worst.png").write_bytes(b"mine")
    with pytest.raises(
        ConfigError, match=r"^out: .*figures/worst\.png exists, without the metrics\.json of an evaluation"
    ):
        run(checkpoint, root, tmp_path / "figures")
    with pytest.raises(ConfigError, match="holds results of other settings"):
        run(checkpoint, root, trained)


def test_a_dataset_with_one_other_model_is_evaluated_and_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_dataset(tmp_path / "d", random_positions(3), names=("cardboard",))
    result = run(write_constant(tmp_path / "constant.ckpt", "cube"), root)
    assert (result["target"], result["trained_for"]) == ("cardboard", "cube")
    expected = "the checkpoint was trained on cube, which the dataset lacks: evaluated on cardboard"
    assert expected in capsys.readouterr().out


def test_a_damaged_dataset_is_an_error(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "d", random_positions(3))
    path = root / "train" / "000000" / "rgb" / "000001.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DatasetError, match=r"000001\.png: .*truncated"):
        run(write_constant(tmp_path / "constant.ckpt"), root)


def test_worst_shows_the_truth_green_and_the_prediction_red(tmp_path: Path) -> None:
    positions = np.array([[0.0, 0.0, 0.045], [0.2, 0.1, 0.045], [-0.2, -0.1, 0.045]])
    examples = find_examples(SourceConfig(str(write_dataset(tmp_path / "d", positions))))
    predicted = positions[[1, 1, 0]]  # the second is exact; the first and the third are off
    errors = 100 * np.linalg.norm(predicted - positions, axis=1)
    sheet = draw_worst(examples, predicted, errors, count=2)
    factor = TILE / WIDTH
    assert sheet.shape == (HEIGHT * factor, 2 * TILE, 3)
    # Two errors are equal, so the first comes first: truth at keypoint 0, prediction at keypoint 1.
    for pixel, color in ((examples.keypoints[0], GREEN), (examples.keypoints[1], RED)):
        u, v = np.round((pixel + 0.5) * factor - 0.5).astype(int)
        assert tuple(sheet[v, u]) == color
    for pixel, color in ((examples.keypoints[2], GREEN), (examples.keypoints[0], RED)):
        u, v = np.round((pixel + 0.5) * factor - 0.5).astype(int)
        assert tuple(sheet[v, u + TILE]) == color


def test_table_is_drawn_to_scale(tmp_path: Path) -> None:
    examples = find_examples(SourceConfig(str(write_dataset(tmp_path / "d", random_positions(6)))))
    predicted = examples.positions + np.array([0.05, 0.0, 0.0])
    image = draw_table(examples, predicted, np.full(6, 5.0))
    assert image.shape == (800, 900, 3)
    exact = draw_table(examples, examples.positions, np.zeros(6))
    assert not np.array_equal(image, exact)  # the errors are in the picture
