"""Printed tags against the detector: the share of cubes whose pose is right, as one factor grows.

    python scripts/bench_tags.py [--num 40] [--out docs/tags.png] [--checkpoint shipped]

The same scenes are drawn twice: the cube wears random colors and textures, as `randomize=full` has it, for the detector; or
it is white with a tag on each side, for OpenCV's detector of tags (ArUco 4x4 and AprilTag 36h11; each side has its own
number, the tag covers three quarters of it). All else is the same: camera, light, background, blur, noise. Both know the
camera and the table's plane: of a single tag's two possible poses the one that stands on the table is taken. Right is ADD-S
under a tenth of the diameter.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from simgen.board.value import marker_cells
from simgen.command.progress import Progress
from simgen.config import compose
from simgen.drawings import png_bytes
from simgen.files import write_file
from simgen.geometry import Array, inverse, rigid
from simgen.pipeline import Pipeline, make_pipeline
from simgen.render import Renderer, make_renderer, to_numpy
from simgen.scene import Scenes, take
from simgen.schema import Render
from simgen.sensor import sense
from train.blocks.kinds import Kind
from train.detect.calibration import RIGHT
from train.detect.detector import Detector, load_detector
from train.evaluate.factors import wilson
from train.metrics import adds
from train.pose.view import View, table_of

BASE = (
    "scene=tabletop", "randomize=full", "physics=place", "randomize.walls=0", "randomize.blocks.count=1",
    "randomize.blocks.model=cube", "randomize.blocks.place=[uniform,[-0.08,-0.08],[0.08,0.08]]",
    "randomize.distractors.count=0", "randomize.clutter.count=0", "randomize.camera.aim=[0,0,0.02]",
    "randomize.camera.distance=0.8", "randomize.camera.elevation_deg=45", "randomize.camera.fov_deg=45",
    "randomize.camera.distortion=[0,0,0,0,0]", "randomize.sensor.defocus_px=0.5", "randomize.sensor.motion_px=0",
    "randomize.sensor.exposure=0", "randomize.sensor.shot_noise=2", "randomize.sensor.read_noise=1",
)  # fmt: skip
# Of each factor: its name on the plot, the key that it sets (None: a part of the cube is covered), and its values.
FACTORS: dict[str, tuple[str, str | None, Sequence[float]]] = {
    "distance": ("distance [m]", "randomize.camera.distance", (0.4, 0.8, 1.2, 1.6, 2.4)),
    "blur": ("radius of the defocus [px]", "randomize.sensor.defocus_px", (0, 1, 2, 3, 5)),
    "light": ("exposure [stops]", "randomize.sensor.exposure", (-6, -4, -2, 0, 2)),
    "occlusion": ("share of the cube that is covered", None, (0, 0.2, 0.4, 0.6, 0.8)),
    "angle": ("angle above the table [degrees]", "randomize.camera.elevation_deg", (10, 20, 40, 60, 85)),
}
TAGS = {"ArUco 4x4": cv2.aruco.DICT_4X4_50, "AprilTag 36h11": cv2.aruco.DICT_APRILTAG_36h11}
OURS = "detector"
SEED = 31
FINER = 2  # rays along each side of a pixel
COVERS = 0.75  # of a side of the cube: a tag
TOGETHER = 4  # scenes that are drawn at once
# Of each side its normal, and the directions along which its tag is read.
SIDES = tuple(
    (sign * np.eye(3)[axis], np.eye(3)[(axis + 1) % 3], sign * np.eye(3)[(axis + 2) % 3])
    for axis in range(3)
    for sign in (1.0, -1.0)
)


@dataclass(frozen=True)
class Case:
    """Pictures of one scene by what its cube wears, and the truth."""

    pictures: dict[str, NDArray[np.uint8]]
    view: View
    camera_from_block: Array
    kind: Kind


def reflectance(points: Array, half: float, dictionary: int) -> Array:
    """(N,) how much light a cube with a tag on each side reflects at `points` (N, 3) m of its surface, 0 to 1."""
    side = np.stack([points @ normal for normal, _, _ in SIDES], 1).argmax(1)
    result = np.ones(len(points))
    for number, (_, right, up) in enumerate(SIDES):
        rows = np.flatnonzero(side == number)
        cells = marker_cells(cv2.aruco.getPredefinedDictionary(dictionary), number)
        across = (points[rows] @ right / (half * COVERS) + 1) / 2 * len(cells)
        down = (1 - points[rows] @ up / (half * COVERS)) / 2 * len(cells)
        inside = (across >= 0) & (across < len(cells)) & (down >= 0) & (down < len(cells))
        white = cells[down[inside].astype(int), across[inside].astype(int)]
        result[rows[inside]] = np.where(white, 1.0, 0.03)
    return result


def tag_pose(picture: NDArray[np.uint8], case: Case, dictionary: int) -> Array | None:
    """camera_from_block (4, 4) of the cube from the tags that OpenCV finds on it; None if it finds none."""
    parameters = cv2.aruco.DetectorParameters()
    parameters.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
    found = cv2.aruco.ArucoDetector(cv2.aruco.getPredefinedDictionary(dictionary), parameters)
    gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    larger = cv2.resize(gray, (2 * gray.shape[1], 2 * gray.shape[0]), interpolation=cv2.INTER_CUBIC)  # finds small ones
    corners, numbers, _ = found.detectMarkers(larger)
    seen = [
        (int(number), (np.reshape(corner, (4, 2)).astype(np.float64) + 0.5) / 2 - 0.5)
        for number, corner in zip([] if numbers is None else np.ravel(numbers), corners, strict=True)
        if number < len(SIDES)
    ]
    if not seen:
        return None
    half = case.kind.size[0] / 2
    points, pixels = [], []
    for number, at in seen:
        normal, right, up = SIDES[number]
        for x, y in ((-1, 1), (1, 1), (1, -1), (-1, -1)):
            points.append(half * (normal + COVERS * (x * right + y * up)))
        pixels.append(at)
    object_points, image_points = np.array(points), np.concatenate(pixels)
    matrix, lens = case.view.intrinsics, np.zeros(5)
    method = cv2.SOLVEPNP_IPPE if len(seen) == 1 else cv2.SOLVEPNP_SQPNP
    if len(seen) == 1:  # IPPE wants the plane z = 0
        normal, right, up = SIDES[seen[0][0]]
        side = rigid(np.stack([right, up, normal], 1), half * normal)
        local = (object_points - side[:3, 3]) @ side[:3, :3]
        _, turns, shifts, _ = cv2.solvePnPGeneric(local, image_points, matrix, lens, flags=method)
    else:
        side = np.eye(4)
        _, turns, shifts, _ = cv2.solvePnPGeneric(object_points, image_points, matrix, lens, flags=method)
    poses = [
        rigid(np.asarray(cv2.Rodrigues(turn)[0], dtype=np.float64), np.ravel(shift)) @ inverse(side)
        for turn, shift in zip(turns, shifts, strict=True)
    ]
    assert case.view.camera_from_table is not None
    vertical = case.view.camera_from_table[:3, 2]
    # A cube on the table has an axis that is vertical.
    return max(poses, key=lambda pose: float(np.abs(pose[:3, :3].T @ vertical).max()))


def own_pose(detector: Detector, case: Case) -> Array | None:
    """camera_from_block (4, 4) of the detector's most confident cube."""
    seen = detector.look([case.pictures[OURS]], [case.view])[0].detections
    cubes = [one for one in seen if one.kind.name == "cube"]
    return max(cubes, key=lambda one: one.confidence).pose.camera_from_block if cubes else None


