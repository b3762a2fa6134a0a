"""Camera files of many tools: each gives the same camera, and the error for a wrong one states the likely mistake."""

import codecs
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from simgen.camera import Camera, bop_lens, fit_camera, lens_of_bop, read_camera
from simgen.distortion import fisheye_lens, padded
from simgen.errors import ConfigError
from simgen.geometry import inverse, look_at, project, quaternion_from_matrix

K = np.array([[611.0, 0, 322.5], [0, 598.0, 236.25], [0, 0, 1]])
BROWN = [0.05, -0.11, 0.001, -0.002, 0.03]
RATIONAL = [0.05, -0.11, 0.001, -0.002, 0.03, 0.02, -0.04, 0.01]
FISHEYE = [-0.02, 0.03, -0.01, 0.004]
POSE = inverse(look_at(np.array([0.5, -0.3, 0.6]), np.array([0.02, 0.03, 0.0])))
ROWS = ", ".join(f"{value}" for value in K.ravel())


def own(**changes: Any) -> dict[str, Any]:
    content = {"width": 640, "height": 480, "intrinsics": K.tolist(), "camera_from_table": POSE.tolist(), **changes}
    return {key: value for key, value in content.items() if value is not None}


def calibration(model: str, lens: list[float]) -> str:
    """A file of ROS's camera_calibration."""
    return (
        "image_width: 640\nimage_height: 480\ncamera_name: narrow\ncamera_matrix:\n  rows: 3\n  cols: 3\n"
        f"  data: [{ROWS}]\ndistortion_model: {model}\ndistortion_coefficients:\n  rows: 1\n  cols: {len(lens)}\n"
        f"  data: {lens}\nprojection_matrix: {{rows: 3, cols: 4, data: [9, 0, 9, 0, 0, 9, 9, 0, 0, 0, 1, 0]}}\n"
    )


def topic(lens: list[float]) -> str:
    """What `ros2 topic echo --once /camera_info` prints."""
    lines = ["header:", "  stamp: {sec: 1, nanosec: 2}", "  frame_id: c", "height: 480", "width: 640"]
    lines += ["distortion_model: rational_polynomial", "d:", *(f"- {value}" for value in lens)]
    lines += ["k:", *(f"- {value}" for value in K.ravel()), "binning_x: 0", "binning_y: 0"]
    return "\n".join([*lines, "roi: {x_offset: 0, y_offset: 0, height: 0, width: 0, do_rectify: false}", "---", ""])


def storage(suffix: str, lens: list[float], names: tuple[str, str]) -> bytes:
    """What cv2.FileStorage writes."""
    writer = cv2.FileStorage(suffix, cv2.FILE_STORAGE_WRITE | cv2.FILE_STORAGE_MEMORY)
    writer.write("calibration_time", "Mon 1 Jan")
    writer.write("image_width", 640)
    writer.write("image_height", 480)
    writer.write(names[0], K)
    writer.write(names[1], np.array([lens]))
    return str(writer.releaseAndGetString()).encode()


def kalibr(model: str, lens: list[float], name: str = "cam0") -> str:
    return (
        f"{name}:\n  cam_overlaps: []\n  camera_model: pinhole\n  distortion_coeffs: {lens}\n  distortion_model: {model}\n"
        "  intrinsics: [611.0, 598.0, 322.5, 236.25]\n  resolution: [640, 480]\n  rostopic: /cam0/image_raw\n"
    )


def colmap(model: str, *values: float) -> str:
    return f"# Camera list\n#   CAMERA_ID, MODEL\n3 {model} 640 480 {' '.join(map(str, values))}\n"


def realsense(model: Any, lens: list[float]) -> dict[str, Any]:
    size = {"width": 640, "height": 480}
    return {**size, "fx": 611.0, "fy": 598.0, "ppx": 322.5, "ppy": 236.25, "model": model, "coeffs": lens}


