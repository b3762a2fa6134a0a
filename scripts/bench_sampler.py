"""Measures sampling: microseconds a scene, in one thread.

    python scripts/bench_sampler.py [--batch 1024] [--repeats 15]

Prints the median of `--repeats` runs with minimum and maximum. Run it on an idle machine.
"""

import argparse
import os
import statistics
import time

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read when numpy is imported, below

from simgen.catalogue import load_world
from simgen.config import compose
from simgen.randomize import make_sampler
from simgen.schema import Render

SETTINGS = (
    ["scene=tabletop", "randomize=full"],
    ["scene=tabletop", "randomize=tobin2017"],
    ["scene=kuka_table", "randomize=full"],
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch", type=int, default=1024, help="scenes in one call")
    parser.add_argument("--repeats", type=int, default=15)
    arguments = parser.parse_args()
    for overrides in SETTINGS:
        config = compose("render", Render, overrides)
        sampler = make_sampler(config.randomize, load_world(config.scene))
        sampler.sample(0, range(arguments.batch))  # the first call also prepares the solids
        spent = []
        for _ in range(arguments.repeats):
            begin = time.perf_counter()
            sampler.sample(0, range(arguments.batch))
            spent.append((time.perf_counter() - begin) / arguments.batch * 1e6)
        middle = statistics.median(spent)
        print(f"{' '.join(overrides):37} {middle:.1f} ({min(spent):.1f}-{max(spent):.1f}) us a scene", flush=True)


if __name__ == "__main__":
    main()
