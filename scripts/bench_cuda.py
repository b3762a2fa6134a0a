"""Measures raycast on a CUDA device: images/s rendered, with the sensor model, and with labels, for several chunks; memory.

    python scripts/bench_cuda.py [--batch 512] [--size 224x224] [--seconds 20] [--eager]

Sampling runs on the host in its own thread, as it does during training. "labelled" includes depth, slots, amodal masks and
visible fractions on the device. Without a CUDA device, it prints a message and measures nothing.
"""

import argparse
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import torch

from simgen.config import compose
from simgen.pipeline import make_pipeline
from simgen.render import Frames
from simgen.render.raycast import RaycastRenderer
from simgen.scene import Scenes
from simgen.schema import Raycast, Render
from simgen.sensor import sense


def fractions(frames: Frames) -> torch.Tensor:
    """(B, N) the visible share of each block's silhouette within the picture."""
    assert frames.amodal is not None
    slots = torch.arange(frames.amodal.shape[1], device=frames.slot.device)
    visible = (frames.slot[:, None] == slots[:, None, None]).sum((2, 3))
    return visible / frames.amodal.sum((2, 3)).clamp_min(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--size", default="224x224")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--chunks", type=int, nargs="+", default=[1 << 20, 1 << 22, 1 << 24])
    parser.add_argument("--eager", action="store_true", help="without torch.compile")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("no CUDA device: not measured")
        return
    width, height = arguments.size.split("x")
    pipeline = make_pipeline(compose("render", Render, ["physics=place", f"width={width}", f"height={height}"]))
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, batch {arguments.batch}, {arguments.size}")

    def draw(number: int) -> Scenes:
        return pipeline.sampler.sample(0, range(number * arguments.batch, (number + 1) * arguments.batch))

    for chunk in arguments.chunks:
        settings = Raycast(device="cuda", chunk=chunk, compile=not arguments.eager)
        renderer = RaycastRenderer(pipeline.world, pipeline.images, settings)
        spent: dict[str, list[float]] = {
            name: [] for name in ("wait for scenes", "render", "sense", "sense, no JPEG", "label")
        }
        torch.cuda.reset_peak_memory_stats()
        with ThreadPoolExecutor(1) as pool:
            ahead = pool.submit(draw, 0)
            begin, number = 0.0, 0
            while number < 4 or time.perf_counter() - begin < arguments.seconds:
                if number == 3:  # the first ones are warm-up
                    spent = {name: [] for name in spent}
                    begin = time.perf_counter()
                times = [time.perf_counter()]
                scenes = ahead.result()
                ahead = pool.submit(draw, number + 1)
                times.append(time.perf_counter())
                frames = renderer.render(scenes)
                torch.cuda.synchronize()
                times.append(time.perf_counter())
                sense(frames.rgb, scenes.sensor)
                torch.cuda.synchronize()
                times.append(time.perf_counter())
                plain = replace(scenes.sensor, jpeg_quality=np.zeros_like(scenes.sensor.jpeg_quality))
                sense(frames.rgb, plain)
                torch.cuda.synchronize()
                times.append(time.perf_counter())
                fractions(frames)
                torch.cuda.synchronize()
                times.append(time.perf_counter())
                for name, start, end in zip(spent, times, times[1:], strict=False):
                    spent[name].append(end - start)
                number += 1
        print(f"chunk {chunk} rays: at most {torch.cuda.max_memory_allocated() / 1e9:.2f} GB")
        for name, values in spent.items():
            each = statistics.median(values) / arguments.batch * 1e6
            print(f"  {name:16} {each:8.1f} us an image ({min(values) / arguments.batch * 1e6:.1f} at best)")
        for name, left_out in (("with JPEG", "sense, no JPEG"), ("without JPEG", "sense")):
            total = sum(statistics.median(values) for stage, values in spent.items() if stage != left_out)
            print(f"  {name}: {arguments.batch / total:.0f} images/s")


if __name__ == "__main__":
    main()
