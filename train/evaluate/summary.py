"""The XY errors of an evaluation as text, and the folder of its results."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from simgen.errors import ConfigError
from simgen.files import read_json
from train.config import EvaluateConfig
from train.metrics import STATISTICS
from train.runs.folder import CONFIG, METRICS

WORST, FACTORS, OVERLAYS, TABLE = PICTURES = ("worst.png", "factors.png", "overlays.png", "table.png")


def settings_of(config: EvaluateConfig) -> dict[str, Any]:
    """What is evaluated, as the results state it."""
    settings = {"checkpoint": config.checkpoint, **asdict(config.data), "zoom": config.zoom}
    return dict(json.loads(json.dumps(settings)))  # keys of `names` as JSON has them


def results_folder(config: EvaluateConfig) -> Path:
    """The folder of the results: `config.out`, or one beside the checkpoint, in the current folder for a bundled model,
    that is named after what is evaluated. Raises ConfigError if it holds a run, the results of anything else, or another
    file of a name in PICTURES, because these would be overwritten; results of the same settings are."""
    data, path = config.data, Path(config.checkpoint)
    parts = [data.split, data.target if data.target != "auto" else None, data.targets and Path(data.targets).stem]
    parts += [f"zoom{config.zoom:g}" if config.zoom != 1 else None]
    names = ["evaluate", path.stem, Path(data.root).resolve().name, *(part for part in parts if part)]
    out = Path(config.out) if config.out else path.parent / "-".join(names)
    if (out / CONFIG).exists():
        raise ConfigError(f"out: {out} holds a run, whose {METRICS} would be overwritten; name another folder")
    own = [name for name in PICTURES if (out / name).exists()]
    if own and not (out / METRICS).exists():
        raise ConfigError(f"out: {out / own[0]} exists, without the {METRICS} of an evaluation; name another folder")
    if (out / METRICS).exists():
        there = read_json(out / METRICS)
        before = there.get("settings") if isinstance(there, dict) else None
        ours = settings_of(config)
        if before != ours:
            differing = [name for name in ours if not isinstance(before, dict) or before.get(name) != ours[name]]
            raise ConfigError(
                f"out: {out} holds results of other settings ({', '.join(differing)}); name another folder, or delete it"
            )
    return out


def table(result: dict[str, Any]) -> str:
    """The XY errors in the `result` of `evaluate` as text: a row for each statistic, the model and the baseline side by
    side."""
    model, baseline = result["xy_error_cm"]["model"], result["xy_error_cm"]["baseline"]
    lines = [f"{'XY error':18}{'model':>9}  {'95% interval':<18}{'always ' + result['baseline']}"]
    for name in STATISTICS:
        share = name.startswith("share")
        factor, unit = (100, "%") if share else (1, "cm")
        row = model[name]
        interval = f"{factor * row['low']:.2f} to {factor * row['high']:.2f}"
        value, other = factor * row["value"], factor * baseline[name]["value"]
        lines.append(f"{name.replace('_', ' '):18}{value:>6.2f} {unit:2}  {interval:<18}{other:.2f} {unit}")
    return "\n".join(lines)
