"""The rows of trials.csv: the trials of one task with every source of poses, and their summary."""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from typing import Any

import torch

from simgen.pipeline import Pipeline
from simgen.render import Renderer, make_renderer
from stacking.poses import (
    DETECTOR,
    LOOKING,
    NOISE,
    TRUTH,
    Predicted,
    Sighting,
    Source,
    detected_poses,
    errors,
    noisy_poses,
    paired,
    sightings,
    true_poses,
)
from stacking.robot import Kinematics
from stacking.success import SEEING, cause, faults
from stacking.task import Task, cell, picture_of, task_of
from stacking.trial import run_trial
from train.detect.detector import Detector, load_detector
from train.evaluate.factors import wilson

LOOKS = 3  # pictures, at most, of a robot that looks again
STACKED, FAILED, REFUSED = "stacked", "failed", "refused"
_NOTHING: Any = {"cause": "", "reason": "", "lifted": 0, "steps": 0}  # of a trial that was not attempted


@dataclass(frozen=True)
class Row:
    """One trial. `cause` and `reason` are those of a failure; `lifted` blocks were in the gripper; `confidence` is the least
    of the three; `off_mm` and `off_deg` are the greatest errors of the poses that the robot used, or refused to use."""

    index: int
    source: str
    millimeters: float
    degrees: float
    kinds: str
    outcome: str
    cause: str
    reason: str
    lifted: int
    steps: int
    confidence: float | None
    off_mm: float | None
    off_deg: float | None


@dataclass(frozen=True)
class Bench:
    """What all trials of a process share: pictures of the preset `randomize` and tasks of `seed`; detections below
    `confidence` are unsure ones."""

    randomize: str
    seed: int
    checkpoint: str
    confidence: float

    @cached_property
    def pipeline(self) -> Pipeline:
        return cell(self.randomize, self.seed)

    @cached_property
    def renderer(self) -> Renderer:
        return make_renderer("raycast", self.pipeline.world, threads=1)

    @cached_property
    def detector(self) -> Detector:
        """Raises ConfigError for a model that lacks one of the scene's kinds."""
        torch.set_num_threads(1)  # processes share the cores
        detector = load_detector(self.checkpoint)
        detector.blocks.classes_of(self.pipeline.world.solids)
        return detector

    @cached_property
    def kinematics(self) -> Kinematics:
        return Kinematics()

    def seen(self, task: Task, looks: int = 1) -> list[Sighting]:
        """What the detector sees in pictures of `task`: one, or up to `looks` until it is sure of all that is asked for."""
        solids = {one.name: one for one in self.pipeline.world.solids}
        found: list[Sighting] = []
        for look in range(looks):
            picture, view = picture_of(task, self.pipeline, self.renderer, look)
            (detections,) = self.detector.find([picture], [view])
            found += sightings(detections, view, solids)
            if min(detected_poses(task.kinds, found).confidences) >= self.confidence:
                break
        return found

    def rows(self, index: int, sources: Sequence[Source]) -> list[Row]:
        """The trials of task `index` with each of `sources`."""
        task = task_of(self.pipeline, index)
        made: list[Row] = []
        for source in sources:
            if source.name == TRUTH:
                made.append(self._row(task, index, source, true_poses(task)))
            elif source.name == NOISE:
                made.append(self._row(task, index, source, noisy_poses(task, source, self.seed)))
            elif source.name == DETECTOR:
                made.append(self._row(task, index, source, detected_poses(task.kinds, self.seen(task))))
            else:
                (first,) = (one for one in made if one.source == DETECTOR)
                made.append(self._careful(task, index, source, first))
        return made

    def _careful(self, task: Task, index: int, source: Source, first: Row) -> Row:
        """The trial of a robot that refuses what it is unsure of, given the detector's own trial `first`."""
        assert first.confidence is not None
        if first.confidence >= self.confidence:
            return replace(first, source=source.name)
        if source.name == LOOKING:
            found = detected_poses(task.kinds, self.seen(task, LOOKS))
            if min(found.confidences) >= self.confidence:
                return self._row(task, index, source, found)
            return Row(**_estimates(task, index, source, found), outcome=REFUSED, **_NOTHING)
        return replace(first, source=source.name, outcome=REFUSED, **_NOTHING)

    def _row(self, task: Task, index: int, source: Source, found: Predicted) -> Row:
        known = [one for one in found.blocks if one is not None]
        common = _estimates(task, index, source, found)
        if len(known) < len(task.blocks):
            return Row(**common, outcome=FAILED, cause=SEEING, reason="missed", lifted=0, steps=0)
        result = run_trial(task, self.pipeline.world, known, found.around, self.kinematics)
        wrong = faults(result.ended, task.kinds)
        done = {"lifted": result.lifted, "steps": result.steps}
        if not wrong:
            return Row(**common, outcome=STACKED, cause="", reason="", **done)
        reason = result.trouble or ", ".join(wrong)
        blamed = cause(task.blocks, paired(task.blocks, found.blocks), result.trouble)
        return Row(**common, outcome=FAILED, cause=blamed, reason=reason, **done)


def _estimates(task: Task, index: int, source: Source, found: Predicted) -> dict[str, Any]:
    """What a Row of task number `index` says of the poses `found`."""
    pairs = paired(task.blocks, found.blocks)
    off = [errors(truth, one) for truth, one in zip(task.blocks, pairs, strict=True) if one is not None]
    return {
        "index": index,
        "source": source.name,
        "millimeters": source.millimeters,
        "degrees": source.degrees,
        "kinds": " ".join(task.kinds),
        "confidence": min(found.confidences, default=None),
        "off_mm": round(max(one[0] for one in off), 2) if off else None,
        "off_deg": round(max(one[1] for one in off), 2) if off else None,
    }


def csv_of(rows: Sequence[Row]) -> bytes:
    """`rows` as a CSV file, in the order of their indices."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [one.name for one in fields(Row)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in sorted(rows, key=lambda row: row.index))
    return text.getvalue().encode()


def summary(rows: Sequence[Row], source: Source) -> dict[str, Any]:
    """How the trials with `source` ended: counts, the share of all and of the attempted trials with Wilson's 95% intervals,
    and the causes and reasons of failures."""
    own = [
        row
        for row in rows
        if (row.source, row.millimeters, row.degrees) == (source.name, source.millimeters, source.degrees)
    ]
    stacked, refused = (sum(row.outcome == outcome for row in own) for outcome in (STACKED, REFUSED))
    failed = [row for row in own if row.outcome == FAILED]
    return {
        **asdict(source),
        "trials": len(own),
        "stacked": stacked,
        "refused": refused,
        "of_all": _share(stacked, len(own)),
        "of_attempted": _share(stacked, len(own) - refused),
        "causes": dict(sorted(Counter(row.cause for row in failed).items())),
        "reasons": dict(sorted(Counter(f"{row.cause}: {row.reason}" for row in failed).items())),
    }


def _share(count: int, trials: int) -> dict[str, Any]:
    return {
        "share": count / trials if trials else None,
        "interval": list(wilson(count, trials)) if trials else [0.0, 1.0],
    }
