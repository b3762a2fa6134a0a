"""`python -m train evaluate` for a position model: its errors on a dataset, and those of a constant prediction."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from simgen.errors import ConfigError
from simgen.files import sha256_of, write_json
from simgen.geometry import Array
from train.config import EvaluateConfig
from train.data.images import manifest_hash
from train.draw.sheets import write_png
from train.evaluate.learned import note_what_was_learned
from train.evaluate.summary import TABLE, WORST, results_folder, settings_of, table
from train.metrics import summary, xy_errors
from train.runs.folder import METRICS, origin_of
from train.runs.trainer import device_of
from train.tobin.checkpoint import load_checkpoint
from train.tobin.data import Examples, ResizedPictures, find_examples, loader_of
from train.tobin.figures import draw_table, draw_worst
from train.tobin.fit import baseline_center
from train.tobin.model import PoseNet


def evaluate(config: EvaluateConfig) -> dict[str, Any]:
    """The errors of `config.checkpoint` on a dataset. Prints them and writes metrics.json, table.png and worst.png.

    Raises CheckpointError, DatasetError and ConfigError.
    """
    if config.zoom != 1:
        raise ConfigError("zoom: a position model accepts pictures of one size only; remove it")
    out = results_folder(config)
    trained = load_checkpoint(config.checkpoint)
    examples = find_examples(config.data, prefer=trained.target)
    print(examples)
    note_what_was_learned(origin_of(config.checkpoint, {}), examples.dataset)
    if examples.target != trained.target:
        print(
            f"the checkpoint was trained on {trained.target}, which the dataset lacks: evaluated on {examples.target}"
        )
    size = {"height": trained.config.height, "width": trained.config.width}
    pictures = ResizedPictures(examples, np.arange(len(examples)), **size, cache_gb=0, workers=0)
    predicted = positions_in(
        trained.model, pictures, batch_size=config.batch_size, device=device_of(config.accelerator)
    )
    center, baseline = baseline_center(examples, slice(None))
    errors_cm = 100 * xy_errors(predicted, examples.positions)
    baseline_cm = 100 * xy_errors(np.broadcast_to(center, (len(examples), 2)), examples.positions)
    result = {
        "checkpoint": str(config.checkpoint),
        "checkpoint_sha256": sha256_of(Path(config.checkpoint)),
        "dataset": str(examples.dataset.root),
        "dataset_manifest_sha256": manifest_hash(examples.dataset.root),
        "settings": settings_of(config),
        "target": examples.target,
        "trained_for": trained.target,
        "pictures": len(examples),
        "left_out": dict(examples.left_out),
        "baseline": baseline,
        "xy_error_cm": {
            "model": summary(errors_cm, seed=config.seed),
            "baseline": summary(baseline_cm, seed=config.seed),
        },
        "per_picture": _per_picture(examples, predicted, errors_cm),
    }
    print(table(result))
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / METRICS, result, indent=1)
    write_png(out / TABLE, draw_table(examples, predicted, errors_cm))
    write_png(out / WORST, draw_worst(examples, predicted, errors_cm))
    print(f"wrote {out / METRICS}, {out / TABLE} and {out / WORST}")
    return result


def positions_in(model: PoseNet, pictures: ResizedPictures, *, batch_size: int, device: torch.device) -> Array:
    """(N, 3) m: the positions in the world frame that `model` predicts for `pictures`."""
    model = model.to(device).eval()
    with torch.inference_mode():
        parts = [model(batch["images"].to(device)).position.cpu() for batch in loader_of(pictures, batch_size)]
    return torch.cat(parts).double().numpy()


def _per_picture(examples: Examples, predicted: Array, errors_cm: Array) -> list[dict[str, Any]]:
    return [
        {
            "scene_id": picture.scene_id,
            "image_id": picture.image_id,
            "true_m": [round(float(v), 5) for v in true],
            "predicted_m": [round(float(v), 5) for v in guess],
            "xy_error_cm": float(error),
        }
        for picture, true, guess, error in zip(examples.pictures, examples.positions, predicted, errors_cm, strict=True)
    ]
