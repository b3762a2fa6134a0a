"""The rows of trials.csv: the trials of one task with every source of poses, and their summary."""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any

import torch

from simgen.pipeline import Pipeline
from simgen.render import Renderer, make_renderer
from stacking.poses import (
    DETECTOR,
    NOISE,
    REFUSING,
    TRUTH,
    Belief,
    Source,
    detected_belief,
    errors,
    noisy_belief,
    paired,
    true_belief,
)
from stacking.robot import Kinematics
from stacking.success import SEEING, cause, faults, wilson
from stacking.task import Task, cell, picture_of, task_of
from stacking.trial import run_trial
from train.detect.detector import Detector, load_detector

STACKED, FAILED, REFUSED = "stacked", "failed", "refused"


@dataclass(frozen=True)
class Row:
    """One trial. `cause` and `reason` are those of a failure; `lifted` blocks were in the gripper; `confidence` is the least of the
    three; `off_mm` and `off_deg` are the greatest errors of the poses that the robot used."""

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
    """What all trials of a process share: pictures of the preset `randomize` and tasks of `seed`; detections below `confidence` are
    unsure ones."""

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
        torch.set_num_threads(1)  # processes share the cores
        return load_detector(self.checkpoint)

    @cached_property
    def kinematics(self) -> Kinematics:
        return Kinematics()

    def belief(self, task: Task, source: Source) -> Belief:
        """Where the robot believes the blocks of `task` to be."""
        if source.name == TRUTH:
            return true_belief(task)
        if source.name == NOISE:
            return noisy_belief(task, source, self.seed)
        picture, view = picture_of(task, self.pipeline.world, self.renderer)
        (detections,) = self.detector.find([picture], [view])
        return detected_belief(task.kinds, detections, view, {one.name: one for one in self.pipeline.world.solids})

    def rows(self, index: int, sources: Sequence[Source]) -> list[Row]:
        """The trials of task `index` with each of `sources`."""
        task = task_of(self.pipeline, index)
        made: list[Row] = []
        for source in sources:
            if source.name == REFUSING:  # the detector's own trial, unless it is refused
                (row,) = (one for one in made if one.source == DETECTOR)
                unsure = row.confidence is None or row.confidence < self.confidence
                changed = {"source": REFUSING, **({"outcome": REFUSED, "cause": "", "reason": ""} if unsure else {})}
                made.append(Row(**{**asdict(row), **changed}))
            else:
                made.append(self._row(task, index, source))
        return made

    def _row(self, task: Task, index: int, source: Source) -> Row:
        belief = self.belief(task, source)
        pairs = paired(task.blocks, belief.blocks)
        off = [errors(truth, one) for truth, one in zip(task.blocks, pairs, strict=True) if one is not None]
        known = [one for one in belief.blocks if one is not None]
        common = {
            "index": index,
            "source": source.name,
            "millimeters": source.millimeters,
            "degrees": source.degrees,
            "kinds": " ".join(task.kinds),
            "confidence": round(min(belief.confidences), 4) if belief.confidences else None,
            "off_mm": round(max((one[0] for one in off), default=0.0), 2) if off else None,
            "off_deg": round(max((one[1] for one in off), default=0.0), 2) if off else None,
        }
        if len(known) < len(task.blocks):
            return Row(**common, outcome=FAILED, cause=SEEING, reason="missed", lifted=0, steps=0)
        result = run_trial(task, self.pipeline.world, known, belief.around, self.kinematics)
        wrong = faults(result.ended, task.kinds)
        done = {"lifted": result.lifted, "steps": result.steps}
        if not wrong:
            return Row(**common, outcome=STACKED, cause="", reason="", **done)
        reason = result.trouble or ", ".join(wrong)
        return Row(**common, outcome=FAILED, cause=cause(task.blocks, pairs, result.trouble), reason=reason, **done)


def csv_of(rows: Sequence[Row]) -> bytes:
    """`rows` as a CSV file, in the order of their indices."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [one.name for one in fields(Row)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in sorted(rows, key=lambda row: row.index))
    return text.getvalue().encode()


def summary(rows: Sequence[Row], source: Source) -> dict[str, Any]:
    """How the trials with `source` ended: counts, the share of all and of the attempted trials with Wilson's 95% intervals, and the
    causes and reasons of failures."""
    own = [row for row in rows if (row.source, row.millimeters, row.degrees) == (source.name, source.millimeters, source.degrees)]
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
    return {"share": count / trials if trials else None, "interval": list(wilson(count, trials))}