FLAT = {"fx": 611.0, "fy": 598.0, "cx": 322.5, "cy": 236.25}
SHOTS = {"camera_settings": [{"name": "c", "intrinsic_settings": {"resX": 640, "resY": 480, **FLAT, "s": 0}}]}
# Name, content, and the lens that it has; sizes are stated but where the name ends in *.
FILES: list[tuple[str, Any, list[float]]] = [
    ("own.json", own(distortion=BROWN), BROWN),
    ("nested.json", own(distortion=[BROWN]), BROWN),
    ("column.json", own(distortion=[[value] for value in BROWN]), BROWN),
    ("zeros.json", own(distortion=[*BROWN, 0, 0, 0]), BROWN),
    ("fourteen.json", own(distortion=[*RATIONAL, 0, 0, 0, 0, 0, 0]), RATIONAL),
    ("eight.json", own(distortion=RATIONAL), RATIONAL),
    ("fisheye.json", own(distortion=FISHEYE, distortion_model="fisheye"), [*FISHEYE, 0, 0, 0, 0, 1]),
    ("model.json", own(distortion=BROWN[:4], model="opencv"), BROWN[:4]),
    ("bom.json", codecs.BOM_UTF8 + json.dumps(own(distortion=BROWN)).encode(), BROWN),
    ("utf16.json", json.dumps(own(distortion=BROWN)).encode("utf-16"), BROWN),
    ("utf16le.json", json.dumps(own(distortion=BROWN)).encode("utf-16-le"), BROWN),
    ("bop.json", {**FLAT, "depth_scale": 0.1, "width": 640, "height": 480}, []),
    ("scene_camera.json*", {"7": {"cam_K": K.ravel().tolist(), "dist_opencv8": RATIONAL, "depth_scale": 1}}, RATIONAL),
    ("plumb_bob.yaml", calibration("plumb_bob", BROWN), BROWN),
    ("rational.yaml", calibration("rational_polynomial", RATIONAL), RATIONAL),
    ("equidistant.yaml", calibration("equidistant", FISHEYE), [*FISHEYE, 0, 0, 0, 0, 1]),
    ("topic.yaml", topic(RATIONAL), RATIONAL),
    ("opencv.yml", storage(".yml", BROWN, ("camera_matrix", "distortion_coefficients")), BROWN),
    ("opencv.xml", storage(".xml", RATIONAL, ("cameraMatrix", "distCoeffs")), RATIONAL),
    ("opencv.json", storage(".json", BROWN, ("K", "D")), BROWN),
    ("radtan.yaml", kalibr("radtan", BROWN[:4]), BROWN[:4]),
    ("kalibr.yaml", kalibr("equidistant", FISHEYE), [*FISHEYE, 0, 0, 0, 0, 1]),
    ("PINHOLE.txt", colmap("PINHOLE", 611, 598, 323, 236.75), []),
    ("OPENCV.txt", colmap("OPENCV", 611, 598, 323, 236.75, *BROWN[:4]), BROWN[:4]),
    ("FULL.txt", colmap("FULL_OPENCV", 611, 598, 323, 236.75, *RATIONAL), RATIONAL),
    ("FISH.txt", colmap("OPENCV_FISHEYE", 611, 598, 323, 236.75, *FISHEYE), [*FISHEYE, 0, 0, 0, 0, 1]),
    ("realsense.json", realsense("distortion.inverse_brown_conrady", [0] * 5), []),
    ("realsense4.json", realsense(4, BROWN), BROWN),
    ("realsense5.json", {"color": realsense("Kannala Brandt4", FISHEYE)}, [*FISHEYE, 0, 0, 0, 0, 1]),
    ("open3d.json", {"width": 640, "height": 480, "intrinsic_matrix": K.T.ravel().tolist()}, []),
    ("megapose.json", {"K": K.tolist(), "resolution": [480, 640]}, []),
    ("dope.json", {"camera_data": {"width": 640, "height": 480, "intrinsics": FLAT}, "objects": []}, []),
    ("ndds.json", SHOTS, []),
    (
        "named.json",
        {**FLAT, "w": 640, "h": 480, **dict(zip(("k1", "k2", "p1", "p2", "k3"), BROWN, strict=True))},
        BROWN,
    ),
    (
        "mapping.json",
        own(distortion=dict(zip(("k1", "k2", "p1", "p2", "k3"), BROWN, strict=True))),
        BROWN,
    ),
    ("pair.yaml", f"K: [{ROWS}]\ndist: {RATIONAL}\nimage_size: [480, 640]\n", RATIONAL),
    (
        "exponent.yaml",
        f"K: [{ROWS}]\nD: [5e-2, -1.1e-1, 1e-3, -2e-3, 3e-2]\nimage_width: 640\nimage_height: 480\n",
        BROWN,
    ),
    (
        "vins.yaml",  # the lens and the size stand beside the mapping of fx, fy, cx, cy
        "%YAML:1.0\n---\nmodel_type: PINHOLE\nimage_width: 640\nimage_height: 480\ndistortion_parameters:\n   k1: 0.05\n"
        "   k2: -0.11\n   p1: 0.001\n   p2: -0.002\nprojection_parameters:\n   fx: 611.0\n   fy: 598.0\n   cx: 322.5\n"
        "   cy: 236.25\n",
        BROWN[:4],
    ),
    (
        "beside.json",
        {
            "calibration": {"camera": FLAT, "dist": BROWN},
            "resolution": {"width": 1, "height": 1},
            "width": 640,
            "height": 480,
        },
        BROWN,
    ),
    (
        "depthai.json",
        {"width": 640, "height": 480, "intrinsicMatrix": K.tolist(), "distortionCoeff": RATIONAL},
        RATIONAL,
    ),
    ("letters.json", own(k1=0.05, k2=-0.11, p1=0.001, p2=-0.002, k3=0.03), BROWN),
    ("printed.txt*", f"{K}\n", []),
    ("list.json*", json.dumps(K.tolist(), indent=2), []),
    ("remark.txt*", "611 0 322.5 # fx\n0 598 236.25\n0 0 1\n", []),
    ("cam_K.txt*", "\n".join(" ".join(f"{value:.18e}" for value in row) for row in K), []),
    ("scannet.txt*", "\n".join(" ".join(map(str, row)) for row in np.pad(K, (0, 1)) + np.diag([0, 0, 0, 1])), []),
]


