"""Measures shards: samples to tensors in a second of one core, and the memory that writing takes.

    python scripts/bench_shards.py [--samples 200] [--few 1000] [--many 10000]

Renders a dataset of 640 x 480 px, writes it as shards of JPEG pictures, and reads each sample's picture and labels as
tensors, in batches of random order as training does and one after the other. Memory is that of a process which writes
`--few` and one which writes `--many` samples of small pictures, without what the opened dataset itself takes; it must not
grow. Exits with 1 if a must is missed. Run it on an idle machine.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read when numpy is imported, below

import cv2
import numpy as np

from simgen.config import compose
from simgen.dataset.read import open_dataset
from simgen.dataset.scenes import SceneReader
from simgen.dataset.shards import Shards, StoredSample, open_shards
from simgen.formats.shards import write_shards
from simgen.schema import Render

RATE = 500  # samples a second of one core
GROWTH = 1.1  # times the memory
BATCH = 32


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samples", type=int, default=200, help="rendered samples to read")
    parser.add_argument("--few", type=int, default=1_000, help="samples of the first written dataset")
    parser.add_argument("--many", type=int, default=10_000, help="samples of the second written dataset")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--write", help=argparse.SUPPRESS)  # a dataset that this process writes, to measure its memory
    arguments = parser.parse_args()
    if arguments.write is not None:
        return _report_memory(Path(arguments.write))
    with tempfile.TemporaryDirectory() as folder:
        reached = [*_rates(Path(folder), arguments.samples, arguments.repeats)]
        reached.append(_memory(Path(folder), arguments.few, arguments.many))
    return int(not all(reached))


def _rates(folder: Path, samples: int, repeats: int) -> Iterable[bool]:
    import torch  # not at the top: it would hide the memory that writing takes

    from simgen.workers import render

    render(compose("render", Render, [f"num={samples}", "workers=2", f"out={folder / 'set'}"]))
    write_shards(open_dataset(folder / "set"), str(folder / "shards"))
    found = open_shards(str(folder / "shards"))
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    order = np.random.default_rng(0).permutation(samples)
    batches = [order[k : k + BATCH].tolist() for k in range(0, samples, BATCH)]
    for name, run in (
        ("random batches", lambda: _tensors(found, (one for rows in batches for one in found.read(rows)))),
        ("in order", lambda: _tensors(found, found)),
    ):
        best = max(samples / _seconds(run) for _ in range(repeats))
        print(
            f"shards to tensors, {name}: {best:.0f} samples/s a core, {best / RATE:.2f}x of {RATE} (must be at least 1x)",
            flush=True,
        )
        yield best >= RATE


def _tensors(found: Shards, samples: Iterable[StoredSample]) -> int:
    """Makes the tensors of `samples`; the number of their blocks."""
    import torch

    reader, blocks = found.reader, 0
    for sample in samples:
        picture = torch.from_numpy(sample.rgb()).permute(2, 0, 1)
        poses, boxes = _labels(sample, reader)
        assert picture.shape[0] == 3 and len(poses) == len(boxes)
        blocks += len(poses)
    return blocks


def _labels(sample: StoredSample, reader: SceneReader) -> tuple[Any, Any]:
    import torch

    instances = sample.picture(reader).instances
    poses = np.array([one.camera_from_block for one in instances]).reshape(-1, 4, 4)
    return torch.from_numpy(poses), torch.tensor([one.box_visible for one in instances])


def _seconds(run: Callable[[], Any]) -> float:
    begin = time.process_time()
    run()
    return time.process_time() - begin


def _memory(folder: Path, few: int, many: int) -> bool:
    sizes = []
    for count in (few, many):
        root = _small(folder / "set", folder / f"small{count}", count)
        command = [sys.executable, __file__, "--write", str(root)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        sizes.append(json.loads(done.stdout.splitlines()[-1]))
        shutil.rmtree(root)
    ratio = sizes[1]["writing"] / sizes[0]["writing"]
    print(
        f"peak memory while writing {many} samples: {sizes[1]['writing'] / 2**20:.0f} MB, {ratio:.3f}x of that for {few} "
        f"(must be at most {GROWTH}x); the opened datasets take {sizes[1]['opened'] / 2**20:.0f} and "
        f"{sizes[0]['opened'] / 2**20:.0f} MB more"
    )
    return bool(ratio <= GROWTH)


def _small(source: Path, root: Path, count: int) -> Path:
    """A dataset of `count` pictures of 64 x 48 px in scenes of 1000, with the labels of the first of `source`."""
    shutil.copytree(source / "models", root / "models")
    scene = source / "train" / "000000"
    contents = {name: json.loads((scene / name).read_text())["0"] for name in ("scene_camera.json", "scene_gt.json")}
    infos = json.loads((scene / "scene_gt_info.json").read_text())["0"]
    picture = cv2.imencode(".jpg", np.zeros((48, 64, 3), np.uint8))[1].tobytes()
    for first in range(0, count, 1000):
        numbers = [str(k) for k in range(min(1000, count - first))]
        folder = root / "train" / f"{first // 1000:06d}"
        (folder / "rgb").mkdir(parents=True)
        for name, content in (*contents.items(), ("scene_gt_info.json", infos)):
            (folder / name).write_text(json.dumps(dict.fromkeys(numbers, content)))
        for number in numbers:
            (folder / "rgb" / f"{int(number):06d}.jpg").write_bytes(picture)
    return root


def _report_memory(root: Path) -> int:
    """Writes the dataset `root` as shards and prints what it took, in bytes, beyond what the opened dataset takes."""
    before = _status("VmRSS")
    dataset = open_dataset(root)
    opened = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak is that from here on
    write_shards(dataset, str(root / "out"))
    print(json.dumps({"opened": opened - before, "writing": _status("VmHWM") - (opened - before)}))
    return 0


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])


if __name__ == "__main__":
    sys.exit(main())
