"""A dataset of colored boxes and an evaluation of it, for the tests of the report."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from simgen.dataset.read import open_dataset
from simgen.files import sha256_of
from simgen.geometry import inverse, look_at, rigid, rotation_about

COUNT, SIZE, FOCAL = 40, (64, 48), 60.0
INTRINSICS = np.array([[FOCAL, 0, 31.5], [0, FOCAL, 23.5], [0, 0, 1]])
EVIL = "</script><script>window.hacked=1</script>"
QUOTED = """q"uo'te <b onclick="window.hacked=1">&amp;"""
NAMES = (EVIL, QUOTED, "cube")
HALF = np.array([0.03, 0.02, 0.025])
CORNERS = HALF * np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])


def pixels(pose: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(P, 2) px by OpenCV."""
    turn, _ = cv2.Rodrigues(pose[:3, :3])
    return cv2.projectPoints(points, turn, pose[:3, 3], INTRINSICS, None)[0].reshape(-1, 2)


def write_dataset(root: Path, count: int, *, manifest: bool = True, seed: int = 0, noise: bool = False) -> Path:
    """Pictures with 0 to 3 boxes each, the first with none, on a table that cameras look at from all sides."""
    rng = np.random.default_rng(seed)
    scene = root / "train" / "000000"
    for folder in (scene / "rgb", scene / "mask_visib", root / "models"):
        folder.mkdir(parents=True)
    sizes = {f"size_{axis}": 2000 * HALF[k] for k, axis in enumerate("xyz")}
    info = {"diameter": 2000 * float(np.linalg.norm(HALF)), **sizes}
    models = {str(k + 1): {"name": name, **info} for k, name in enumerate(NAMES)}
    (root / "models" / "models_info.json").write_text(json.dumps(models))
    parts: dict[str, dict[int, Any]] = {name: {} for name in ("camera", "gt", "gt_info", "keypoints")}
    for i in range(count):
        azimuth, height = rng.uniform(-np.pi, np.pi), rng.uniform(0.4, 0.9)
        eye = np.array([0.6 * np.cos(azimuth), 0.6 * np.sin(azimuth), height])
        camera = inverse(look_at(eye, np.zeros(3)))
        image = np.full((SIZE[1], SIZE[0], 3), rng.integers(30, 220, 3), np.uint8)
        if noise:
            image = rng.integers(0, 255, (150, 200, 3)).astype(np.uint8)
        parts["camera"][i] = {
            "cam_K": INTRINSICS.ravel().tolist(),
            "cam_R_w2c": camera[:3, :3].ravel().tolist(),
            "cam_t_w2c": (1000 * camera[:3, 3]).tolist(),
        }
        for name in ("gt", "gt_info", "keypoints"):
            parts[name][i] = []
        for k in range(0 if i == 0 else rng.integers(0, 4)):
            place = np.array([rng.uniform(-0.2, 0.2), rng.uniform(-0.15, 0.15), HALF[2]])
            pose = camera @ rigid(rotation_about(2, rng.uniform(0, 6)), place)
            points = pixels(pose, CORNERS)
            mask = np.zeros((SIZE[1], SIZE[0]), np.uint8)
            cv2.fillConvexPoly(mask, cv2.convexHull(np.rint(points).astype(np.int32)), 255)
            cv2.imwrite(str(scene / "mask_visib" / f"{i:06d}_{k:06d}.png"), mask)
            box = list(cv2.boundingRect(mask))
            image[: mask.shape[0], : mask.shape[1]][mask > 0] = 255
            parts["gt"][i].append(
                {
                    "obj_id": int(rng.integers(1, 4)),
                    "cam_R_m2c": pose[:3, :3].ravel().tolist(),
                    "cam_t_m2c": (1000 * pose[:3, 3]).tolist(),
                }
            )
            seen = round(float(rng.uniform(0, 1)), 3)
            parts["gt_info"][i].append(
                {"bbox_obj": box, "bbox_visib": box, "px_count_visib": int((mask > 0).sum()), "visib_fract": seen}
            )
            parts["keypoints"][i].append({"keypoints_px": points.tolist(), "visibility": [2, 1, 0, 2, 2, 2, 2, 2]})
        cv2.imwrite(str(scene / "rgb" / f"{i:06d}.png"), image)
    for name, content in parts.items():
        (scene / f"scene_{name}.json").write_text(json.dumps(content))
    if manifest:
        about = {"status": "complete", "table": {"center": [0, 0], "size": [0.5, 0.4]}, "files": {}}
        recipe = {"seed": 7, "data_version": 9, "scene": "tabletop", "note": EVIL}
        (root / "manifest.json").write_text(json.dumps({**about, "recipe": recipe}))
    return root


def write_evaluation(folder: Path, root: Path) -> list[dict[str, Any]]:
    """What `python -m train evaluate` writes, with errors that grow with the number of the block; each fifth is missed."""
    dataset = open_dataset(root)
    rows = []
    for picture in dataset.pictures:
        for one in picture.instances:
            k = len(rows)
            error = None if k % 5 == 4 else 0.0005 * k
            rows.append(
                {
                    "scene_id": picture.scene_id,
                    "image_id": picture.image_id,
                    "name": dataset.models[one.obj_id].name,
                    "visible_fraction": one.visible_fraction,
                    "confidence": None if error is None else 0.5,
                    **dict.fromkeys(("adds_m", "translation_m", "rotation_rad", "mspd_px", "xy_m"), error),
                }
            )
    folder.mkdir()
    content = {"checkpoint": "shipped", "dataset": str(root), "per_block": rows, "right": 0.5, "blocks": len(rows)}
    content["dataset_manifest_sha256"] = sha256_of(root / "manifest.json")
    (folder / "metrics.json").write_text(json.dumps(content))
    return rows