def write(path: Path, content: Any) -> Path:
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize(("name", "content", "lens"), FILES, ids=[name for name, _, _ in FILES])
def test_every_tools_file_gives_the_camera(tmp_path: Path, name: str, content: Any, lens: list[float]) -> None:
    camera = read_camera(write(tmp_path / name.rstrip("*"), content))
    assert (camera.width, camera.height) == ((None, None) if name.endswith("*") else (640, 480))
    np.testing.assert_allclose(camera.intrinsics, K, rtol=0, atol=1e-12)
    np.testing.assert_allclose(padded(camera.distortion), padded(lens), rtol=0, atol=1e-15)
    assert camera.notices == ()
    again = read_camera(write(tmp_path / "again.json", camera.to_json()))  # and its own file is read back exactly
    assert again.to_json() == camera.to_json()
    sized = camera.for_picture(640, 480)
    points = np.array([[0.1, -0.2, 1], [-0.3, 0.1, 0.9], [0.25, 0.2, 1.1]])
    if padded(lens)[8]:
        seen, _ = cv2.fisheye.projectPoints(points[None], np.zeros(3), np.zeros(3), K, np.array(lens[:4]))
    else:
        seen, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), K, np.array(lens or [0.0] * 4))
    np.testing.assert_allclose(project(points, sized.intrinsics, sized.distortion), seen.reshape(3, 2), atol=1e-9)


def test_arrays_of_numpy(tmp_path: Path) -> None:
    """cv2.calibrateCamera's results, as people save them."""
    np.savez(tmp_path / "c.npz", ret=0.3, mtx=K, dist=np.array([BROWN]), rvecs=np.zeros((4, 3, 1)))
    np.save(tmp_path / "k.npy", K)
    np.savez(tmp_path / "p.npz", K=np.array([{"a": 1}], dtype=object))
    assert read_camera(tmp_path / "c.npz").distortion.tolist() == BROWN
    assert np.array_equal(read_camera(tmp_path / "k.npy").intrinsics, K)
    with pytest.raises(ConfigError, match=r"p\.npz: cannot be read as an array file of numpy"):
        read_camera(tmp_path / "p.npz")


