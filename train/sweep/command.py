"""The command `python -m train sweep`."""

import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from simgen.config import DONE, PARTLY, Composed
from simgen.errors import ConfigError
from train.config import StreamConfig, SweepConfig
from train.data.images import manifest_hash
from train.data.stream import VERSION as STREAM
from train.runs.folder import CONFIG, METRICS
from train.runs.trainer import say
from train.sweep.report import shown_values, write_report
from train.sweep.space import Plan, overrides_of, plan_of
from train.sweep.trial import RunTraining, loss_of, objective_of, run_training

_SPEED = ("cache_gb", "workers", "save_steps")  # settings that change only how long a training takes


def sweep(composed: Composed[SweepConfig], *, train: RunTraining = run_training) -> int:
    """Runs the trials of a sweep that are not finished yet, by `train`, and writes the report; returns the exit status.

    A trial that fails is recorded with its reason. Raises ConfigError, also if a trial cannot even begin for a reason other
    than its own values: then none could.
    """
    try:
        from train.sweep.study import Study, claimed
    except ModuleNotFoundError as error:
        if error.name != "optuna":
            raise
        raise ConfigError("sweep: needs optuna, which is not installed; pip install 'simgen[sweep]'") from error

    plan, trials, folder = plan_of(composed), composed.value.trials, Path(composed.value.out)
    with claimed(folder) as claim:
        study = Study(folder, plan.space, _described(plan))
        for line in (*plan.notes, *study.notes):
            print(f"train: note: {line}", file=sys.stderr)
        done = len(study.trials)
        if done:
            say(
                f"{folder} has {done} finished trials"
                + (f", of {trials}" if done < trials else ": nothing is left to do")
            )
        try:
            for number in range(done, trials):
                values = study.ask(composed.value.seed, plan.first)
                say(f"trial {number} ({number + 1} of {trials}): {shown_values(values)} (log: {_log(folder, number)})")
                result = _run(plan, folder, number, overrides_of(values), claim, train)
                trial = study.tell(values, result)
                best = min((other.loss for other in study.trials if other.loss is not None), default=None)
                name = objective_of(plan.config)[1]
                say(
                    f"trial {number}: failed: {trial.reason}"
                    if trial.loss is None
                    else f"trial {number}: {name} {trial.loss:.4f}, the least is {best:.4f}"
                )
        finally:
            finished = study.trials
            if finished:
                write_report(folder, plan, finished, study.importances())
        if all(trial.loss is None for trial in finished):
            print(
                f"train: error: all {len(finished)} trials failed, the last one with: {finished[-1].reason}",
                file=sys.stderr,
            )
            return PARTLY
        say(f"report: {folder / 'report.md'}")
    return DONE


def _run(
    plan: Plan, folder: Path, number: int, overrides: list[str], claim: int, train: RunTraining
) -> tuple[float, int] | str:
    """The loss and its epoch of trial `number`, or why it failed."""
    place = folder / f"trial-{number}"
    if not (place / METRICS).exists():
        reason = train([*plan.settings, *overrides], place, _log(folder, number), claim)
        begun, own = (place / CONFIG).exists(), any(path in (reason or "") for path in plan.space)
        if reason is not None and number == 0 and not begun:
            from train.sweep.study import JOURNAL

            (folder / JOURNAL).write_bytes(b"")  # else it would be of these settings, which cannot be corrected
            raise ConfigError(f"sweep: the first trial cannot begin: {reason}")
        if reason is not None and not begun and not own:  # as on another machine, or without a disk: none could
            raise ConfigError(f"sweep: trial {number} cannot begin: {reason}; correct that, and repeat the command")
        if reason is not None:
            return reason
    return loss_of(place, plan.config)


def _log(folder: Path, number: int) -> Path:
    return folder / f"trial-{number}.log"


def _described(plan: Plan) -> Mapping[str, Any]:
    """What makes two sweeps the same: losses on other held-out pictures cannot be compared."""
    config = asdict(plan.config)
    del config["out"]
    for section in (config["data"], config["trainer"]):
        for name in _SPEED:
            section.pop(name, None)
    data = plan.config.data
    held_out = {"stream": STREAM} if isinstance(data, StreamConfig) else {"manifest": manifest_hash(Path(data.root))}
    return {**config, **held_out, "sweep": {path: swept.text for path, swept in plan.space.items()}}