def is_right(pose: Array | None, case: Case) -> bool:
    if pose is None:
        return False
    truth = case.kind.facing(case.camera_from_block, pose)
    return bool(adds(pose, truth, case.kind.surface) < RIGHT * case.kind.diameter)


def cases_of(pipeline: Pipeline, renderer: Renderer, index: range, covered: float) -> list[Case]:
    """The scenes number `index`, with the share `covered` of each cube behind a gray bar."""
    scenes = pipeline.sampler.sample(SEED, index)
    finer = replace(scenes, cameras=_larger(scenes.cameras))
    plain = finer.blocks.material
    white = replace(
        plain, texture=np.zeros_like(plain.texture), color=np.full_like(plain.color, 0.92), grime=0 * plain.grime,
        wear=0 * plain.wear, edge=0 * plain.edge, metalness=0 * plain.metalness,
    )  # fmt: skip
    frames = renderer.render(finer).cpu()
    bare = renderer.render(replace(finer, blocks=replace(finer.blocks, material=white))).cpu()
    slots, depth = (to_numpy(part) for part in (frames.slot, frames.depth))
    cases = []
    for row in range(len(scenes.index)):
        scene: Scenes = take(scenes, [row])
        slot = int(np.flatnonzero(scenes.blocks.present[row] & scenes.blocks.labelled[row])[0])
        solid = pipeline.world.solids[scenes.blocks.model[row, slot]]
        camera_from_world = inverse(scenes.cameras.world_from_camera[row])
        pose = camera_from_world @ scenes.blocks.world_from_block[row, slot]
        mask = slots[row] == slot
        v, u = np.nonzero(mask)
        rays = np.stack([u, v, np.ones(len(u))], 1) @ np.linalg.inv(finer.cameras.intrinsics[row]).T
        points = (rays * depth[row][mask][:, None] - pose[:3, 3]) @ pose[:3, :3]
        lights = {OURS: np.array(to_numpy(frames.rgb)[row])}
        for name, dictionary in TAGS.items():
            lights[name] = np.array(to_numpy(bare.rgb)[row])
            lights[name][mask] *= reflectance(points, float(solid.size[0]) / 2, dictionary)[:, None].astype(np.float32)
        if covered:
            hidden = _bar(mask, covered, int(scenes.index[row]))
            for light in lights.values():
                light[hidden] = 0.2
        pictures = {name: sense(_smaller(light)[None], scene.sensor)[0] for name, light in lights.items()}
        table = pipeline.world.table
        view = View(
            scenes.cameras.intrinsics[row], scenes.cameras.distortion[row], camera_from_world,
            table_of(table.center[:2], table.size[:2]),
        )  # fmt: skip
        cases.append(Case(pictures, view, pose, Kind.of(solid)))
    return cases


