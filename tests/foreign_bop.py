"""A BOP dataset as other tools write them: gaps in obj_id, no names, keypoints, masks, infos or recipe, several scenes."""

import json
from pathlib import Path

import cv2
import numpy as np

from simgen.dataset.write import bop_pose, write_models
from simgen.geometry import inverse, look_at, rigid, rotation_about
from simgen.shapes.solids import make_solid

WIDTH, HEIGHT = 96, 72
K = np.array([[90.0, 0, 47.5], [0, 95.0, 35.5], [0, 0, 1]])
SOLIDS = [make_solid("cube", "cube", np.full(3, 0.05)), make_solid("cone", "cone", np.array([0.06, 0.06, 0.08]))]
OBJECTS = [3, 17]  # obj_id of each solid
SHIFT = np.array([12.0, -30.0, 25.0])  # mm: where the middle of the cube is in its model's own frame
CAMERA_FROM_WORLD = inverse(look_at(np.array([0.1, -0.4, 0.3]), np.array([0.0, 0.0, 0.0])))
# For each scene and picture: solid, x, y and yaw of each object. The last is cut by the border.
PLACES = {
    4: {7: [(0, -0.03, 0.01, 0.3), (1, 0.02, 0.03, 0.0)], 9: []},
    11: {7: [(0, 0.2, 0.0, 2.0), (0, 0.0, 0.0, 0.5)]},
}


def camera_from_block(solid: int, x: float, y: float, yaw: float) -> np.ndarray:
    place = np.array([x, y, SOLIDS[solid].size[2] / 2])
    return CAMERA_FROM_WORLD @ rigid(rotation_about(2, np.array(yaw)), place)


def write_foreign(root: Path) -> Path:
    """Writes the dataset: gray PNG pictures, the one of scene 11 of another size, and a cube whose origin is elsewhere."""
    write_models(root / "all", SOLIDS)
    infos = json.loads((root / "all" / "models_info.json").read_text())
    (root / "models").mkdir()
    written = {}
    for k, obj_id in enumerate(OBJECTS):
        text = (root / "all" / f"obj_{k + 1:06d}.ply").read_text().splitlines()
        info = {key: value for key, value in infos[str(k + 1)].items() if key not in ("name", "keypoints")}
        if k == 0:
            first, count = text.index("end_header") + 1, int(text[2].split()[-1])
            for row in range(first, first + count):
                numbers = np.array(text[row].split(), dtype=float)
                numbers[:3] += SHIFT
                text[row] = " ".join(f"{number:.6f}" for number in numbers)
            info |= {f"min_{axis}": info[f"min_{axis}"] + SHIFT[j] for j, axis in enumerate("xyz")}
            for symmetry in info["symmetries_discrete"]:
                turn = np.reshape(symmetry, (4, 4))
                symmetry[3::4] = [*(turn[:3, 3] + SHIFT - turn[:3, :3] @ SHIFT), 1.0]
        (root / "models" / f"obj_{obj_id:06d}.ply").write_text("\n".join(text) + "\n")
        written[str(obj_id)] = info
    (root / "models" / "models_info.json").write_text(json.dumps(written))
    for path in (root / "all").iterdir():
        path.unlink()
    (root / "all").rmdir()
    for scene, pictures in PLACES.items():
        folder = root / "test_real" / f"{scene:06d}"
        (folder / "gray").mkdir(parents=True)
        cameras, truths = {}, {}
        for image, places in pictures.items():
            size = (WIDTH, HEIGHT) if scene == 4 else (WIDTH + 10, HEIGHT)
            gray = np.random.default_rng(image).integers(0, 255, size[::-1], dtype=np.uint8)
            cv2.imwrite(str(folder / "gray" / f"{image:06d}.png"), gray)
            cameras[str(image)] = {"cam_K": K.ravel().tolist(), "depth_scale": 1.0}
            truths[str(image)] = [
                {
                    "obj_id": OBJECTS[k],
                    **bop_pose(
                        camera_from_block(k, x, y, yaw) @ rigid(np.eye(3), -SHIFT / 1000 * (k == 0)),
                        "cam_R_m2c",
                        "cam_t_m2c",
                    ),
                }
                for k, x, y, yaw in places
            ]
        (folder / "scene_camera.json").write_text(json.dumps(cameras))
        (folder / "scene_gt.json").write_text(json.dumps(truths))
    return root
