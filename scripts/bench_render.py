"""Measures rendering: images/s by stage, the whole pipeline against the bare renderer, and memory over a long run.

    python scripts/bench_render.py [--renderers raycast tiny] [--sizes 224x224 640x480] [--workers 1 2]
    python scripts/bench_render.py --lights [--sizes 224x224 640x480]     8 blocks, 2 shadowed point lights, against others
    python scripts/bench_render.py --command [--repeats 3]                the command `render` as a user runs it
    python scripts/bench_render.py --soak 5000 [--renderers raycast tiny]
    python scripts/bench_render.py --merge 1000 10000 [--sizes 640x480]   time and memory to complete a dataset of so many

`--lights` compares raycast with `tiny`, which draws one of the lights, and with MuJoCo's renderer on EGL, if it is installed
(pip install 'simgen[bench]'; Debian: libegl1 libgl1-mesa-dri): 8 boxes, 2 shadowed lights, a checker on the table.
scripts/bench_cuda.py measures a GPU.

Every worker first makes `WARM_UP` samples that do not count. Rates are the median of `--repeats` runs with minimum and
maximum; runs of what is compared alternate, so that other load affects all. Run it on an idle machine.
"""

import argparse
import importlib.util
import json
import multiprocessing
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil

from simgen.config import compose
from simgen.dataset.write import Sample, place_of, record_name, write_samples
from simgen.errors import RenderError
from simgen.files import write_json
from simgen.labels import labels_of
from simgen.pipeline import CHUNK, Pipeline, make_pipeline
from simgen.render import Renderer, make_renderer
from simgen.scene import take
from simgen.schema import Render
from simgen.sensor import sense
from simgen.storage import Storage, open_storage

WARM_UP = 8
STAGES = ("sample", "render", "sensor", "labels", "write")

# A fixed load to compare renderers: the surfaces and cameras of the preset, without its clutter. tiny draws one light.
LIGHTS = [
    "randomize.blocks.count=6",
    "randomize.distractors.count=2",
    "randomize.clutter.count=0",
    "randomize.light.count=2",
    "randomize.light.kind=point",
    "randomize.light.shadow=1",
    "randomize.camera.distortion=[0,0,0,0,0]",
    "randomize.ambient.reflection=0",
    *(f"randomize.{name}.texture=checker" for name in ("blocks.material", "distractors.material", "table", "floor")),
    *(f"randomize.{name}.grime=0" for name in ("blocks.material", "distractors.material", "table", "floor", "wall")),
]

_state: tuple[Pipeline, Renderer, Storage] | None = None


def start(overrides: list[str], out: str) -> None:
    global _state
    cv2.setNumThreads(1)
    pipeline = make_pipeline(compose("render", Render, overrides))
    source = pipeline.source
    renderer = make_renderer(source.renderer, pipeline.world, pipeline.images, source.raycast, threads=1)
    _state = pipeline, renderer, open_storage(out)
    bare(range(WARM_UP))
    if out:
        whole(range(WARM_UP))


def bare(index: range) -> tuple[float, float]:
    """The times at which rendering of the scenes `index` began and ended; sampling is not included."""
    assert _state is not None
    pipeline, renderer, _ = _state
    scenes = pipeline.sampler.sample(0, index)
    begin = time.perf_counter()
    for row in range(0, len(scenes), renderer.batch):
        renderer.render(take(scenes, slice(row, row + renderer.batch)))
    return begin, time.perf_counter()


def whole(index: range) -> tuple[float, float]:
    """The times at which the whole pipeline for the samples `index`, from sampling to files, began and ended."""
    assert _state is not None
    pipeline, renderer, out = _state
    begin = time.perf_counter()
    for k in range(0, len(index), CHUNK):
        write_samples(out, pipeline.samples(renderer, index[k : k + CHUNK]), "jpg")
    return begin, time.perf_counter()


