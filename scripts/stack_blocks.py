"""Measures what poses are good for: a simulated Franka Panda stacks three blocks, with poses from several sources.

    python scripts/stack_blocks.py OUT                            # 100 trials of each source of poses
    python scripts/stack_blocks.py OUT --trials 20 --mm --degrees # without noise

A trial is a scene of scene=stacking: three blocks that a gripper can stack, other blocks between them, and a randomized
camera, whose picture renderer=raycast draws. The robot is asked for three kinds, knows the camera's pose over the table,
and puts the second block on the first and the third on the second. All sources of poses see the same scenes: the truth;
the truth with noise of `--mm` or `--degrees`; the detector; the detector that refuses a trial with a confidence below
`--confidence`; and the detector that looks again before it refuses, up to twice and from other places. A stack is
ManiSkill's: each block on top of the one below, at rest and released.

Writes into OUT: trials.csv, results.json, curves.png, and stacking.gif, the film of trial `--film`. The same command
resumes an interrupted run and keeps finished trials.
"""

import argparse
import math
import sys
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, replace
from multiprocessing import get_context
from pathlib import Path

from stacking.film import film
from stacking.poses import DETECTOR, LOOKING, NOISE, REFUSING, TRUTH, Source
from stacking.results import curves_of, table_of
from stacking.rows import Bench, Row, csv_of, summary

from simgen.command.progress import Progress
from simgen.config import INTERRUPTED
from simgen.dataset.write import DATA_VERSION
from simgen.engine import load_pybullet
from simgen.errors import ConfigError, SimgenError
from simgen.files import read_json, sha256_of, write_file, write_json
from train.detect.detector import note_if_uncalibrated
from train.runs.checkpoint import place_of

MILLIMETERS = (4.0, 6.0, 10.0, 15.0)
DEGREES = (20.0, 45.0)
_bench: Bench | None = None  # of a worker process


def sources_of(millimeters: list[float], degrees: list[float]) -> list[Source]:
    """All sources of poses: truth, detector, refusing, looking again, and noise of each standard deviation."""
    return [
        Source(TRUTH),
        Source(DETECTOR),
        Source(REFUSING),
        Source(LOOKING),
        *(Source(NOISE, millimeters=one) for one in millimeters),
        *(Source(NOISE, degrees=one) for one in degrees),
    ]


def run_trials(out: Path, bench: Bench, trials: int, noisy: int, sources: list[Source], workers: int) -> list[Row]:
    """The rows of `trials` tasks, and with noise of the first `noisy` of them.

    What is done is kept in `out`/tasks, a file for each task.
    """
    noise = [source for source in sources if source.name == NOISE]
    others = [source for source in sources if source.name != NOISE]
    jobs = {out / "tasks" / f"{index:06d}.json": (index, others) for index in range(trials)}
    if noise:
        jobs |= {out / "tasks" / f"{index:06d}-noise.json": (index, noise) for index in range(noisy)}
    left = [path for path in jobs if not path.exists()]
    with (
        Progress("stacked", len(jobs), "tasks", done=len(jobs) - len(left)) as progress,
        ProcessPoolExecutor(workers, get_context("spawn"), _begin, (replace(bench),)) as pool,
    ):
        made = pool.map(_rows, [jobs[path][0] for path in left], [jobs[path][1] for path in left])
        try:
            for path, rows in zip(left, made, strict=True):
                write_json(path, [asdict(row) for row in rows])
                progress.update()
        except BrokenProcessPool as error:
            raise SimgenError(
                "a process was ended, as where memory is short; the same command goes on, with fewer --workers "
                "in less memory"
            ) from error
    return [Row(**row) for path in jobs for row in read_json(path)]


def claim_folder(out: Path, settings: dict[str, object]) -> None:
    """Records `settings` in `out`. Raises ConfigError if `out` holds trials of others."""
    kept = out / "settings.json"
    if kept.exists() and read_json(kept) != settings:
        raise ConfigError(
            f"{out}: holds trials of other settings, {read_json(kept)}; name another folder, or repeat those"
        )
    if not kept.exists() and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out}: is a file, or a folder that is not empty and holds no trials; name another folder")
    write_json(kept, settings, indent=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--noise-trials", type=int, help="trials with each noise; as many as --trials if not given")
    parser.add_argument("--seed", type=int, default=21)
    parser.add_argument("--randomize", default="photographs", help="preset of textures and lights")
    parser.add_argument("--checkpoint", default="shipped")
    parser.add_argument("--confidence", type=float, default=0.5, help="a trial with a less confident block is refused")
    parser.add_argument("--mm", type=float, nargs="*", default=list(MILLIMETERS), help="noise along X and along Y")
    parser.add_argument("--degrees", type=float, nargs="*", default=list(DEGREES), help="noise about the vertical")
    parser.add_argument("--film", type=int, default=0, help="index of the trial that is filmed")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    for name, least in (("trials", 1), ("noise-trials", 1), ("workers", 1), ("film", 0), ("seed", 0)):
        value = getattr(arguments, name.replace("-", "_"))
        if value is not None and value < least:
            raise ConfigError(f"--{name}: got {value}; expected {least} or more")
    for name in ("mm", "degrees"):
        values = getattr(arguments, name)
        if not all(0 < value < math.inf for value in values) or len(set(values)) < len(values):
            raise ConfigError(f"--{name}: got {values}; expected different numbers above 0, or none")
    noisy = arguments.trials if arguments.noise_trials is None else arguments.noise_trials
    if noisy > arguments.trials:
        raise ConfigError(f"--noise-trials: got {noisy}; expected at most --trials, {arguments.trials}")
    if arguments.noise_trials is not None and not (arguments.mm or arguments.degrees):
        raise ConfigError("--noise-trials: has no effect without noise; leave it out, or give --mm or --degrees numbers")
    if not 0 <= arguments.confidence <= 1:
        raise ConfigError(f"--confidence: got {arguments.confidence}; expected 0 to 1")
    load_pybullet("stack_blocks", "a machine with PyBullet: the robot needs it")  # before anything is written
    bench = Bench(arguments.randomize, arguments.seed, arguments.checkpoint, arguments.confidence)
    _ = bench.pipeline  # checked before the trials, which take long
    note_if_uncalibrated(bench.checkpoint, bench.detector, {True})
    sources = sources_of(arguments.mm, arguments.degrees)
    settings = {**asdict(bench), "sha256": sha256_of(place_of(bench.checkpoint)), "data_version": DATA_VERSION}
    claim_folder(arguments.out, {**settings, "sources": [asdict(source) for source in sources]})
    rows = run_trials(arguments.out, bench, arguments.trials, noisy, sources, arguments.workers)
    summaries = [summary(rows, source) for source in sources]
    write_file(arguments.out / "trials.csv", csv_of(rows))
    write_json(arguments.out / "results.json", {**settings, "sources": summaries}, indent=1)
    write_file(arguments.out / "curves.png", curves_of(summaries))
    write_file(arguments.out / "stacking.gif", film(bench, arguments.film))
    print(table_of(summaries))


def _begin(bench: Bench) -> None:
    global _bench
    _bench = bench


def _rows(index: int, sources: list[Source]) -> list[Row]:
    assert _bench is not None
    return _bench.rows(index, sources)


if __name__ == "__main__":
    try:
        main()
    except SimgenError as error:
        print(f"stack_blocks: error: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        print("stack_blocks: interrupted; the same command resumes it", file=sys.stderr)
        sys.exit(INTERRUPTED)
