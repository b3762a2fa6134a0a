"""A film of one trial as GIF: what the camera saw, with the detections, and the robot at work."""

import io

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from simgen.engine import silence
from stacking.poses import detected_poses
from stacking.robot import Cell
from stacking.rows import Bench
from stacking.task import picture_of, task_of
from stacking.trial import run_trial
from train.detect.drawing import draw_detections

WIDTH, HEIGHT = 320, 240  # px of each of the two pictures
EVERY = 60  # steps of the physics between two frames
FRAME_MS = 100  # ms that a frame is shown: the film runs 2.5 times as fast as the simulated robot
EYE, AIM, UP = (0.65, -0.65, 0.5), (-0.14, 0.0, 0.16), (0.0, 0.0, 1.0)  # m
COLORS = ((0.85, 0.25, 0.2, 1), (0.25, 0.6, 0.3, 1), (0.2, 0.4, 0.85, 1))
OTHERS = (0.6, 0.6, 0.6, 1)


def film(bench: Bench, index: int) -> bytes:
    """The trial `index` with the detector's poses as a GIF file. The blocks to stack are colored, all others are gray. If a
    block is missed, the robot stays where it is."""
    task = task_of(bench.pipeline, index)
    picture, view = picture_of(task, bench.pipeline, bench.renderer)
    (detections,) = bench.detector.find([picture], [view])
    seen = detected_poses(task.kinds, bench.seen(task))
    sure = [one for one in detections if one.confidence >= bench.confidence]
    small = cv2.resize(picture, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    left = draw_detections(small, sure, view.resized(WIDTH / picture.shape[1], HEIGHT / picture.shape[0]))
    frames: list[NDArray[np.uint8]] = []

    def watch(cell: Cell) -> None:
        if cell.steps % EVERY == 1:
            frames.append(np.concatenate([left, _frame(cell, len(task.blocks))], axis=1))

    known = [one for one in seen.blocks if one is not None]
    if len(known) == len(task.blocks):
        run_trial(task, bench.pipeline.world, known, seen.around, bench.kinematics, watch)
    else:
        frames.append(np.concatenate([left, np.zeros_like(left)], axis=1))
    return gif_bytes(frames)


def gif_bytes(frames: list[NDArray[np.uint8]]) -> bytes:
    """`frames` (H, W, 3) as a GIF file of one palette, repeated without end."""
    typical = np.concatenate([frames[0], frames[len(frames) // 2], frames[-1]])
    palette = PIL.Image.fromarray(typical).quantize(128, dither=PIL.Image.Dither.NONE)
    pictures = [PIL.Image.fromarray(one).quantize(palette=palette, dither=PIL.Image.Dither.NONE) for one in frames]
    data = io.BytesIO()
    pictures[0].save(
        data, "GIF", save_all=True, append_images=pictures[1:], duration=FRAME_MS, loop=0, optimize=True, disposal=1
    )
    return data.getvalue()


def _frame(cell: Cell, asked: int) -> NDArray[np.uint8]:
    """(HEIGHT, WIDTH, 3) the cell as a spectator sees it."""
    p, client = cell.p, cell.client
    if cell.steps == 1:
        for number, body in enumerate(cell.bodies):
            color = COLORS[number] if number < asked else OTHERS
            p.changeVisualShape(body, -1, rgbaColor=color, physicsClientId=client)
    look = p.computeViewMatrix(EYE, AIM, UP)
    lens = p.computeProjectionMatrixFOV(42, WIDTH / HEIGHT, 0.1, 4)
    with silence():
        _, _, pixels, _, _ = p.getCameraImage(
            WIDTH, HEIGHT, look, lens, lightDirection=(1, -1, 3), renderer=p.ER_TINY_RENDERER, physicsClientId=client
        )
    return np.asarray(pixels, dtype=np.uint8).reshape(HEIGHT, WIDTH, 4)[..., :3].copy()