def stages(index: range) -> dict[str, float]:
    """Seconds spent in each stage for the samples `index`."""
    assert _state is not None
    pipeline, renderer, out = _state
    spent = dict.fromkeys(STAGES, 0.0)

    def timed(stage: str, call):  # type: ignore[no-untyped-def]
        begin = time.perf_counter()
        result = call()
        spent[stage] += time.perf_counter() - begin
        return result

    for k in range(0, len(index), CHUNK):
        scenes = timed("sample", lambda k=k: pipeline.sampler.sample(0, index[k : k + CHUNK]))
        for row in range(0, len(scenes), renderer.batch):
            part = take(scenes, slice(row, row + renderer.batch))
            frames = timed("render", lambda part=part: renderer.render(part))
            rgb = timed("sensor", lambda f=frames, s=part: sense(f.rgb, s.sensor))
            labels = timed("labels", lambda f=frames, s=part: labels_of(s, f, pipeline.world))
            for k in range(len(part)):
                sample = Sample(take(part, [k]), rgb[k], frames.depth[k], labels[k])
                timed("write", lambda sample=sample: write_samples(out, [sample], "jpg"))
    return spent


def rate(pool: ProcessPoolExecutor, call, workers: int, number: int) -> float:  # type: ignore[no-untyped-def]
    """Images/s of `workers` processes that make `number` images each at the same time."""
    futures = [pool.submit(call, range(1000 * w, 1000 * w + number)) for w in range(workers)]
    spans = [future.result() for future in futures]
    return workers * number / (max(end for _, end in spans) - min(begin for begin, _ in spans))


def overrides_of(renderer: str, size: str) -> list[str]:
    width, height = size.split("x")
    return [f"renderer={renderer}", "physics=place", f"width={width}", f"height={height}"]


_mujoco: Callable[[], Any] | None = None


def start_mujoco(size: str, _: str) -> None:
    """Prepares MuJoCo's renderer with a scene like LIGHTS."""
    global _mujoco
    os.environ["MUJOCO_GL"] = "egl"
    import mujoco

    rng = np.random.default_rng(0)
    boxes = "".join(
        f'<body pos="{rng.uniform(-0.4, 0.4):.3f} {rng.uniform(-0.3, 0.3):.3f} 0.03" euler="0 0 {rng.uniform(0, 360):.0f}">'
        f'<geom type="box" size=".025 .03 .03" rgba="{rng.uniform():.2f} {rng.uniform():.2f} {rng.uniform():.2f} 1"/></body>'
        for _ in range(8)
    )
    width, height = map(int, size.split("x"))
    model = mujoco.MjModel.from_xml_string(
        f'''<mujoco><visual><global offwidth="{width}" offheight="{height}"/><quality shadowsize="1024"/></visual>
        <asset><texture name="t" type="2d" builtin="checker" width="128" height="128" rgb1=".2 .3 .4" rgb2=".8 .7 .6"/>
        <material name="m" texture="t" texrepeat="8 8"/></asset><worldbody>
        <light pos="1 1 2" dir="-1 -1 -2" castshadow="true"/><light pos="-1 .5 2" dir="1 -.5 -2" castshadow="true"/>
        <geom type="box" size=".6 .4 .02" pos="0 0 -.02" material="m"/><geom type="plane" size="3 3 .1" pos="0 0 -.75"/>
        {boxes}<camera name="c" pos="0 -.8 .7" xyaxes="1 0 0 0 .65 .75" fovy="45"/></worldbody></mujoco>'''
    )
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    renderer = mujoco.Renderer(model, height, width)

    def draw() -> None:
        renderer.update_scene(data, "c")
        renderer.render()

    _mujoco = draw
    mujoco_bare(range(WARM_UP))


def mujoco_bare(index: range) -> tuple[float, float]:
    """The times at which MuJoCo began and ended to draw as many pictures as `index` has numbers."""
    assert _mujoco is not None
    begin = time.perf_counter()
    for _ in index:
        _mujoco()
    return begin, time.perf_counter()


def compare(size: str, workers: list[int], number: int, repeats: int) -> None:
    """Compares raycast with tiny and MuJoCo under the load LIGHTS; their runs alternate."""
    context = multiprocessing.get_context("spawn")
    for count in workers:
        pools = {
            name: (ProcessPoolExecutor(count, context, start, ([*overrides_of(name, size), *LIGHTS], "")), bare)
            for name in ("tiny", "raycast")
        }
        if importlib.util.find_spec("mujoco") is None:
            print("mujoco not measured: it is not installed")
        else:
            pools["mujoco"] = ProcessPoolExecutor(count, context, start_mujoco, (size, "")), mujoco_bare
        rates: dict[str, list[float]] = {name: [] for name in pools}
        for pool, draw in pools.values():
            rate(pool, draw, count, number)  # every worker has started
        for _ in range(repeats):
            for name, (pool, draw) in pools.items():
                rates[name].append(rate(pool, draw, count, number))
        for name, (pool, _) in pools.items():
            ratio = statistics.median(a / b for a, b in zip(rates["raycast"], rates[name], strict=True))
            print(
                f"{name:8} {size:8} {count} worker{'s' * (count > 1)}, 8 blocks, 2 lights: {spread(tuple(rates[name]))} "
                f"images/s; raycast is {ratio:.2f} times as fast",
                flush=True,
            )
            pool.shutdown()


