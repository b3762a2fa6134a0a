"""`python -m train` as a user calls it: exit statuses, one-line errors, and the check of the position models."""

import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from builders import run_command
from toy_dataset import random_positions, write_dataset

import train.detect.export as export_module
import train.tobin.check
from simgen.config import compose, main
from simgen.errors import ConfigError, DatasetError, SimgenError
from simgen.files import sha256_of
from train.__main__ import COMMANDS
from train.config import (
    CalibrateConfig,
    DataConfig,
    DatasetConfig,
    DoctorConfig,
    EvaluateConfig,
    ExportConfig,
    ModelConfig,
    TrainConfig,
    check_doctor,
    check_evaluate,
    check_train,
)
from train.detect.export import export
from train.evaluate.calibrate import calibrate_checkpoint
from train.runs.checkpoint import place_of, read_checkpoint, write_weights
from train.tobin.check import check_batch, doctor

SMALL = ["model=tobin_small", "model.height=48", "model.width=64"]


def call(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    root = str(Path(__file__).parent.parent)
    environment = {"PYTHONPATH": root, "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "train", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=600)


def test_train_then_evaluate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_dataset(tmp_path / "d", random_positions(24))
    trained = call("data.root=d", *SMALL, "trainer.epochs=2", "trainer.batch_size=4", "out=run", cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    assert "epoch   2/2" in trained.stdout and "baseline: " in trained.stdout
    assert "Warning" not in trained.stderr and "GPU available" not in trained.stderr  # Lightning is quiet
    monkeypatch.chdir(tmp_path)
    evaluate = ["evaluate", "checkpoint=run/best.ckpt", "data.root=d", "out=result"]
    measured = run_command(lambda: main("train", COMMANDS, default="train"), "train", *evaluate)
    assert measured.returncode == 0, measured.stderr
    assert "median" in measured.stdout and "always the table's center" in measured.stdout
    assert (tmp_path / "result" / "worst.png").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["data.root=nowhere"], "nowhere: no such folder"),
        (["model=resnet", "data.root=d"], "keypoints, tobin_small, tobin_vgg"),
        (["data.root=d", "trainer.epoch=3"], "trainer.epoch"),
        (["data.root=d", "trainer.epochs=-1"], "trainer.epochs: got -1; expected at least 1"),
        (["evaluate", "checkpoint=bad.ckpt", "data.root=d"], "bad.ckpt: truncated, damaged or not a checkpoint"),
        (["evaluate", "data.root=d"], "checkpoint"),
        (["ovrefit"], "unknown command 'ovrefit'"),
    ],
)
def test_a_mistake_is_status_2_and_one_line(
    arguments: list[str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "bad.ckpt").write_bytes(b"\x80\x02nonsense")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train", *arguments])
    assert main("train", COMMANDS, default="train") == 2
    line = capfd.readouterr().err.splitlines()[-1]
    assert line.startswith("train: error: ") and expected in line
    assert not (tmp_path / "runs").exists()


def test_the_status_reaches_the_shell(tmp_path: Path) -> None:
    result = call("data.root=d", "trainer.epochs=-1", cwd=tmp_path)
    assert result.returncode == 2 and "Traceback" not in result.stderr
    assert result.stderr.splitlines()[-1] == "train: error: trainer.epochs: got -1; expected at least 1"


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("trainer.epochs=0", "trainer.epochs"),
        ("trainer.batch_size=0", "trainer.batch_size"),
        ("trainer.precision=fp8", "trainer.precision"),
        ("trainer.accelerator=tpu", "trainer.accelerator"),
        ("trainer.devices=0", "trainer.devices"),
        ("trainer.jitter=-0.1", "trainer.jitter"),
        ("model.lr=0", "model.lr"),
        ("model.lr=nan", "model.lr"),
        ("model.height=8", "model.height"),
        ("model.keypoint_weight=-1", "model.keypoint_weight"),
        ("model.name=resnet", "model.name"),
        ("data.validation=1", "data.validation"),
        ("data.min_visible=2", "data.min_visible"),
        ("data.cache_gb=-1", "data.cache_gb"),
        ("data.workers=-1", "data.workers"),
        ("seed=-1", "seed"),
    ],
)
def test_a_value_out_of_range_is_named(override: str, key: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{key}: got .*; expected "):
        check_train(compose("train", TrainConfig, ["model=tobin_small", "data.root=d", override]))


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("model.backbone=resnet", "model.backbone"),
        ("model.lr=0", "model.lr"),
        ("model.weight_decay=-0.1", "model.weight_decay"),
        ("model.weight_decay=nan", "model.weight_decay"),
        ("model.clip=0", "model.clip"),
        ("model.average=1", "model.average"),
        ("model.average=-0.1", "model.average"),
        ("data.width=30", "data.width"),
        ("data.height=50", "data.height"),
        ("data.epoch=0", "data.epoch"),
        ("data.passes=0", "data.passes"),
        ("data.validation=0", "data.validation"),
        ("data.workers=-1", "data.workers"),
        ("data.scenes=[]", "data.scenes"),
    ],
)
def test_a_value_out_of_range_of_a_keypoint_model_is_named(override: str, key: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{key}: got .*; expected "):
        check_train(compose("train", TrainConfig, ["model=keypoints", "data=stream", override]))


@pytest.mark.parametrize("gone", ["start=shipped", "frozen=true", "crop=64", "widths=[8]", "stances=true"])
def test_keys_of_earlier_versions_are_unknown(gone: str) -> None:
    with pytest.raises(ConfigError, match=gone.partition("=")[0]):
        compose("train", TrainConfig, [f"model.{gone}"])


def test_valid_configurations_are_accepted() -> None:
    check_train(compose("train", TrainConfig, ["data.root=d"]))
    check_train(compose("train", TrainConfig, ["model=keypoints", "data.root=d", "model.weight_decay=0"]))
    check_train(compose("train", TrainConfig, ["model.backbone=scratch", "model.average=0", "data.passes=1"]))


def test_the_other_commands_check_too() -> None:
    check_evaluate(compose("evaluate", EvaluateConfig, ["data.root=d", "checkpoint=c"]))
    position = ["model=tobin_small", "data=bop", "data.root=d"]
    check_doctor(compose("doctor", DoctorConfig, position))
    with pytest.raises(ConfigError, match=r"^steps: got 0"):
        check_doctor(compose("doctor", DoctorConfig, [*position, "steps=0"]))
    with pytest.raises(ConfigError, match=r"^batch_size: got 0"):
        check_evaluate(compose("evaluate", EvaluateConfig, ["data.root=d", "checkpoint=c", "batch_size=0"]))


@pytest.mark.parametrize("name", ["tobin_small", "tobin_vgg"])
def test_models_are_composed_by_name(name: str) -> None:
    assert compose("train", TrainConfig, [f"model={name}", "data.root=d"]).model.name == name


def doctor_config(root: Path, **changes: float) -> DoctorConfig:
    lr = changes.pop("lr", 2e-3)
    steps = int(changes.pop("steps", 1000))
    model = ModelConfig("tobin_small", 48, 64, lr=lr)
    return DoctorConfig(model, DataConfig(str(root)), steps=steps, accelerator="cpu")


def test_doctor_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_dataset(tmp_path / "d", random_positions(12))
    doctor(doctor_config(root))
    assert "doctor: pass, 8 images at 0." in capsys.readouterr().out


@pytest.mark.parametrize("changes", [{"lr": 1e-7, "steps": 30}, {"lr": 1e4, "steps": 30}])
def test_doctor_fails_with_a_bad_rate(changes: dict[str, float], tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "d", random_positions(12))
    with pytest.raises(SimgenError, match=r"doctor: fail: .*model\.lr"):
        doctor(doctor_config(root, **changes))


def test_doctor_detects_dead_gradients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_dataset(tmp_path / "d", random_positions(12))
    original = train.tobin.check.make_model

    def dead_model(config: ModelConfig) -> torch.nn.Module:
        model = original(config)
        torch.nn.init.constant_(model.head[2].bias, -1e6)  # no unit of the second layer ever fires
        return model

    monkeypatch.setattr(train.tobin.check, "make_model", dead_model)
    with pytest.raises(SimgenError, match=r"no gradient reaches .*head\.2\.weight"):
        doctor(doctor_config(root))


def test_doctor_detects_contradictory_labels(tmp_path: Path) -> None:
    images = torch.zeros(8, 3, 4, 4, dtype=torch.uint8) + torch.arange(8, dtype=torch.uint8).reshape(8, 1, 1, 1)
    positions = torch.from_numpy(np.random.default_rng(0).uniform(size=(8, 3)))
    names = [f"{i:06d}.png" for i in range(8)]
    check_batch({"images": images, "positions": positions}, names)
    with pytest.raises(DatasetError, match="all labels are the same"):
        check_batch({"images": images, "positions": positions[:1].expand(8, 3)}, names)
    images[5] = images[2]
    with pytest.raises(DatasetError, match=r"000002\.png and 000005\.png have the same pixels"):
        check_batch({"images": images, "positions": positions}, names)
    alike = write_dataset(tmp_path / "alike", np.repeat(random_positions(1), 8, 0))
    with pytest.raises(DatasetError, match="all labels are the same"):
        doctor(doctor_config(alike))
    few = write_dataset(tmp_path / "d", random_positions(7))
    with pytest.raises(DatasetError, match="7 usable pictures; expected at least 8"):
        doctor(doctor_config(few))


@pytest.mark.parametrize("model", ["keypoints data=stream", "tobin_small"])
def test_a_run_for_other_hardware_claims_no_folder(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    data = [] if "stream" in model else [f"data.root={write_dataset(tmp_path / 'd', random_positions(24))}"]
    for override, line in (
        ("precision=16-mixed", r"^trainer\.precision: 16-mixed needs a GPU; expected 32, or bf16-mixed$"),
        ("accelerator=gpu", r"^trainer\.accelerator: got gpu, but torch sees no CUDA device here"),
    ):
        keys = [f"model={model}".split()[0], *data, f"trainer.{override}", f"out={tmp_path / 'run'}"]
        with pytest.raises(ConfigError, match=line):
            COMMANDS["train"].run(compose("train", TrainConfig, keys))
        assert not (tmp_path / "run").exists()


def test_an_export_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")

    def write(net: object, given: object, names: object, out: Path, checkpoint: str) -> object:
        export_module._part_of(out).write_text("half")
        if "crops" in out.name:
            raise SimgenError("differs from torch")
        return SimpleNamespace(difference=0.0, rates={}, size=4, rename=lambda: None)

    monkeypatch.setattr(export_module, "_written", write)
    with pytest.raises(SimgenError, match="differs from torch"):
        export(ExportConfig("shipped", str(tmp_path / "model.onnx")))
    assert not list(tmp_path.iterdir())


def test_export_and_calibrate_overwrite_no_file_of_the_users(tmp_path: Path) -> None:
    for name in ("thesis.onnx", "thesis.json", "thesis.crops.onnx", "thesis.places.onnx", "weights.safetensors"):
        file = tmp_path / name
        file.write_text("{}")
        out = file if name in ("thesis.onnx", "weights.safetensors") else tmp_path / "thesis.onnx"
        with pytest.raises(ConfigError, match=rf"^out: .*{name} exists(,| and)"):
            export(ExportConfig("shipped", str(out)))
        assert file.read_text() == "{}"
        file.unlink()
    for name in ("model.json", "model", "model.pt"):
        with pytest.raises(
            ConfigError, match=rf"^out: got .*{name}; expected a name that ends in \.onnx or \.safetensors"
        ):
            export(ExportConfig("shipped", str(tmp_path / name)))
    assert not list(tmp_path.iterdir())
    (tmp_path / "notes.ckpt").write_text("mine")
    with pytest.raises(ConfigError, match=r"^out: .*notes\.ckpt exists and is no checkpoint"):
        calibrate_checkpoint(CalibrateConfig("shipped", DatasetConfig("nowhere"), out=str(tmp_path / "notes.ckpt")))
    assert (tmp_path / "notes.ckpt").read_text() == "mine"
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text("{}")
    for name in ("last.ckpt", "best.ckpt", "calibrated.ckpt"):
        torch.save(read_checkpoint("shipped"), run / name)
        config = CalibrateConfig("shipped", DatasetConfig("nowhere"), out=str(run / name))
        message = rf"^out: .*{name} is of the run in .*run, and would be overwritten"
        # One that an earlier calibration wrote is written again: then the dataset is what is missing.
        with pytest.raises(SimgenError, match="nowhere" if name == "calibrated.ckpt" else message):
            calibrate_checkpoint(config)
    shutil.copy(place_of("shipped"), run / "model.safetensors")
    export(ExportConfig("shipped", str(run / "model.safetensors")))
    for name in ("new.safetensors", "new.onnx"):
        with pytest.raises(ConfigError, match=rf"^out: got .*{name}; expected a name that ends in \.ckpt"):
            calibrate_checkpoint(CalibrateConfig("shipped", DatasetConfig("nowhere"), out=str(tmp_path / name)))
    # Another model of the user's, in a file of any name.
    other = read_checkpoint("shipped")
    name = next(name for name, value in other["state_dict"].items() if value.dim() == 4)
    other["state_dict"][name] = other["state_dict"][name] + 0.1
    torch.save(other, tmp_path / "mine.ckpt")
    write_weights(other, tmp_path / "mine.safetensors", other["origin"])
    before = [sha256_of(tmp_path / one) for one in ("mine.ckpt", "mine.safetensors")]
    with pytest.raises(ConfigError, match=r"^out: .*mine\.ckpt exists and is another model than shipped; name another"):
        calibrate_checkpoint(CalibrateConfig("shipped", DatasetConfig("nowhere"), out=str(tmp_path / "mine.ckpt")))
    with pytest.raises(ConfigError, match=r"^out: .*mine\.safetensors exists and is another model than shipped"):
        export(ExportConfig("shipped", str(tmp_path / "mine.safetensors")))
    assert [sha256_of(tmp_path / one) for one in ("mine.ckpt", "mine.safetensors")] == before


def test_a_width_of_nothing_is_refused(tmp_path: Path) -> None:
    for size in ({"width": 0}, {"height": 0}):
        with pytest.raises(ConfigError, match=rf"^{next(iter(size))}: got 0; expected a multiple of 4, at least 32"):
            export(ExportConfig("shipped", str(tmp_path / "x.onnx"), **size))
    assert not list(tmp_path.iterdir())
