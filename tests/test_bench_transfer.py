"""scripts/bench_transfer.py: arms that differ in what they state alone, cells that are computed once, columns, tables."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import bench_transfer
import numpy as np
import pytest
import yaml
from builders import arrays_of, sampler_of
from transfer import cells as cells_module
from transfer.cells import METRICS, RENDERING, RESULT, attempt_cell, identity_of, result_of, run_cell
from transfer.claims import CONSTANT, verdicts
from transfer.columns import Column
from transfer.schema import SCALES, TransferConfig
from transfer.statistics import finished
from transfer.studies import BOX_SCENE, FULL, SCENE, Cell, arms_of, cells_of, preset_of
from transfer.tables import errors_of, finished_of, write_tables

from simgen.config import Command, compose
from simgen.errors import ConfigError, DamagedCheckpointError, PartialError, SimgenError
from simgen.files import write_json
from simgen.schema import Render
from train.config import EvaluateConfig, TrainConfig
from train.evaluate.summary import results_folder, settings_of

SMOKE = compose("transfer", TransferConfig, ["study=tobin2017", "scale=smoke"])


CHANGES = {
    "no_noise": {"sensor.shot_noise", "sensor.read_noise"},
    "no_camera": {"cameras."},
    "no_distractors": {"blocks.present"},
    "fixed_lights": {"lights.", "ambient."},
    "flat_textures": {"material.texture"},
    "no_clutter": {"clutter.present"},
    "no_pictures": {"material.texture"},
}


@pytest.mark.parametrize("scene", [SCENE, BOX_SCENE])
@pytest.mark.parametrize("name", CHANGES)
def test_an_ablation_changes_its_own_factor_alone(name: str, scene: str, tmp_path: Path) -> None:
    """In 64 scenes, but for objects that make room: clutter depends on blocks and the camera."""
    arms = {arm.name: arm for arm in arms_of(SMOKE)}
    sampled = {}
    for one in ("full", name):
        (tmp_path / f"{one}.yaml").write_text(yaml.safe_dump(dict(preset_of(arms[one]))))
        sampler, _ = sampler_of(f"scene={scene}", f"randomize={tmp_path / one}.yaml")
        sampled[one] = arrays_of(sampler.sample(0, range(64)))
    changed = {
        key for key, value in sampled["full"].items() if not np.array_equal(value, sampled[name][key], equal_nan=True)
    }
    place = {"clutter.size", "clutter.world_from_object", "clutter.present"}
    assert changed and all(any(part in key for part in CHANGES[name]) for key in changed - place), changed
    assert all(any(part in key for key in changed) for part in CHANGES[name])
    left = sampled[name]
    if name == "flat_textures":
        assert not any(left[key].any() for key in left if key.endswith("material.texture"))
    if name == "no_distractors":
        assert left["blocks.present"][:, 0].all() and not left["blocks.present"][:, 6:].any()
    if name == "fixed_lights":
        assert all(len(np.unique(left[key], axis=0)) == 1 for key in left if key.startswith("lights."))
    if name == "no_camera":
        assert all(
            len(np.unique(left[key], axis=0)) == 1 for key in left if key.startswith("cameras.") and left[key].ndim
        )


@pytest.mark.parametrize("study", ["tobin2017", "presets", "renderers", "seeds"])
def test_each_training_is_one_cell_of_one_part(study: str) -> None:
    config = compose("transfer", TransferConfig, [f"study={study}", "scale=cpu", "train=[experiment=kuka]"])
    cells = cells_of(config)
    assert len({cell.name for cell in cells}) == len(cells) > 2
    parts = [bench_transfer.part_of(cells, f"{k}/3") for k in (1, 2, 3)]
    assert sorted(cell.name for part in parts for cell in part) == sorted(cell.name for cell in cells)
    assert len({cell.seed for cell in cells}) == 3
    if study == "presets":
        assert {"none", "tobin2017", "full", "textures", "camera"} <= {cell.arm.preset for cell in cells}
    if study == "seeds":
        assert {cell.model for cell in cells} == {"keypoints"}


def test_arms_that_need_each_others_times_are_of_one_part() -> None:
    cells = cells_of(compose("transfer", TransferConfig, ["study=renderers", "scale=cpu"]))
    parts = [bench_transfer.part_of(cells, f"{k}/2") for k in (1, 2)]
    assert [len(part) for part in parts] == [6, 3]
    assert not {cell.seed for cell in parts[0]} & {cell.seed for cell in parts[1]}


def test_the_detector_has_no_arm_of_what_it_does_not_read() -> None:
    """It draws its own pictures: neither their number in a dataset nor the renderer of one makes a difference."""
    config = compose("transfer", TransferConfig, ["study=tobin2017", "scale=gpu", "models=[keypoints]"])
    assert {cell.arm.group for cell in cells_of(config)} == {"ablations", "materials", "layouts", "weights"}
    with pytest.raises(ConfigError, match="keypoints has no arm of study=renderers"):
        cells_of(compose("transfer", TransferConfig, ["study=renderers", "models=[keypoints]"]))


def test_only_the_detector_has_weights_of_imagenet() -> None:
    both = compose("transfer", TransferConfig, ["study=tobin2017", "scale=cpu", "models=[tobin_small,keypoints]"])
    cells = [cell for cell in cells_of(both) if cell.arm.name == "scratch"]
    assert {cell.model for cell in cells} == {"keypoints"} and len(cells) == 3


def test_mistakes_are_named() -> None:
    for overrides, message in (
        (["study=tobin2018"], r"^study: unknown study .tobin2018"),
        (["study=presets", "scale=huge"], r"^scale: unknown scale .huge"),
        (["study=presets", "executor=slurm"], r"^executor: unknown executor .slurm"),
        (["study=tobin2017", "arms=[no_lights]"], r"^arms: study=tobin2017 has no 'no_lights'; it has full, no_noise"),
        (["study=presets", "arms=[fulll]"], r"^arms: study=presets has no 'fulll'; it has full, none"),
        (["study=tobin2017", "models=[vgg]"], r"^models: got vgg; expected tobin_small, tobin_vgg, keypoints"),
        (["study=presets", "arms=[full,adr]"], r"^arms: 'adr' is not an arm of tobin_small; add the model that has it"),
        (["study=seeds"], r"^train: missing"),
        (["study=seeds", "train=[experiment=kukka]"], r"^experiment: got kukka; did you mean kuka"),
        (["study=seeds", "train=[experiment=kuka,trainer.epochs=0]"], r"^trainer.epochs: got 0"),
        (
            ["study=seeds", "train=[experiment=blocks]"],
            r"^train: it learns cone, .*; the columns need a model of kuka_box",
        ),
        (
            ["study=seeds", "train=[experiment=kuka]", "printed_box=[x]"],
            r"^train: it learns .*kuka_box.*; printed_box need a model of tea_box: train with the scene tea_box, as in "
            r"data.scenes=\[kuka_table,tea_box\]$",
        ),
        (
            ["study=seeds", "train=[experiment=kuka]", "models=[tobin_small]"],
            r"^models: study=seeds has the model of its",
        ),
        (
            ["study=tobin2017", "printed_box=[x]"],
            r"^printed_box: tobin_small knows one camera .* add keypoints to models=",
        ),
        (["study=tobin2017", "seeds=[]"], r"^models, arms, seeds: one of them is empty"),
    ):
        with pytest.raises(ConfigError, match=message):
            cells_of(compose("transfer", TransferConfig, overrides))
    for part in ("0/2", "3/2", "1", "a/b", "1/0"):
        with pytest.raises(ConfigError, match=f"^part: got {part}; expected K/N"):
            bench_transfer.part_of([], part)


@pytest.fixture
def cell() -> Cell:
    return next(cell for cell in cells_of(SMOKE) if cell.arm.name == "no_noise")


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Trainings take no time, and errors are those of the column's name; it is noted what is computed."""
    noted: list[str] = []

    def train(cell: Cell, folder: Path, cells: Path) -> None:
        noted.append(f"train {cell.name}")
        (folder / "data").mkdir()
        (folder / "run").mkdir(exist_ok=True)
        (folder / "run" / "metrics.json").write_text("{}")
        (folder / RENDERING).write_text('{"seconds": 2.0, "pictures": 96}')

    def evaluate(cell: Cell, column: Column, run: Path) -> dict[str, Any]:
        noted.append(column.name)
        rows = [{"scene_id": 0, "image_id": k, "xy_error_cm": float(k), "true_m": [0, 0, 0]} for k in range(4)]
        return {"per_picture": rows}

    monkeypatch.setattr(cells_module, "constant_errors_in", lambda column, metrics: {f"0/{k}": 30.0 for k in range(9)})
    monkeypatch.setattr(cells_module, "_train", train)
    monkeypatch.setattr(cells_module, "_evaluate", evaluate)
    return noted