def test_poses(tmp_path: Path) -> None:
    scene = {
        "cam_K": K.ravel().tolist(),
        "cam_R_w2c": POSE[:3, :3].ravel().tolist(),
        "cam_t_w2c": (1000 * POSE[:3, 3]).tolist(),
    }
    for content in (
        own(),
        own(camera_from_table=None, table_from_camera=inverse(POSE).tolist()),
        own(camera_from_table=POSE[:3].tolist()),
        own(camera_from_table=POSE.ravel().tolist()),
        own(camera_from_table=POSE[:3].ravel().tolist()),
        own(
            camera_from_table={
                "rotation_wxyz": quaternion_from_matrix(POSE[:3, :3]).tolist(),
                "translation_m": POSE[:3, 3].tolist(),
            }
        ),
        {**own(camera_from_table=None), "table_from_camera": None, "camera_from_table": POSE.tolist(), "table": None},
        {"color": {"camera": own(camera_from_table=None)}, "camera_from_table": POSE.tolist()},
        {"0": scene},
    ):
        camera = read_camera(write(tmp_path / "c.json", content))
        assert camera.camera_from_table is not None
        np.testing.assert_allclose(camera.camera_from_table, POSE, atol=1e-12)


def test_one_of_several_cameras_is_chosen_by_its_name(tmp_path: Path) -> None:
    path = write(tmp_path / "chain.yaml", kalibr("radtan", BROWN[:4]) + kalibr("equidistant", FISHEYE, "cam1"))
    with pytest.raises(ConfigError, match=r"chain\.yaml: holds 2 cameras: cam0, cam1; choose .* FILE#cam0"):
        read_camera(path)
    assert read_camera(f"{path}#cam1").distortion[8] == 1
    assert read_camera(f"{path}#cam0").distortion.tolist() == [*BROWN[:4], 0]
    with pytest.raises(ConfigError, match="has no camera 'cam2'; it has cam0, cam1"):
        read_camera(f"{path}#cam2")
    entry = {"cam_K": K.ravel().tolist()}
    path = write(tmp_path / "scene_camera.json", {"0": entry, "1": entry})  # all the same: nothing to choose
    assert np.array_equal(read_camera(path).intrinsics, K)
    odd = write(tmp_path / "a#b.json", own())
    assert read_camera(odd).width == 640


GL = np.diag([1.0, -1, -1, 1])


def moved(factor: float) -> list[list[float]]:
    pose = POSE.copy()
    pose[:3, 3] *= factor
    return pose.tolist()


def changed(k: np.ndarray) -> list[list[float]]:
    return np.asarray(k).tolist()