def _larger(cameras: Any) -> Any:
    """`cameras` with FINER times the pixels along each side."""
    matrix = cameras.intrinsics.copy()
    matrix[:, :2] *= FINER
    matrix[:, :2, 2] += (FINER - 1) / 2
    return replace(cameras, intrinsics=matrix, width=FINER * cameras.width, height=FINER * cameras.height)


def _smaller(light: NDArray[np.float32]) -> NDArray[np.float32]:
    height, width = (n // FINER for n in light.shape[:2])
    return light.reshape(height, FINER, width, FINER, 3).mean((1, 3))


def _bar(mask: NDArray[np.bool_], share: float, seed: int) -> NDArray[np.bool_]:
    """A bar about as wide as what it covers, from a random direction: the `share` of the pixels of `mask`."""
    angle = np.random.default_rng(seed).uniform(0, 2 * np.pi)
    rows, columns = np.indices(mask.shape)
    place = columns * np.cos(angle) + rows * np.sin(angle)
    low, high = place[mask].min(), place[mask].max()
    return np.asarray((place <= np.quantile(place[mask], share)) & (place > low - 0.5 * (high - low)))


def measure(detector: Detector, num: int, look: Path | None) -> dict[str, Any]:
    """The number of right poses of `num` by factor, its value and method. The folder `look` gets the pictures of the first
    scene of each value."""
    results: dict[str, Any] = {}
    total = sum(len(values) for _, _, values in FACTORS.values()) * num
    with Progress("measured", total, "scenes") as progress:
        for factor, (_, key, values) in FACTORS.items():
            results[factor] = []
            for value in values:
                words = list(BASE) if key is None else [*BASE, f"{key}={value}"]
                pipeline = make_pipeline(compose("render", Render, words))
                renderer = make_renderer("raycast", pipeline.world, pipeline.images, pipeline.source.raycast)
                counts = dict.fromkeys([OURS, *TAGS], 0)
                for start in range(0, num, TOGETHER):
                    index = range(start, min(start + TOGETHER, num))
                    cases = cases_of(pipeline, renderer, index, value if key is None else 0.0)
                    if look is not None and start == 0:
                        write_file(
                            look / f"{factor}_{value}.png", png_bytes(np.hstack(list(cases[0].pictures.values())))
                        )
                    for case in cases:
                        counts[OURS] += is_right(own_pose(detector, case), case)
                        for name, dictionary in TAGS.items():
                            counts[name] += is_right(tag_pose(case.pictures[name], case, dictionary), case)
                        progress.update()
                renderer.close()
                results[factor].append({"value": value, "scenes": num, "right": counts})
    return results


def draw(results: dict[str, Any], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * len(results), 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (factor, rows) in zip(
        np.ravel(figure.subplots(1, len(results), sharey=True)), results.items(), strict=True
    ):
        values = [row["value"] for row in rows]
        for name in (OURS, *TAGS):
            shares = [row["right"][name] / row["scenes"] for row in rows]
            bounds = np.array([wilson(row["right"][name], row["scenes"]) for row in rows])
            axes.plot(values, shares, "o-", label=name)
            axes.fill_between(values, *bounds.T, alpha=0.15)
        axes.set(xlabel=FACTORS[factor][0], ylim=(-0.03, 1.03))
        axes.grid(alpha=0.3)
    np.ravel(figure.axes)[0].set_ylabel("share of right poses")
    figure.axes[-1].legend(loc="lower right")
    figure.savefig(path, dpi=80)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num", type=int, default=40, help="scenes for each value")
    parser.add_argument("--out", type=Path, default=Path("docs/tags.png"), help="the plot; beside it a .json")
    parser.add_argument("--checkpoint", default="shipped")
    parser.add_argument("--look", type=Path, help="folder for the pictures of the first scene of each value")
    given = parser.parse_args()
    given.out.parent.mkdir(parents=True, exist_ok=True)
    results = measure(load_detector(given.checkpoint), given.num, given.look)
    given.out.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
    draw(results, given.out)
    for factor, rows in results.items():
        print(f"{FACTORS[factor][0]}")
        for row in rows:
            shares = "  ".join(f"{name} {100 * count / row['scenes']:3.0f}%" for name, count in row["right"].items())
            print(f"  {row['value']:>5}  {shares}")


if __name__ == "__main__":
    main()
