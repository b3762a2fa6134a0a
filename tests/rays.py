"""Scenes for tests of the ray caster, and their frames."""

from dataclasses import replace

import numpy as np
from builders import sampler_of

from simgen.geometry import look_at
from simgen.render import Frames, make_renderer
from simgen.scene import LIGHTS, Ambient, Lights, Scenes, take
from simgen.schema import Raycast

PINHOLE = "randomize.camera.distortion=[0,0,0,0,0]"
BARE = ("randomize=none", "randomize.blocks.count=0", "randomize.table.color=[1,1,1]", "randomize.table.specular=0")


def lights(*items: dict[str, object], batch: int = 1) -> Lights:
    """Lights with shadow and intensity 1 by default."""
    common = {
        "present": True,
        "kind": "directional",
        "direction": [0, 0, 1],
        "distance": 1.0,
        "size": 0.0,
        "color": [1, 1, 1],
        "intensity": 1.0,
        "specular": 1.0,
        "shadow": True,
    }
    rows = [{**common, **item} for item in items]
    values = {name: np.array([[row[name] for row in rows]] * batch) for name in common if name != "kind"}
    values["direction"] = values["direction"] / np.linalg.norm(values["direction"], axis=-1, keepdims=True)
    return Lights(kind=np.array([[LIGHTS.index(str(row["kind"])) for row in rows]] * batch), **values)


def around(intensity: float, sky: object = (1, 1, 1), ground: object = (1, 1, 1), occlusion: float = 0.0) -> Ambient:
    values = (intensity, sky, ground, (0, 0, 1), 0, occlusion)
    return Ambient(*(np.array([value], dtype=float) for value in values))


def drawn(scenes: Scenes, *, threads: int = 1, **settings: object) -> Frames:
    _, world = sampler_of()
    renderer = make_renderer("raycast", world, None, Raycast(**settings), threads=threads)  # type: ignore[arg-type]
    return renderer.render(scenes).cpu()


def scene_of(*overrides: str, **parts: object) -> Scenes:
    sampler, _ = sampler_of(*overrides)
    return replace(sampler.sample(0, [0]), **parts)


def overhead(scenes: Scenes, height: float = 1.0, at: tuple[float, float] = (0.0, 0.0)) -> Scenes:
    """The scenes seen straight from above `at`."""
    pose = look_at(np.array([*at, height]), np.array([*at, 0.0]))
    return replace(scenes, cameras=replace(scenes.cameras, world_from_camera=np.repeat(pose[None], len(scenes), 0)))


def on_table(scenes: Scenes) -> np.ndarray:
    """World X and Y (H, W, 2) of the table's points that the pixels of an overhead camera see."""
    cameras = scenes.cameras
    v, u = np.mgrid[: cameras.height, : cameras.width]
    k, pose = cameras.intrinsics[0], cameras.world_from_camera[0]
    rays = np.stack([(u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1], np.ones(u.shape)], -1) @ pose[:3, :3].T
    return (pose[:3, 3] - rays * (pose[2, 3] / rays[..., 2:]))[..., :2]


def same(a: Frames, b: Frames) -> bool:
    return all(np.array_equal(getattr(a, part), getattr(b, part)) for part in ("rgb", "depth", "slot", "amodal"))


def normals_of(scenes: Scenes) -> np.ndarray:
    """(B, H, W, 3): the normals of white matte surfaces, which under ambient light from one axis alone show 0.5 + 0.5 n."""
    frames = []
    for axis in np.eye(3):
        one = replace(around(1.0, ground=(0, 0, 0)), direction=axis[None])
        ambient = take(one, [0] * len(scenes))
        dark = lights({"intensity": 0.0}, batch=len(scenes))
        frames.append(2 * drawn(replace(scenes, lights=dark, ambient=ambient)).rgb[..., 0] - 1)
    return np.stack(frames, -1)
