"""A BOP dataset small enough to write within a test: a bright square at the projection of a known position."""

import json
from pathlib import Path

import cv2
import numpy as np

from simgen.geometry import inverse, look_at, project, rigid, transform_points

WIDTH, HEIGHT, FOCAL = 64, 48, 60.0
INTRINSICS = np.array([[FOCAL, 0, (WIDTH - 1) / 2], [0, FOCAL, (HEIGHT - 1) / 2], [0, 0, 1]])
CAMERA_FROM_WORLD = inverse(look_at(np.array([0.0, -0.9, 0.9]), np.array([0.0, 0.0, 0.0])))


def write_dataset(
    root: Path,
    positions: np.ndarray,
    *,
    names: tuple[str, ...] = ("box",),
    objects: list[list[int]] | None = None,
    visible: list[float] | None = None,
    seed: int = 0,
    table: bool = True,
) -> Path:
    """Writes one picture for each of `positions` (N, 3) m and returns `root`.

    `objects` are the obj_ids at the position (one box by default), `visible` the visible fractions (1 by default).
    """
    rng = np.random.default_rng(seed)
    scene = root / "train" / "000000"
    (scene / "rgb").mkdir(parents=True)
    (root / "models").mkdir()
    sizes = {"diameter": 140.0, "size_x": 80.0, "size_y": 80.0, "size_z": 90.0}
    models = {str(i + 1): {"name": name, **sizes} for i, name in enumerate(names)}
    (root / "models" / "models_info.json").write_text(json.dumps(models))
    cameras, truths, infos = {}, {}, {}
    for i, position in enumerate(positions):
        ids = [1] if objects is None else objects[i]
        fraction = 1.0 if visible is None else visible[i]
        image = rng.integers(0, 90, (HEIGHT, WIDTH, 3)).astype(np.uint8)
        u, v = project(transform_points(CAMERA_FROM_WORLD, position[None]), INTRINSICS)[0]
        if ids and fraction > 0:
            corner, other = np.round(16 * np.array([[u - 3, v - 3], [u + 3, v + 3]])).astype(int).tolist()
            cv2.rectangle(image, corner, other, (255, 255, 255), -1, cv2.LINE_AA, 4)
        cv2.imwrite(str(scene / "rgb" / f"{i:06d}.png"), image)
        pose = CAMERA_FROM_WORLD @ rigid(np.eye(3), position)
        cameras[i] = {
            "cam_K": INTRINSICS.ravel().tolist(),
            "cam_R_w2c": CAMERA_FROM_WORLD[:3, :3].ravel().tolist(),
            "cam_t_w2c": (1000 * CAMERA_FROM_WORLD[:3, 3]).tolist(),
        }
        truths[i] = [
            {"obj_id": k, "cam_R_m2c": pose[:3, :3].ravel().tolist(), "cam_t_m2c": (1000 * pose[:3, 3]).tolist()}
            for k in ids
        ]
        info = {"bbox_obj": [0, 0, 7, 7], "bbox_visib": [0, 0, 7, 7], "px_count_visib": 49, "visib_fract": fraction}
        infos[i] = [info for _ in ids]
    for name, content in (("scene_camera", cameras), ("scene_gt", truths), ("scene_gt_info", infos)):
        (scene / f"{name}.json").write_text(json.dumps(content))
    if table:
        manifest = {"status": "complete", "table": {"center": [0.0, 0.0], "size": [0.7, 0.6]}, "files": {}}
        (root / "manifest.json").write_text(json.dumps(manifest))
    return root


def random_positions(count: int, seed: int = 0) -> np.ndarray:
    """Positions (count, 3) m on a table of 0.7 by 0.6 m, all of them inside the picture."""
    rng = np.random.default_rng(seed)
    return np.stack([rng.uniform(-0.35, 0.35, count), rng.uniform(-0.3, 0.3, count), np.full(count, 0.045)], 1)