def test_a_cell_is_computed_once_and_goes_on(cell: Cell, computed: list[str], tmp_path: Path) -> None:
    first, second = Column("a", tmp_path / "a"), Column("b", tmp_path / "b")
    run_cell(cell, [first], tmp_path)
    assert computed == [f"train {cell.name}", "a"]
    assert not (tmp_path / cell.name / "data").exists()
    run_cell(cell, [first], tmp_path)
    assert len(computed) == 2
    run_cell(cell, [first, second], tmp_path)  # a new column
    assert computed[2:] == ["b"]
    result = result_of(cell, tmp_path)
    assert result is not None and result["rendering"] == {"seconds": 2.0, "pictures": 96}
    assert result["columns"]["b"]["errors"] == {f"0/{k}": float(k) for k in range(4)}
    other = replace(second, root=tmp_path / "other")  # other pictures under the same name
    run_cell(cell, [first, other], tmp_path)
    assert computed[3:] == ["b"]


def test_other_pictures_of_a_column_are_measured(
    cell: Cell, computed: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a command that overwrites no results of other settings: photographs may have moved, or been replaced."""
    monkeypatch.undo()
    (tmp_path / cell.name / "run").mkdir(parents=True)
    (tmp_path / cell.name / "run" / METRICS).write_text("{}")
    measured: list[str] = []

    def evaluate(config: EvaluateConfig) -> None:
        measured.append(Path(config.data.root).name)
        rows = [{"scene_id": 0, "image_id": 0, "xy_error_cm": 1.0, "true_m": [0, 0, 0]}]
        write_json(results_folder(config) / METRICS, {"settings": settings_of(config), "per_picture": rows})

    monkeypatch.setitem(cells_module.COMMANDS, "evaluate", Command("", EvaluateConfig, evaluate))
    monkeypatch.setattr(cells_module, "constant_errors_in", lambda column, metrics: {"0/0": 30.0})
    write_json(tmp_path / cell.name / "identity.json", identity_of(cell))
    for name in ("a", "moved"):
        run_cell(cell, [Column("a", tmp_path / name)], tmp_path)
    assert measured == ["a", "moved"]


def test_a_column_that_fails_costs_those_before_it_nothing(
    cell: Cell, computed: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate = cells_module._evaluate

    def fails(cell: Cell, column: Column, run: Path) -> Any:
        if column.name == "b":
            raise ConfigError("b: no")
        return evaluate(cell, column, run)

    monkeypatch.setattr(cells_module, "_evaluate", fails)
    columns = [Column(name, tmp_path / name) for name in "abc"]
    assert attempt_cell(cell, columns, tmp_path) == "b: no"
    result = result_of(cell, tmp_path)
    assert result is not None and list(result["columns"]) == ["a"]
    assert cells_module.missing_of(cell, columns, result) == columns[1:]


def test_keys_of_speed_alone_are_no_other_cell() -> None:
    def identity(*train: str) -> Any:
        keys = ["study=seeds", "scale=cpu", f"train=[{','.join(train)}]"]
        return identity_of(cells_of(compose("transfer", TransferConfig, keys))[0])

    few, many, other = (identity("experiment=kuka", f"data.{key}") for key in ("workers=1", "workers=2", "passes=2"))
    assert few == many != other
    assert identity("model=tobin_small", "data.root=a") != identity("model=tobin_small", "data.root=b")


def test_a_folder_is_of_one_study(tmp_path: Path) -> None:
    mine = {"study": "presets", "scale": "cpu"}
    bench_transfer.claim_folder(tmp_path / "new", mine)
    bench_transfer.claim_folder(tmp_path / "new", mine)
    for other in ({**mine, "study": "tobin2017"}, {**mine, "scale": "gpu"}):
        with pytest.raises(ConfigError, match=r"^out: .*new holds study=presets scale=cpu; name another folder for"):
            bench_transfer.claim_folder(tmp_path / "new", other)
    (tmp_path / "new" / "study.json").unlink()  # of an older version
    bench_transfer.claim_folder(tmp_path / "new", mine)
    (tmp_path / "results.md").write_text("mine")
    (tmp_path / "index.md").write_text("mine")
    for folder in (tmp_path, tmp_path / "results.md"):
        with pytest.raises(ConfigError, match="exists and is not the folder of a study; name another folder"):
            bench_transfer.claim_folder(folder, mine)
    assert (tmp_path / "results.md").read_text() == (tmp_path / "index.md").read_text() == "mine"


def test_a_half_written_cell_is_made_anew(cell: Cell, computed: list[str], tmp_path: Path) -> None:
    column = Column("a", tmp_path / "a")
    run_cell(cell, [column], tmp_path)
    whole = (tmp_path / cell.name / RESULT).read_bytes()
    for half in (whole[: len(whole) // 2], b"", b"[]", b"{}"):
        (tmp_path / cell.name / RESULT).write_bytes(half)
        assert result_of(cell, tmp_path) is None
        run_cell(cell, [column], tmp_path)
        again = json.loads((tmp_path / cell.name / RESULT).read_bytes())
        assert again["columns"] == json.loads(whole)["columns"]
    assert computed.count("a") == 5


def test_a_damaged_checkpoint_is_trained_again(
    cell: Cell, computed: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a disk was full: its metrics say that the training is finished."""
    first, second = Column("a", tmp_path / "a"), Column("b", tmp_path / "b")
    run_cell(cell, [first], tmp_path)
    checkpoint = tmp_path / cell.name / "run" / "best.ckpt"
    checkpoint.write_bytes(b"half")
    evaluate = cells_module._evaluate

    def reads(cell: Cell, column: Column, run: Path) -> Any:
        if (run / "best.ckpt").exists():
            raise DamagedCheckpointError("best.ckpt: is damaged")
        return evaluate(cell, column, run)

    monkeypatch.setattr(cells_module, "_evaluate", reads)
    run_cell(cell, [first, second], tmp_path)
    assert computed == [f"train {cell.name}", "a", f"train {cell.name}", "b"]
    monkeypatch.setattr(cells_module, "_evaluate", lambda *_: int("x"))
    third = Column("c", tmp_path / "c")
    assert attempt_cell(cell, [first, third], tmp_path) == "ValueError: invalid literal for int() with base 10: 'x'"


def test_pictures_that_were_removed_are_rendered_again_for_a_damaged_checkpoint(
    cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def render(config: Render) -> None:
        made.append("render")
        Path(config.out).mkdir()

    def train(keys: list[str]) -> None:
        made.append("train")
        assert (tmp_path / cell.name / "data").is_dir()
        (tmp_path / cell.name / "run").mkdir()
        (tmp_path / cell.name / "run" / METRICS).write_text("{}")

    def evaluate(cell: Cell, column: Column, run: Path) -> dict[str, Any]:
        made.append(column.name)
        if made.count("b") == 1:
            raise DamagedCheckpointError("best.ckpt: truncated")
        return {"per_picture": [{"scene_id": 0, "image_id": 0, "xy_error_cm": 1.0, "true_m": [0, 0, 0]}]}

    for name, stub in (("render", render), ("_train_with", train), ("_evaluate", evaluate)):
        monkeypatch.setattr(cells_module, name, stub)
    monkeypatch.setattr(cells_module, "constant_errors_in", lambda column, metrics: {"0/0": 30.0})
    run_cell(cell, [Column("a", tmp_path / "a")], tmp_path)
    run_cell(cell, [Column("a", tmp_path / "a"), Column("b", tmp_path / "b")], tmp_path)
    assert made == ["render", "train", "a", "b", "render", "train", "b"]


def test_the_folder_of_another_cell_or_of_a_user_is_left_alone(cell: Cell, computed: list[str], tmp_path: Path) -> None:
    column = Column("a", tmp_path / "a")
    run_cell(cell, [column], tmp_path)
    other = replace(cell, scale=replace(cell.scale, epochs=7))
    with pytest.raises(ConfigError, match="holds another cell, of other keys or of another version"):
        run_cell(other, [column], tmp_path)
    mine = replace(cell, seed=9)
    (tmp_path / mine.name).mkdir(parents=True)
    (tmp_path / mine.name / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is not a cell of this study"):
        run_cell(mine, [column], tmp_path)


def test_equal_time_is_that_of_the_first_renderer(tmp_path: Path) -> None:
    config = compose("transfer", TransferConfig, ["study=renderers", "scale=smoke"])
    cells = {cell.arm.name: cell for cell in cells_of(config) if cell.seed == 0}
    with pytest.raises(
        ConfigError, match=r"tiny_equal_time needs the time of the arm raycast of seed 0: compute it first"
    ):
        cells_module._as_many(cells["tiny_equal_time"], tmp_path)
    for name, seconds, pictures in (("raycast", 10, 96), ("tiny", 48, 96)):
        (tmp_path / cells[name].name).mkdir(parents=True)
        content = {"seconds": seconds, "pictures": pictures}
        (tmp_path / cells[name].name / RENDERING).write_text(json.dumps(content))
    assert cells_module._as_many(cells["tiny_equal_time"], tmp_path) == 20  # 10 s at 2 pictures a second


def test_tables_hold_the_numbers_of_the_cells(computed: list[str], tmp_path: Path) -> None:
    """Only seeds that both arms of a difference have finished count, and a picture that one lacks counts for none."""
    cells = [cell for cell in cells_of(SMOKE) if cell.arm.name in ("full", "no_distractors")]
    column = Column("distractors", tmp_path / "d")
    for cell in cells:
        run_cell(cell, [column], tmp_path / "cells")
        path = tmp_path / "cells" / cell.name / RESULT
        result = json.loads(path.read_text())
        shift = 6 * (cell.arm.name == "no_distractors") + cell.seed
        errors = {f"0/{k}": float(k + shift) for k in range(3 + cell.seed)}
        result["columns"]["distractors"]["errors"] = errors
        path.write_text(json.dumps(result))
    text = write_tables(tmp_path, "title", cells, {"tobin_small": [column]})
    assert "| full | 1.50 (" in text and "; +6.00 (+6.00 to +6.00) | 1.5 | 7.2 | 7.4 |" in text
    assert "4 of 4 trainings are finished." in text and (tmp_path / "results.md").read_text() == text
    stored = json.loads((tmp_path / "results.json").read_text())["models"]["tobin_small"]["arms"]
    assert stored["no_distractors"]["distractors"]["seeds"] == {"0": 7, "1": 8}
    assert stored["no_distractors"]["distractors"]["pictures"] == 3
    assert stored["no_distractors"]["distractors"]["difference"] == {"value": 6, "low": 6, "high": 6, "seeds": 2}
    assert "| always the table's center | 30.00 (30.00 to 30.00); +28.50 (" in text
    assert stored[CONSTANT]["distractors"]["seeds"] == {"0": 30, "1": 30}
    # A seed that one arm lacks is not compared, also of a column that was added later.
    late = Column("late", tmp_path / "late")
    for cell in cells[:3]:
        run_cell(cell, [column, late], tmp_path / "cells")
    some = errors_of(finished_of(cells, tmp_path / "cells"), [column, late])
    assert finished(some["no_distractors", "late"]).shape == (1, 4) and finished(some[FULL, "late"]).shape == (2, 4)
    (tmp_path / "cells" / cells[-1].name / RESULT).unlink()
    left = write_tables(tmp_path, "title", cells, {"tobin_small": [column]})
    assert (
        "| full | 1.50 (" in left
        and "| no_distractors | 7.00 (" in left
        and "; +6.00 (+6.00 to +6.00), 1 seed |" in left
    )
    alone = [cell for cell in cells if cell.arm.name == "no_distractors"]
    assert "its difference from no_distractors" in write_tables(tmp_path, "title", alone, {"tobin_small": [column]})


def test_a_column_has_the_seeds_of_the_study_and_its_own_pictures(tmp_path: Path) -> None:
    """A column that was added when one seed could not be measured; one cell still has errors in photographs of before."""
    first, second = Column("photographs", tmp_path / "a"), Column("kuka_table", tmp_path / "b")
    results = []
    for cell in (cell for cell in cells_of(SMOKE) if cell.arm.name in ("full", "no_camera")):
        old = cell.arm.name == "no_camera" and cell.seed == 0
        parts = {"photographs": {"content": "before" if old else first.content, "errors": {"0/0": 3.0, "0/1": 5.0}}}
        if cell.seed == 1:
            parts["kuka_table"] = {"content": second.content, "errors": {"1/0": 7.0}}
        results.append((cell, {"columns": parts}))
    errors = errors_of(results, [first, second])
    nan = np.nan
    np.testing.assert_array_equal(errors["full", "kuka_table"], [[nan], [7]])
    np.testing.assert_array_equal(errors["full", "photographs"], [[3, 5], [3, 5]])
    np.testing.assert_array_equal(errors["no_camera", "photographs"], [[nan, nan], [3, 5]])
    assert len({one.word for one in verdicts(errors)} & {"holds", "does not hold"}) == 0


def test_a_study_of_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SimgenError, match="nowhere"):
        bench_transfer.bench(replace(SMOKE, out=str(tmp_path), kuka_table=str(tmp_path / "nowhere")))
    assert list(tmp_path.iterdir()) == []


def test_a_training_that_fails_leaves_the_others(
    cell: Cell, computed: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = cells_module._train

    def fails(one: Cell, *rest: Any) -> None:
        if one.arm.name == "no_camera":
            raise SimgenError("step 3: the training loss is nan")
        trained(one, *rest)

    monkeypatch.setattr(cells_module, "_train", fails)
    monkeypatch.setattr(bench_transfer, "render_columns", lambda *_: None)
    monkeypatch.setattr(bench_transfer, "columns_of", lambda *_: [Column("a", tmp_path / "a")])
    config = replace(SMOKE, out=str(tmp_path), arms=["full", "no_camera", "no_noise"], seeds=[0])
    with pytest.raises(PartialError, match=r"^1 of 3 trainings failed: ablations/no_camera/tobin_small-0; .* again"):
        bench_transfer.bench(config)
    output = capsys.readouterr()
    assert "ablations/no_camera/tobin_small-0 failed: step 3: the training loss is nan" in output.err
    assert "2 of 3 trainings are finished." in output.out
    monkeypatch.setattr(cells_module, "_train", trained)
    bench_transfer.bench(config)
    assert "3 of 3 trainings are finished." in capsys.readouterr().out
    assert attempt_cell(cell, [], tmp_path / "cells") is None


@pytest.mark.parametrize(("pictures", "epochs"), [(24, 8), (96, 2), (1000, 1)])
def test_fewer_pictures_have_as_many_steps(
    cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pictures: int, epochs: int
) -> None:
    given: list[str] = []
    monkeypatch.setattr(cells_module, "render", lambda config: None)
    monkeypatch.setattr(cells_module, "_train_with", given.extend)
    few = replace(cell, arm=replace(cell.arm, pictures=pictures))
    cells_module._train(few, tmp_path, tmp_path)
    assert f"trainer.epochs={epochs}" in given


def test_a_detector_learns_of_blocks_that_are_placed_as_in_the_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its cell is another one than that of a version whose training drew other pictures, or in another order."""
    given: list[str] = []
    monkeypatch.setattr(cells_module, "_train_with", given.extend)
    config = compose("transfer", TransferConfig, ["study=presets", "scale=cpu", "models=[tobin_small,keypoints]"])
    small, detector = (next(c for c in cells_of(config) if c.model == model) for model in ("tobin_small", "keypoints"))
    cells_module._train(detector, tmp_path, tmp_path)
    assert compose("train", TrainConfig, given).data.physics == "place"
    assert identity_of(detector)["stream"] > 1 and "stream" not in identity_of(small)


@pytest.mark.parametrize("scale", SCALES)
def test_training_and_photographs_are_resized_alike(scale: str) -> None:
    """kuka_table's photographs are 640x480 px: of another aspect ratio, a position model would see another camera."""
    assert 3 * SCALES[scale].width == 4 * SCALES[scale].height


def test_arms_that_no_chosen_model_has_are_named(
    computed: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench_transfer, "render_columns", lambda *_: None)
    monkeypatch.setattr(bench_transfer, "columns_of", lambda *_: [Column("a", tmp_path / "a")])
    config = replace(SMOKE, out=str(tmp_path), seeds=[0])
    bench_transfer.bench(config)
    assert "without scratch: none of tobin_small has them; choose others with models=" in capsys.readouterr().out
