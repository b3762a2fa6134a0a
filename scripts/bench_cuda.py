"""Checks and measures raycast on a CUDA device: agreement with the CPU, images/s by stage, memory.

    python scripts/bench_cuda.py [--batches 128 512 2048] [--size 224x224] [--seconds 20]

First 16 pictures are drawn on both devices: displayed values must agree within 2 of 255 away from edges. Sampling runs on
the host in a thread of its own, as it does during training. "label" makes the visible share of each block on the device from
slots and amodal masks. Without a CUDA device, it prints a message and measures nothing.
"""

import argparse
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import warp as wp

from simgen.config import compose
from simgen.pipeline import Pipeline, make_pipeline
from simgen.render import Frames, make_renderer
from simgen.scene import Scenes
from simgen.schema import Raycast, Render
from simgen.sensor import sense
from simgen.textures.color import encode

STAGES = ("wait for scenes", "render", "sense", "label")
KERNELS = "of which kernels"


def fractions(frames: Frames) -> torch.Tensor:
    """(B, N) the visible share of each block's silhouette within the picture."""
    slots = torch.arange(frames.amodal.shape[1], device=frames.slot.device)
    visible = (frames.slot[:, None] == slots[:, None, None]).sum((2, 3))
    return visible / frames.amodal.sum((2, 3)).clamp_min(1)


def check(pipeline: Pipeline) -> None:
    """Prints how far the CUDA device's pictures are from the CPU's."""
    scenes = pipeline.sampler.sample(0, range(16))
    here, there = (
        make_renderer("raycast", pipeline.world, pipeline.images, Raycast(device=device)).render(scenes).cpu()
        for device in ("cpu", "cuda")
    )
    shown = [np.asarray(encode(frames.rgb.clip(0, 1))) * 255 for frames in (here, there)]
    off = np.abs(shown[0] - shown[1]).max(-1)
    print(
        f"CPU against CUDA, 16 pictures: {np.mean(here.slot != there.slot):.2e} of the pixels show another block, "
        f"{np.mean(off > 2):.2e} differ by more than 2 of 255; median of the rest {np.median(off[off <= 2]):.3f}"
    )


def measure(pipeline: Pipeline, batch: int, seconds: float) -> None:
    def draw(number: int) -> Scenes:
        return pipeline.sampler.sample(0, range(number * batch, (number + 1) * batch))

    renderer = make_renderer("raycast", pipeline.world, pipeline.images, Raycast(device="cuda"))
    spent: dict[str, list[float]] = {name: [] for name in (*STAGES, KERNELS)}
    torch.cuda.reset_peak_memory_stats()
    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(draw, 0)
        begin, number = 0.0, 0
        while number < 4 or time.perf_counter() - begin < seconds:
            if number == 3:  # the first ones are warm-up
                spent = {name: [] for name in (*STAGES, KERNELS)}
                begin = time.perf_counter()
            times = [time.perf_counter()]
            scenes = ahead.result()
            ahead = pool.submit(draw, number + 1)
            times.append(time.perf_counter())
            wp.timing_begin(cuda_filter=wp.TIMING_KERNEL)
            frames = renderer.render(scenes)
            torch.cuda.synchronize()
            times.append(time.perf_counter())
            spent[KERNELS].append(sum(result.elapsed for result in wp.timing_end()) / 1000)
            sense(frames.rgb, scenes.sensor)
            torch.cuda.synchronize()
            times.append(time.perf_counter())
            fractions(frames)
            torch.cuda.synchronize()
            times.append(time.perf_counter())
            for name, start, end in zip(STAGES, times, times[1:], strict=False):
                spent[name].append(end - start)
            number += 1
    parts = ", ".join(f"{name} {statistics.median(values) / batch * 1e6:.1f} us" for name, values in spent.items())
    totals = [batch / sum(step) for step in zip(*(spent[name] for name in STAGES), strict=True)]
    free, whole = torch.cuda.mem_get_info()
    print(
        f"batch {batch}: {statistics.median(totals):.0f} ({min(totals):.0f}-{max(totals):.0f}) images/s; an image: {parts}; "
        f"{(whole - free) / 1e9:.1f} GB in use"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batches", type=int, nargs="+", default=[128, 512, 2048])
    parser.add_argument("--size", default="224x224")
    parser.add_argument("--seconds", type=float, default=20)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("no CUDA device: not measured")
        return
    width, height = arguments.size.split("x")
    pipeline = make_pipeline(compose("render", Render, ["physics=place", f"width={width}", f"height={height}"]))
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {arguments.size}")
    check(pipeline)
    for batch in arguments.batches:
        measure(pipeline, batch, arguments.seconds)


if __name__ == "__main__":
    main()
