"""Objects of a desk that have flat faces to print on, and the hand: sheets, books, keyboards, screens."""

import numpy as np

from simgen import exact
from simgen.geometry import Array, rotation_about
from simgen.shapes.bodies import Body
from simgen.shapes.dice import Dice
from simgen.shapes.parts import chain, moved, part, rod, standing


def sheet(dice: Dice) -> list[Body]:
    """A card, a sheet of paper, or two of them, one over the other."""
    depth, thick = dice.between(0.55, 1), dice.log(0.002, 0.02)
    bodies = [standing("box", (1, depth, thick))]
    if dice.chance(0.4):
        size = (dice.between(0.5, 1), dice.between(0.4, 1) * depth, thick)
        shift = (dice.between(-0.3, 0.3), dice.between(-0.3, 0.3), thick)
        bodies.append(standing("box", size, shift, dice.between(-0.8, 0.8), dice.pick(None, None, 1.0)))
    return bodies


def book(dice: Dice) -> list[Body]:
    """Two covers and a spine around the pages; a quarter have a smaller book on top."""
    bodies, height = _bound(dice, 1.0)
    if dice.chance(0.25):
        second, _ = _bound(dice, dice.between(0.6, 0.95))
        bodies += moved(second, rotation_about(2, dice.between(-0.5, 0.5)), (dice.between(-0.1, 0.1), 0, height))
    return bodies


def _bound(dice: Dice, length: float) -> tuple[list[Body], float]:
    depth, height = dice.between(0.6, 0.85) * length, dice.between(0.06, 0.3) * length
    cover = dice.pick(0.08, 0.12) * height + 0.003
    tone = dice.pick(None, None, 0.0)
    bodies = [
        standing("box", (length, depth, cover), tone=tone),
        standing("box", (length, depth, cover), (0, 0, height - cover), tone=tone),
        standing("box", (length, cover, height), (0, (cover - depth) / 2, 0), tone=tone),
        standing("box", (length * 0.96, depth * 0.95, height - 2 * cover), (0, 0, cover), tone=1),
    ]
    return bodies, height


def keyboard(dice: Dice) -> list[Body]:
    """A board with a grid of keys: a keyboard, a number pad, a remote control or a calculator with its display."""
    style = dice.pick("keyboard", "keyboard", "pad", "remote")
    if style == "keyboard":
        rows, columns = dice.whole(3, 4), dice.whole(9, 11)
    else:
        rows, columns = (
            (dice.whole(4, 6), dice.whole(3, 5)) if style == "pad" else (dice.whole(3, 4), dice.whole(7, 11))
        )
    thick, gap = dice.between(0.12, 0.35), dice.between(0.08, 0.3)
    wide, tall = 1.0 if style == "keyboard" else dice.between(0.9, 1.3), dice.between(0.12, 0.4)
    edge = dice.between(0.1, 0.6)
    size = np.array([columns * wide + 2 * edge, rows + 2 * edge, thick])
    room = 0.0  # for a display beside the keys
    if style != "keyboard" and dice.chance(0.6):
        room = dice.between(0.8, 2)
        size[1] += room
    keys, space = dice.pick(0.0, 0.5, 1.0, 1.0), dice.chance(0.7) and style == "keyboard"
    board = dice.pick(None, 0.0) if keys else None
    bodies = [standing("box", size, (0, room / 2, 0), tone=board)]
    round_keys = style != "keyboard" and dice.chance(0.3)
    for row in range(rows):
        if row == 0 and space:
            bar = columns * 0.55
            bodies.append(standing("box", (bar - gap, 1 - gap, tall), (0, (1 - rows) / 2, thick), tone=keys))
            continue
        for column in range(columns):
            at = ((column - (columns - 1) / 2) * wide, row - (rows - 1) / 2, thick)
            shape = "cylinder" if round_keys else "box"
            bodies.append(standing(shape, (wide - gap, 1 - gap, tall), at, tone=keys))
    if room:
        at = (0, rows / 2 + room / 2, thick)
        bodies.append(standing("box", (columns * wide, room * 0.8, 0.05), at, tone=dice.pick(None, 0.3)))
    return bodies


