"""A BOP dataset of three pictures of a cube and a cone, whose models may have their origin elsewhere."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from simgen.dataset.write import bop_pose, write_models
from simgen.geometry import inverse, look_at, rigid, rotation_about
from simgen.shapes.solids import make_solid
from simgen.shapes.surface import POINTS

CAMERA, TRUTH = "train_pbr/000000/scene_camera.json", "train_pbr/000000/scene_gt.json"
MODELS = "models/models_info.json"
WIDTH, HEIGHT = 64, 48
K = np.array([[70.0, 0, 31.5], [0, 70.0, 23.5], [0, 0, 1]])
SOLIDS = [make_solid("cube", "cube", np.full(3, 0.05)), make_solid("cone", "cone", np.array([0.06, 0.06, 0.08]))]
CAMERA_FROM_WORLD = inverse(look_at(np.array([0.1, -0.4, 0.3]), np.array([0.0, 0.0, 0.0])))
PLACES = [
    [(0, -0.03, 0.01, 0.3), (1, 0.02, 0.03, 0.0)],
    [(1, -0.02, -0.05, 1.0)],
    [(0, 0.2, 0.0, 2.0), (0, 0.0, 0.0, 0.5)],
]
SHIFTS = np.array([[0.012, -0.03, 0.025], [0.0, 0.2, -0.041]])  # m: where the middle is in the model's own frame


def poses(number: int) -> list[tuple[int, np.ndarray]]:
    """Object and camera_from_block of each block in image `number`: all stand on z = 0."""
    return [
        (k, CAMERA_FROM_WORLD @ rigid(rotation_about(2, np.array(yaw)), np.array([x, y, SOLIDS[k].size[2] / 2])))
        for k, x, y, yaw in PLACES[number]
    ]


def write_foreign(root: Path, shifts: np.ndarray | None = None, world: np.ndarray = CAMERA_FROM_WORLD) -> Path:
    """A BOP dataset without manifest and scene_gt_info.json. With `shifts` each model's origin is elsewhere, and its poses
    and symmetries are as BOP wants them then."""
    scene = root / "train_pbr" / "000000"
    (scene / "rgb").mkdir(parents=True)
    write_models(root / "models", SOLIDS)
    shifts = np.zeros((2, 3)) if shifts is None else shifts
    edit(root / "models" / "models_info.json", lambda infos: [shifted(infos[str(k + 1)], shifts[k]) for k in range(2)])
    for k, shift in enumerate(shifts):
        path = root / "models" / f"obj_{k + 1:06d}.ply"
        lines = path.read_text().splitlines()
        first = lines.index("end_header") + 1
        for row in range(first, first + 3 * len(SOLIDS[k].mesh.normals) + POINTS):
            x, y, z, *normal = lines[row].split()
            moved = np.array([x, y, z], dtype=float) + 1000 * shift
            lines[row] = " ".join([*(f"{v:.6f}" for v in moved), *normal])
        path.write_text("\n".join(lines) + "\n")
    cameras, truths = {}, {}
    for number in range(len(PLACES)):
        image = np.random.default_rng(number).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        cv2.imwrite(str(scene / "rgb" / f"{number:06d}.png"), image)
        cameras[str(number)] = {"cam_K": K.ravel().tolist(), **bop_pose(world, "cam_R_w2c", "cam_t_w2c")}
        truths[str(number)] = [
            {"obj_id": k + 1, **bop_pose(pose @ rigid(np.eye(3), -shifts[k]), "cam_R_m2c", "cam_t_m2c")}
            for k, pose in poses(number)
        ]
    (scene / "scene_camera.json").write_text(json.dumps(cameras))
    (scene / "scene_gt.json").write_text(json.dumps(truths))
    return root


def shifted(info: dict[str, Any], shift: np.ndarray) -> None:
    """Moves the model's own frame: what it states is of another origin."""
    shift = 1000 * shift
    for axis, value in zip("xyz", shift, strict=True):
        info[f"min_{axis}"] += value
    info["keypoints"] = (np.array(info["keypoints"]) + shift).tolist()
    for values in info.get("symmetries_discrete", []):
        turn = np.reshape(values, (4, 4)).copy()
        turn[:3, 3] += shift - turn[:3, :3] @ shift
        values[:] = turn.ravel().tolist()
    for one in info.get("symmetries_continuous", []):
        one["offset"] = shift.tolist()


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    """Changes the content of a JSON file in place."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
