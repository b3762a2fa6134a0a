"""Measures `python -m simgen check`: pictures a second and core, by the processor's time.

    python scripts/bench_check.py                                        # 200 pictures of 640 x 480
    python scripts/bench_check.py --num 10000 --width 160 --height 120   # are there false alarms?

Renders a dataset of scene=tabletop randomize=full into a temporary folder, or takes that in `--dataset`, and checks it with
and without the hashes of its files. Prints what was found, which should be nothing; otherwise the exit status is 1.
"""

import argparse
import os
import resource
import sys
import tempfile
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read when numpy is imported, below

import cv2

from simgen.check.command import findings_of
from simgen.check.schema import CheckConfig
from simgen.config import compose
from simgen.dataset.layout import images_of, scenes_of, splits_of
from simgen.schema import Render
from simgen.workers import render


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--num", type=int, default=200, help="pictures")
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--workers", type=int, default=2, help="processes that render")
    parser.add_argument("--dataset", type=Path, help="a dataset that exists")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = arguments.dataset or Path(folder) / "set"
        if arguments.dataset is None:
            size = [f"{name}={getattr(arguments, name)}" for name in ("num", "width", "height", "workers")]
            render(compose("render", Render, [f"out={root}", *size]))
        scenes = [scene for split in splits_of(root) for scene in scenes_of(root / split).values()]
        count = sum(len(images_of(scene)) for scene in scenes)
        found = []
        for hashes in (True, False):
            begin = resource.getrusage(resource.RUSAGE_SELF).ru_utime
            found = findings_of(CheckConfig(dataset=str(root), hashes=hashes))
            spent = resource.getrusage(resource.RUSAGE_SELF).ru_utime - begin
            print(f"hashes={str(hashes).lower():5} {count} pictures, {count / spent:.0f} a second and core", flush=True)
    for one in found[:20]:
        print(one.line)
    print(f"{len(found)} findings")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