BAD: list[tuple[str, Any, str]] = [
    # the matrix
    (
        "K of 4032 x 3024",
        own(intrinsics=changed(np.diag([6.3, 6.3, 1]) @ K)),
        r"intrinsics: .*\(2031\.75, 1488\.38\) .* 4032 x 3024 px: multiply its first two rows by 0\.1587",
    ),
    ("turned", own(width=480, height=640, intrinsics=[[600, 0, 500], [0, 600, 240], [0, 0, 1]]), "outside the picture"),
    ("negative", own(intrinsics=changed(np.diag([-1, 1, 1]) @ K)), "focal lengths are -611 and 598; expected positive"),
    ("zero focal", own(intrinsics=[[0, 0, 320], [0, 0, 240], [0, 0, 1]]), "expected positive"),
    (
        "normalized",
        own(intrinsics=changed(np.diag([1 / 640, 1 / 480, 1]) @ K)),
        r"intrinsics: looks normalized: .*width \(640\)",
    ),
    ("zeros", own(intrinsics=changed(0 * K)), "is all zeros: the camera is not calibrated"),
    (
        "NaN",
        '{"width": 640, "height": 480, "intrinsics": [[NaN, 0, 1], [0, 1, 1], [0, 0, 1]]}',
        "intrinsics: .* finite",
    ),
    ("transposed", own(intrinsics=K.T.tolist()), "intrinsics: looks transposed, as MATLAB writes it"),
    ("skew", own(intrinsics=[[611, 3, 322.5], [0, 598, 236.25], [0, 0, 1]]), "skew of 3; expected 0"),
    (
        "millimeters",
        own(intrinsics=[[3.6, 0, 320], [0, 3.6, 240], [0, 0, 1]]),
        r"fx = 3\.6 .* field of view .*in millimeters\?",
    ),
    ("narrow", own(intrinsics=[[1e5, 0, 320], [0, 1e5, 240], [0, 0, 1]]), "field of view of 0.3667 degrees"),
    ("last row", own(intrinsics=[[600, 0, 320], [0, 600, 240], [0, 0, 0]]), "expected .*0, 0, 1"),
    ("shape", own(intrinsics=[[1, 2], [3, 4]]), "intrinsics: got 2 x 2 numbers; expected the 3 x 3"),
    ("word", own(intrinsics="none"), "intrinsics: got .*; expected numbers"),
    ("no matrix", own(intrinsics=None), "no intrinsic matrix"),
    (
        "no cy",
        {"fx": 600, "fy": 600, "cx": 320, "width": 640, "height": 480},
        "cy: missing beside fx, fy, cx, width, height",
    ),
    ("only width", own(height=None), "width: there is no height beside it"),
    ("width 0", own(width=0), "a picture of 0 x 480 px; expected 8 to"),
    ("width 640.5", own(width=640.5), r"width: got 640\.5; expected a whole number"),
    # the lens
    ("four", own(distortion=FISHEYE), "got 4 coefficients and no model: add distortion_model: fisheye"),
    (
        "unknown model",
        own(distortion=BROWN, distortion_model="double_sphere"),
        "unknown distortion model 'double_sphere'; expected opencv",
    ),
    (
        "inverse",
        realsense("distortion.inverse_brown_conrady", BROWN),
        "unknown distortion model 'distortion.inverse_brown",
    ),
    ("thin prism", own(distortion=[*RATIONAL, 0.1, 0, 0, 0]), "thin prism"),
    ("fisheye of 5", own(distortion=BROWN, distortion_model="fisheye"), "fisheye model has 4"),
    ("text", own(distortion="barrel"), "distortion: got .*; expected numbers"),
    (
        "rows x cols",
        calibration("plumb_bob", BROWN).replace("cols: 5", "cols: 4"),
        r"distortion_coefficients: got 5 numbers in data; expected rows x cols = 1 x 4",
    ),
    ("omni", kalibr("radtan", BROWN[:4]).replace("pinhole", "omni"), "camera_model: 'omni' is not modeled"),
    # the pose
    ("transposed pose", own(camera_from_table=POSE.T.tolist()), "camera_from_table: looks transposed"),
    (
        "last row of zeros",
        own(camera_from_table=[*POSE[:3].tolist(), [0, 0, 0, 0]]),
        "the last row is .*; expected 0 0 0 1",
    ),
    ("scaled", own(camera_from_table=changed(POSE @ np.diag([2, 2, 2, 1.0]))), "no rotation but one times 2; divide"),
    (
        "mirrored",
        own(camera_from_table=changed(np.diag([-1.0, 1, 1, 1]) @ POSE)),
        "mirrors: an axis has the wrong sign",
    ),
    ("sheared", own(camera_from_table=changed(POSE + np.eye(4, k=1) * [[0.1], [0], [0], [0]])), "not orthonormal"),
    (
        "OpenGL",
        own(camera_from_table=(GL @ POSE).tolist()),
        "no part of the table's plane .* OpenGL or Blender axes; negate its second and third rows",
    ),
    (
        "Blender",
        own(camera_from_table=(inverse(POSE) @ GL).tolist()),
        "looks inverted and to have OpenGL or Blender axes",
    ),
    ("inverse pose", own(camera_from_table=inverse(POSE).tolist()), "looks inverted: table_from_camera"),
    (
        "mm",
        own(camera_from_table=moved(1000)),
        r"table is .* m away; .*looks to be in millimeters; divide the translation by 1000",
    ),
    ("cm", own(camera_from_table=moved(100)), "looks to be in centimeters"),
    ("shape of a pose", own(camera_from_table=[[1, 0], [0, 1]]), "camera_from_table: got 2 x 2 numbers"),
    ("table out of view", own(table=[[3, 3], [4, 4]]), "no part of the table .* is in the picture"),
    ("table turned round", own(table=[[0.1, 0], [0, 0.1]]), r"table: got .*; expected \[\[least X"),
    ("table alone", own(table=[[0, 0], [1, 1]], camera_from_table=None), "table: expected camera_from_table beside it"),
    ("typo", own(camera_from_tabel=1), "camera_from_tabel: unknown key; expected camera_from_table, which maps"),
    ("twice", '{"width": 640, "width": 640}', "width: the key is there twice"),
    # the file
    ("comma", '{"width": 640, "height": 480,}', "is not JSON at line 1, column 30 .*no comma after the last item"),
    ("comment", '{"width": 640, // px\n}', "JSON has no comments"),
    ("empty", "", "is empty"),
    ("binary", b"\x01\x00\x00\x00\x00\x00\x00\x02", "is a binary file"),
    (
        "Metashape",
        "<calibration><f>611</f></calibration>",
        "XML with the root <calibration>, which is not read; expected one of simgen's JSON",
    ),
    ("YAML", "camera_matrix: [1, 2\nK: 3", "is not YAML at line 2"),
    ("five numbers", "611 598 322 236 0", "holds 5 numbers and no names"),
    (
        "COLMAP's other models",
        colmap("THIN_PRISM_FISHEYE", *range(12)),
        "camera 3 has COLMAP's model THIN_PRISM_FISHEYE; expected one of",
    ),
    ("COLMAP's parameters", colmap("OPENCV", 611, 598, 323, 236), "COLMAP's OPENCV has 8 parameters"),
    (
        "MATLAB",
        {"IntrinsicMatrix": K.T.tolist(), "RadialDistortion": [0, 0], "ImageSize": [480, 640]},
        "MATLAB's cameraParameters",
    ),
    (
        "NeRF",
        {"fl_x": 611, "fl_y": 598, "w": 640, "h": 480},
        "the keys fl_x, fl_y, w, h are those of no known camera file",
    ),
    (
        "typo beside ROS's keys",
        calibration("plumb_bob", BROWN) + f"camera_to_table: {POSE.tolist()}\n",
        "camera_to_table: unknown key; expected camera_from_table, which maps .* table_from_camera, its inverse",
    ),
    (
        "lens by another name",
        own(radial=[0.1, 0.01]),
        "radial: a lens under a name that is not read; expected distortion",
    ),
    (
        "whose pose",
        {"left": FLAT, "right": {**FLAT, "fx": 600}, "camera_from_table": POSE.tolist()},
        "camera_from_table: stands beside several cameras; expected inside",
    ),
    (
        "before a calibration",
        topic([]).replace(str(611.0), "0").replace("rational_polynomial", "''"),
        "expected positive",
    ),
    (
        "rvec",
        own(camera_from_table={"rvec": [1, 2, 3], "tvec": [0, 0, 1]}),
        r"rvec, tvec; expected 4 x 4 .*cv2\.Rodrigues",
    ),
    ("table in mm", own(table=[[-400, -400], [400, 400]]), "table: .* expected meters, not millimeters"),
    ("table's corners", own(table=[[0, 0], [1, 0], [1, 1], [0, 1]]), r"table: got .*; expected \[\[least X, least Y\]"),
    ("INI", "[LEFT_CAM_HD]\nfx=611\n", r"is an INI file, with the section \[LEFT_CAM_HD\]"),
    ("remark", "// my camera\n" + json.dumps(own()), "JSON has no comments"),
    ("nothing in it", {}, "holds no camera: no intrinsic matrix"),
    ("cropped", topic(BROWN).replace("x_offset: 0", "x_offset: 20"), "roi: the pictures are cropped"),
    (
        "order",
        {"K": [[600, 0, 240], [0, 600, 240], [0, 0, 1]], "image_size": [480, 490]},
        "image_size: .* in an order that is not clear",
    ),
]