def command(repeats: int) -> None:
    """Times `python -m simgen render` as a user runs it: one picture with an empty and with a filled cache of compiled
    kernels, and 200 pictures of the preset full with 2 workers."""
    for name, cached, number in (("first picture, empty cache", False, 1), ("first picture", True, 1), ("", True, 200)):
        seconds = []
        for _ in range(repeats):
            with tempfile.TemporaryDirectory(prefix="simgen-bench-") as folder:
                environment = {**os.environ, **({} if cached else {"WARP_CACHE_PATH": str(Path(folder) / "cache")})}
                options = [f"num={number}", f"out={folder}/set", "workers=2", "width=640", "height=480"]
                begin = time.perf_counter()
                subprocess.run(
                    [sys.executable, "-m", "simgen", "render", *options],
                    check=True,
                    capture_output=True,
                    env=environment,
                )
                seconds.append(time.perf_counter() - begin)
        if number == 1:
            print(f"{name}: {spread(tuple(seconds))} s")
        else:
            each = tuple(number / one for one in seconds)
            print(f"the whole command, full, 640x480, {number} images, 2 workers: {spread(each)} images/s")


def bench(renderer: str, size: str, workers: list[int], number: int, repeats: int) -> None:
    overrides = overrides_of(renderer, size)
    for count in workers:
        out = tempfile.mkdtemp(prefix="simgen-bench-")
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(count, context, start, (overrides, out)) as pool:
            rate(pool, bare, count, 2)  # every worker has started and is warmed up
            if count == 1:
                spent = pool.submit(stages, range(number)).result()
                total = sum(spent.values())
                parts = "  ".join(
                    f"{name} {1000 * spent[name] / number:.1f} ms ({spent[name] / total:.0%})" for name in STAGES
                )
                print(f"{renderer:5} {size:8} by stage: {parts}")
            pairs = [(rate(pool, bare, count, number), rate(pool, whole, count, number)) for _ in range(repeats)]
        shutil.rmtree(out)
        bares, wholes = zip(*pairs, strict=True)
        share = statistics.median(w / b for b, w in pairs)
        print(
            f"{renderer:5} {size:8} {count} worker{'s' * (count > 1)}: renderer alone {spread(bares)}  whole pipeline "
            f"{spread(wholes)} images/s  whole/bare {share:.0%}",
            flush=True,
        )


def spread(values: tuple[float, ...]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f}-{max(values):.1f})"