def screen(dice: Dice) -> list[Body]:
    """A monitor, a laptop, a phone that lies there, or a tablet that leans on a support. The lit face wears the texture."""
    style = dice.pick("monitor", "laptop", "phone", "tablet")
    bezel, thick = dice.between(0.015, 0.06), dice.between(0.02, 0.06)
    if style == "phone":
        wide = dice.between(0.45, 0.75)
        thick = dice.between(0.04, 0.09)
        bodies = [standing("box", (1, wide, thick), tone=dice.pick(0.0, 1.0))]
        bodies.append(standing("box", (1 - 2 * bezel, wide - 2 * bezel, 0.004), (0, 0, thick)))
        return bodies
    high = dice.between(0.55, 0.8)
    panel = [
        part("box", (1, thick, high), (0, 0, high / 2), tone=0),
        part("box", (1 - 2 * bezel, 0.006, high - 2 * bezel), (0, -thick / 2 - 0.002, high / 2)),
    ]
    lean = rotation_about(0, -dice.between(0.05, 0.45))  # backward, as the lit face looks along -Y
    if style == "tablet":
        support = part("box", (0.5, 0.35, 0.03), (0, 0.1, 0.015), tone=1)
        return [*moved(panel, lean, (0, 0, 0.02)), support]
    if style == "monitor":
        neck = dice.between(0.1, 0.3)
        wide = dice.between(0.08, 0.25)
        bodies = moved(panel, shift=(0, 0, neck))
        bodies.append(part("box", (wide, 0.06, neck + high / 2), (0, thick / 2 + 0.03, (neck + high / 2) / 2), tone=1))
        foot = dice.between(0.25, 0.5)
        shape = dice.pick("box", "cylinder")
        bodies.append(standing(shape, (foot, foot * 0.7, 0.03), (0, thick / 2, 0), tone=dice.pick(0.0, 1.0)))
        return bodies
    base = dice.between(0.03, 0.06)
    deep = high * 1.02
    bodies = moved(panel, lean, (0, deep / 2, base))
    bodies.append(standing("box", (1, deep, base), tone=dice.pick(0.0, 1.0)))
    columns, rows = dice.whole(8, 11), dice.whole(3, 4)
    step, row_step = 0.9 / columns, 0.5 * deep / rows
    for row in range(rows):
        for column in range(columns):
            at = ((column - (columns - 1) / 2) * step, deep * 0.38 - (row + 0.5) * row_step, base)
            bodies.append(standing("box", (step * 0.86, row_step * 0.86, 0.006), at, tone=0.5))
    bodies.append(standing("box", (0.3, 0.26 * deep, 0.004), (0, -0.32 * deep, base), tone=0.4))
    return bodies


def hand(dice: Dice) -> list[Body]:
    """A palm of four capsules, fingers of three and a thumb of two, curled by a common and by their own angles, and a
    forearm; in units of the palm's length, with the fingers along X and the back of the hand upward."""
    curl, spread = dice.between(0.05, 0.9), dice.between(0.02, 0.16)
    wide, thick = dice.between(0.7, 0.9), dice.between(0.1, 0.14)
    bodies: list[Body] = []
    skin = 0.0
    for k, length in enumerate((0.75, 0.9, 1.0, 0.9)):  # little finger to index finger
        y = (k - 1.5) / 3 * (wide - 2 * thick)
        knuckle = np.array([1.0 - 0.05 * abs(k - 2), y, 0.0])
        bodies += chain(np.array([[0.05, y * 0.75, 0.0], knuckle]), thick * 1.05, skin)
        own = curl * dice.between(0.6, 1.4)
        if dice.chance(0.15):
            own *= 0.2
        bodies += _finger(knuckle, length, own, (k - 1.5) * spread, thick, skin)
    side = (wide / 2 - thick) * 0.8
    root = np.array([0.2, side, -0.02])
    out, down = dice.between(0.4, 1.1), dice.between(0.1, 0.6)
    joint = root + 0.5 * np.array([exact.cosine(out), exact.sine(out), -down * 0.5])
    inward = out - dice.between(0.0, 0.9)
    tip = joint + 0.38 * np.array([exact.cosine(inward), exact.sine(inward), -down])
    bodies += chain(np.array([root, joint, tip]), [thick * 1.1, thick * 0.95], skin)
    arm, rise = dice.between(0.7, 2.0), dice.between(-0.05, 0.5)
    end = np.array([-arm * exact.cosine(rise), 0, arm * exact.sine(rise)])
    wrist = np.array([0.0, 0, 0])
    bodies += chain(np.array([wrist, end]), thick * 2.2, skin)
    if dice.chance(0.6):  # a sleeve, with the texture of the material
        start = wrist + (end - wrist) * dice.between(0.2, 0.6)
        bodies += chain(np.array([start, end]), thick * dice.between(2.6, 3.2), None)
    elif dice.chance(0.4):  # a watch
        a = wrist + (end - wrist) * 0.15
        bodies.append(rod("cylinder", a, a + (end - wrist) / arm * 0.18, thick * 4.7, tone=1))
    return bodies


def _finger(knuckle: Array, length: float, curl: float, turn: float, thick: float, tone: float) -> list[Body]:
    points, pitch = [knuckle], 0.3 * curl
    for share in (0.45, 0.3, 0.25):
        step = np.array(
            [exact.cosine(pitch) * exact.cosine(turn), exact.cosine(pitch) * exact.sine(turn), -exact.sine(pitch)]
        )
        points.append(points[-1] + share * length * step)
        pitch += curl
    return chain(np.array(points), [thick, thick * 0.9, thick * 0.8], tone)
