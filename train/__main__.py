"""`python -m train` trains; its other commands check, measure and use what was trained.

Slow imports are inside the functions, so that help and errors in keys appear immediately.
"""

import sys
from typing import Any

from simgen.config import Command, Composed, main
from train.config import (
    CalibrateConfig,
    CompareConfig,
    DoctorConfig,
    EvaluateConfig,
    ExportConfig,
    KeypointConfig,
    PredictConfig,
    StreamConfig,
    SweepConfig,
    TrainConfig,
    check_calibrate,
    check_doctor,
    check_evaluate,
    check_predict,
    check_train,
)


def _notes(composed: Composed[Any]) -> list[str]:
    from simgen.catalogue import without_fixtures

    data = composed.value.data
    return without_fixtures(data.scenes, composed.given) if isinstance(data, StreamConfig) else []


def _train(config: TrainConfig) -> None:
    check_train(config)
    if isinstance(config.model, KeypointConfig):
        from train.fit.training import train_keypoints

        train_keypoints(config)
        return
    from train.tobin.fit import train

    train(config)


def _doctor(config: DoctorConfig) -> None:
    check_doctor(config)
    if isinstance(config.model, KeypointConfig):
        from train.fit.check import doctor
    else:
        from train.tobin.check import doctor

    doctor(config)


def _sweep(composed: Composed[SweepConfig]) -> int:
    from train.sweep.command import sweep

    return sweep(composed)


def _evaluate(config: EvaluateConfig) -> None:
    check_evaluate(config)
    from train.runs.checkpoint import KEYPOINTS, read_checkpoint

    if read_checkpoint(config.checkpoint)["simgen_train"] == KEYPOINTS:
        from train.evaluate.report import evaluate_keypoints

        evaluate_keypoints(config)
        return
    from train.tobin.evaluate import evaluate

    evaluate(config)


def _calibrate(config: CalibrateConfig) -> None:
    check_calibrate(config)
    from train.evaluate.calibrate import calibrate_checkpoint

    calibrate_checkpoint(config)


def _compare(config: CompareConfig) -> None:
    from train.runs.compare import compare

    compare(config)


def _predict(config: PredictConfig) -> None:
    check_predict(config)
    from train.detect.predict import predict

    predict(config)


def _export(config: ExportConfig) -> None:
    from train.detect.export import export

    export(config)


COMMANDS = {
    "train": Command(
        "train a model, resume an interrupted run, or extend a finished one",
        TrainConfig,
        _train,
        resumes=True,
        notes=_notes,
    ),
    "doctor": Command(
        "check before a long run: one step, one overfitted batch, a toy scene, the real configuration",
        DoctorConfig,
        _doctor,
        notes=_notes,
    ),
    "sweep": Command(
        "train many times with values that Optuna chooses: 'model.lr=tag(log,interval(1e-4,1e-2))'",
        SweepConfig,
        _sweep,
        resumes=True,
        composed=True,
        swept=True,
        notes=_notes,
    ),
    "evaluate": Command("measure the errors of a checkpoint on a dataset, real or rendered", EvaluateConfig, _evaluate),
    "calibrate": Command(
        "fit a keypoint model's confidence to rendered images of your own scene and size",
        CalibrateConfig,
        _calibrate,
    ),
    "compare": Command("show the differences between two runs", CompareConfig, _compare, ("first", "second")),
    "predict": Command(
        "detect the blocks in photographs, folders of them or a video", PredictConfig, _predict, ("image",)
    ),
    "export": Command("write a keypoint model as ONNX, compare it with torch and time both", ExportConfig, _export),
}

if __name__ == "__main__":
    sys.exit(main("train", COMMANDS, default="train"))