def soak(renderer: str, number: int) -> None:
    """Renders `number` samples of 160x120 px with the command and prints the memory growth of its processes."""
    out = Path(tempfile.mkdtemp(prefix="simgen-soak-")) / "set"
    options = ["num=" + str(number), "workers=2", "width=160", "height=120", f"renderer={renderer}", f"out={out}"]
    run = subprocess.Popen(
        [sys.executable, "-m", "simgen", "render", *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    done, megabytes = [], []
    begin = time.perf_counter()
    while run.poll() is None:
        time.sleep(0.5)
        try:
            family = [psutil.Process(run.pid), *psutil.Process(run.pid).children(recursive=True)]
            megabytes.append(sum(process.memory_info().rss for process in family) / 1e6)
            done.append(len(list(out.glob("train/*/sample/*.json"))))
        except psutil.NoSuchProcess:
            del megabytes[len(done) :]
    # The first thousand samples are start-up; the slope is measured on the rest.
    rest = [k for k, samples in enumerate(done) if 1000 <= samples < number]
    slope = np.polyfit([done[k] for k in rest], [megabytes[k] for k in rest], 1)[0] * 1000
    eighth = len(rest) // 8
    first, last = (statistics.median(megabytes[k] for k in part) for part in (rest[:eighth], rest[-eighth:]))
    print(
        f"{renderer:5} soak: {number} samples, 2 workers, {time.perf_counter() - begin:.0f} s, exit {run.returncode}; "
        f"all processes {first:.0f} MB after 1,000, {last:.0f} MB at the end, at most {max(megabytes):.0f} MB; slope "
        f"{slope:+.1f} MB per 1,000",
        flush=True,
    )
    shutil.rmtree(out.parent)


def merged(size: str, number: int) -> None:
    """Prints the bytes of a sample, and the CPU time and the memory of a process that completes a dataset of `number`
    samples: copies of `CHUNK` rendered ones."""
    width, height = size.split("x")
    out = Path(tempfile.mkdtemp(prefix="simgen-merge-")) / "set"
    options = [f"num={number}", f"out={out}", f"width={width}", f"height={height}", f"part=1/{-(-number // CHUNK)}"]
    call = [sys.executable, "-m", "simgen"]
    subprocess.run([*call, "render", *options], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    records = sorted(out.glob("train/000000/sample/*.json"))
    contents = [json.loads(record.read_bytes()) for record in records]
    bytes_each = sum((out / name).stat().st_size for content in contents for name in content["files"]) / len(records)
    names = [sorted(content["files"]) for content in contents]
    for index in range(len(records), number):
        content, (folder, image) = contents[index % len(records)], place_of(index)
        files = {}
        for name in names[index % len(records)]:
            kind, file = name.split("/")[-2:]
            copy = f"{folder}/{kind}/{image}{file[6:]}"
            (out / copy).parent.mkdir(parents=True, exist_ok=True)
            os.link(out / name, out / copy)
            files[copy] = content["files"][name]
        write_json(out / record_name(index), {**content, "files": files})
    for hashes in ("true", "false"):
        code = f"import runpy, sys; sys.argv = ['simgen', 'merge', {str(out)!r}, 'hashes={hashes}']; "
        code += "runpy.run_module('simgen', run_name='__main__')"
        begin = time.perf_counter()
        run = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(run.pid, 0)
        wall = time.perf_counter() - begin
        print(
            f"merge {size} {number} samples, hashes={hashes}: exit {os.waitstatus_to_exitcode(status)}, "
            f"{bytes_each / 1e3:.0f} kB and {sum(map(len, names)) / len(names) + 1:.1f} files a sample, record "
            f"{records[0].stat().st_size / 1e3:.0f} kB; a sample {1e3 * (usage.ru_utime + usage.ru_stime) / number:.2f} ms "
            f"of CPU, {1e3 * wall / number:.2f} ms in all; at most {usage.ru_maxrss / 1e3:.0f} MB; manifest "
            f"{(out / 'manifest.json').stat().st_size / number:.0f} bytes a sample",
            flush=True,
        )
        manifest = json.loads((out / "manifest.json").read_bytes())
        manifest.pop("files", None)
        write_json(out / "manifest.json", {**manifest, "status": "rendering"}, indent=1)
    shutil.rmtree(out.parent)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--renderers", nargs="+", default=["tiny", "raycast"])
    parser.add_argument("--sizes", nargs="+", default=["224x224", "640x480"])
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--number", type=int, default=64, help="images of each worker in one run")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--lights", action="store_true", help="compare renderers under one load instead")
    parser.add_argument("--command", action="store_true", help="time the command `render` instead")
    parser.add_argument("--soak", type=int, metavar="SAMPLES", help="measure memory over this many samples instead")
    parser.add_argument(
        "--merge", nargs="+", type=int, metavar="SAMPLES", help="measure completing such datasets instead"
    )
    arguments = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    if arguments.command:
        command(arguments.repeats)
        return
    if arguments.merge:
        for size in arguments.sizes:
            for number in arguments.merge:
                merged(size, number)
        return
    if arguments.lights:
        for size in arguments.sizes:
            compare(size, arguments.workers, arguments.number, arguments.repeats)
        return
    for renderer in arguments.renderers:
        try:
            if arguments.soak:
                soak(renderer, arguments.soak)
            else:
                for size in arguments.sizes:
                    bench(renderer, size, arguments.workers, arguments.number, arguments.repeats)
        except RenderError as error:
            print(f"{renderer:5} not measured: {error}")


if __name__ == "__main__":
    main()