@pytest.mark.parametrize(("content", "message"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_a_mistake_is_refused_in_one_line_that_names_it(tmp_path: Path, content: Any, message: str) -> None:
    path = write(tmp_path / "c.json", content)
    with pytest.raises(ConfigError, match=message) as caught:
        read_camera(path, "camera")
    assert str(caught.value).startswith(f"camera: {path}: ") and "\n" not in str(caught.value)


def test_what_is_unlikely_and_possible_is_a_notice(tmp_path: Path) -> None:
    small = own(width=1280, height=960, camera_from_table=None)
    assert "are the intrinsics of 640 x 480?" in read_camera(write(tmp_path / "c.json", small)).notices[0]
    folds = own(distortion=[-0.9, 0, 0, 0, 0], camera_from_table=None)
    assert "shows nothing in a corner" in read_camera(write(tmp_path / "c.json", folds)).notices[0]
    extra = own(fps=30)
    assert read_camera(write(tmp_path / "c.json", extra)).notices[0].startswith("fps: not used")
    extrinsics = own(extrinsics=POSE.tolist(), camera_from_table=None)
    assert read_camera(write(tmp_path / "c.json", extrinsics)).notices[0].startswith("extrinsics: not used; known keys")
    lens35 = {"fx": 35, "fy": 35, "cx": 320, "cy": 240, "width": 640, "height": 480}
    assert "168 degrees: is it in millimeters?" in read_camera(write(tmp_path / "c.json", lens35)).notices[0]
    swapped = {"fx": 600, "fy": 600, "cx": 241, "cy": 318, "width": 640, "height": 480}
    assert "cx and cy look exchanged" in read_camera(write(tmp_path / "c.json", swapped)).notices[0]


def test_an_inverse_that_could_be_right_is_taken_with_the_tables_extent() -> None:
    """A camera over the table's origin that looks elsewhere: its pose and the inverse both see the plane."""
    pose = inverse(look_at(np.array([0.02, 0.0, 0.7]), np.array([0.55, 0.1, 0.0])))
    with pytest.raises(ConfigError, match="state the table's extent"):
        Camera(K, 640, 480, camera_from_table=pose)
    Camera(K, 640, 480, camera_from_table=pose, table=np.array([[-1.0, -1], [1, 1]]))


def test_pictures_of_another_size() -> None:
    camera = Camera(K, 640, 480)
    assert camera.for_picture(640, 480) is camera
    half = camera.for_picture(320, 240)
    assert "of 640 x 480 px, the picture of 320 x 240: read as the whole picture, resized" in half.notices[0]
    # OpenCV's own rule of where a pixel goes when a picture is resized: x' = (x + 0.5) / 2 - 0.5.
    points = np.array([[0.1, 0.2, 1.0], [-0.2, 0.1, 1]])
    expected = (project(points, K) + 0.5) / 2 - 0.5
    np.testing.assert_allclose(project(points, half.intrinsics), expected, atol=1e-12)
    for size, message in (((480, 640), "rotated by 90 degrees"), ((640, 360), "cropped, or taken in another mode")):
        with pytest.raises(ConfigError, match=rf"^camera: c\.json: is of 640 x 480 px.*{message}"):
            fit_camera(camera, *size, "c.json")
    with pytest.raises(ConfigError, match="outside the picture of 320 x 200"):
        Camera(K).for_picture(320, 200)  # a size that comes from the picture is checked as well


@pytest.mark.parametrize("lens", [np.array(BROWN), padded(RATIONAL), fisheye_lens(FISHEYE)], ids=["5", "8", "fisheye"])
def test_lenses_in_scene_camera_go_round(lens: np.ndarray) -> None:
    entry = json.loads(json.dumps(bop_lens(lens)))
    assert np.array_equal(lens_of_bop(entry), lens)
    assert list(entry) == [{5: "dist_opencv5", 9: "dist_fisheye4" if lens[-1] == 1 else "dist_opencv8"}[len(lens)]]


@pytest.mark.parametrize(
    "entry",
    [{"dist_coeffs": [0.0] * 5}, {"dist_opencv5": [0.0] * 4}, {"dist_opencv5": [0.0] * 5, "dist_fisheye4": [0.0] * 4}],
)
def test_other_lenses_in_scene_camera_are_refused(entry: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        lens_of_bop(entry)


def test_a_camera_cannot_be_changed() -> None:
    camera = Camera(K, 640, 480)
    change: Callable[[], None] = lambda: camera.intrinsics.__setitem__((0, 0), 1.0)  # noqa: E731
    with pytest.raises(ValueError, match="read-only"):
        change()
