"""Lettering: words of letters made of strokes, in many faces.

The letters are drawn here and not by OpenCV, whose fonts depend on its version.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from simgen import exact
from simgen.pictures import Image
from simgen.textures.numbers import Color, Numbers

# Strokes of each letter, separated by commas: points "xy" on a grid, x from 0 to 4, y from 0 (top) to 6 (baseline).
_GLYPHS = {
    "A": "06 20 46,14 34", "B": "06 00 30 41 42 33 03,33 44 45 36 06", "C": "41 30 10 01 05 16 36 45",
    "D": "06 00 20 42 44 26 06", "E": "40 00 06 46,03 33", "F": "40 00 06,03 33", "G": "41 30 10 01 05 16 36 45 43 23",
    "H": "00 06,40 46,03 43", "I": "20 26", "J": "30 35 26 16 05", "K": "00 06,40 03 46", "L": "00 06 46",
    "M": "06 00 23 40 46", "N": "06 00 46 40", "O": "10 30 41 45 36 16 05 01 10", "P": "06 00 30 41 42 33 03",
    "Q": "10 30 41 45 36 16 05 01 10,24 46", "R": "06 00 30 41 42 33 03,23 46", "S": "41 30 10 01 02 13 33 44 45 36 16 05",
    "T": "00 40,20 26", "U": "00 05 16 36 45 40", "V": "00 26 40", "W": "00 16 22 36 40", "X": "00 46,40 06",
    "Y": "00 23 40,23 26", "Z": "00 40 06 46", "a": "12 32 43 46,44 14 05 16 36 45", "b": "00 06,03 12 32 43 45 36 16 05",
    "c": "43 32 12 03 05 16 36 45", "d": "40 46,43 32 12 03 05 16 36 45", "e": "04 44 43 32 12 03 05 16 36",
    "f": "30 20 11 16,02 32", "g": "42 47 38 18,43 32 12 03 05 16 36 45", "h": "00 06,03 12 32 43 46", "i": "22 26,20 20",
    "k": "00 06,42 04 36", "l": "20 26", "m": "02 06,03 12 23 26,23 32 43 46", "n": "02 06,03 12 32 43 46",
    "o": "12 32 43 45 36 16 05 03 12", "p": "02 08,03 12 32 43 45 36 16 05", "r": "02 06,04 13 22 32",
    "s": "42 12 03 14 34 45 36 06", "t": "20 25 36 46,02 42", "u": "02 05 16 36 45,42 46", "v": "02 26 42",
    "w": "02 16 23 36 42", "x": "02 46,42 06", "y": "02 26,42 08", "z": "02 42 06 46", "0": "10 30 41 45 36 16 05 01 10",
    "1": "11 20 26,16 36", "2": "01 10 30 41 42 06 46", "3": "01 10 30 41 42 33 23,33 44 45 36 16 05", "4": "36 30 04 44",
    "5": "40 00 03 33 44 45 36 16 05", "6": "41 30 10 01 05 16 36 45 44 33 03", "7": "00 40 16",
    "8": "10 30 41 42 33 13 02 01 10,13 04 05 16 36 45 44 33", "9": "05 16 36 45 41 30 10 01 02 13 43", ".": "26 26",
    "-": "13 33", "/": "06 40", "!": "20 24,26 26", "+": "13 33,22 24",
}  # fmt: skip
_POINTS = {  # (n, 2) the points of all strokes of a letter
    letter: np.array([[int(point[0]), int(point[1])] for point in strokes.replace(",", " ").split()], np.float64)
    for letter, strokes in _GLYPHS.items()
}
_LENGTHS = {letter: [len(stroke.split()) for stroke in strokes.split(",")] for letter, strokes in _GLYPHS.items()}
_HEIGHT = 6  # of a capital, on the grid
_SHIFT = 4  # bits of a coordinate's fraction
_SERIF = np.array([0.1, 0])  # half of one, in heights


@dataclass(frozen=True)
class Face:
    """How letters look: `width` and `gap` of a letter and `weight` of a stroke in heights of a capital, `slant` in x for
    each y, whether strokes are wider across than up (`nib`), and whether they end in `serifs`."""

    width: float
    gap: float
    weight: float
    slant: float
    nib: bool
    serifs: bool


def any_face(numbers: Numbers) -> Face:
    """A random face, from narrow and light to wide and heavy."""
    return Face(
        width=numbers.log(0.35, 0.9),
        gap=numbers.uniform(0.16, 0.34),
        weight=numbers.log(0.06, 0.24),
        slant=numbers.uniform(0, 0.35) if numbers.chance(0.25) else 0,
        nib=numbers.chance(0.35),
        serifs=numbers.chance(0.3),
    )


def word(numbers: Numbers, *, longest: int = 9, capital: bool = False) -> str:
    """A word that can be spoken, or sometimes a number."""
    length = numbers.integer(2, longest)
    if numbers.chance(0.15):
        return "".join(numbers.choice("0123456789.-/") for _ in range(min(length, 6)))
    letters = [numbers.choice("aeiou" if (k + length) % 2 else "bcdfghklmnprstvwxz") for k in range(length - 1)]
    text = numbers.choice("ABCDEFGHKLMNOPRSTVWZ") + "".join(letters)
    return (
        text.upper() if capital else text if numbers.chance(0.3) else text.lower().replace("j", "i").replace("q", "o")
    )


def length_of(text: str, face: Face) -> float:
    """How long `text` is, in heights of a capital."""
    return len(text) * (face.width + face.gap) - face.gap


def draw_text(
    image: Image,
    text: str,
    at: tuple[float, float],
    height: float,
    face: Face,
    color: Color | int,
    angle: float = 0.0,
) -> None:
    """Draws `text` into `image`, with capitals of `height` px; `at` (x, y) is its upper left corner, about which it is
    turned by `angle`."""
    letters = [(k, letter) for k, letter in enumerate(text) if letter in _POINTS]
    if not letters:
        return
    points = np.concatenate([_POINTS[letter] for _, letter in letters]) * [face.width / 4, 1 / _HEIGHT]
    lengths = [length for _, letter in letters for length in _LENGTHS[letter]]
    pens = np.repeat([k * (face.width + face.gap) for k, _ in letters], [len(_POINTS[letter]) for _, letter in letters])
    points[:, 0] += pens + face.slant * (1 - points[:, 1])
    ends = np.cumsum(lengths)
    if face.serifs:
        feet = points[np.concatenate([ends - lengths, ends - 1])]
        points = np.concatenate([points, np.stack([feet - _SERIF, feet + _SERIF], axis=1).reshape(-1, 2)])
        ends = np.concatenate([ends, ends[-1] + 2 * np.arange(1, len(feet) + 1)])
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    points = exact.product(points, turn) * height + at
    weight = face.weight * height
    thick = max(1, round(weight / 2 if face.nib else weight))
    shifts = np.arange(0, max(weight - thick, 0) + 0.5, max(thick / 2, 0.5)) if face.nib else np.zeros(1)
    for shift in shifts:
        fixed = np.rint((points + np.array([shift, 0])) * 2**_SHIFT).astype(np.int32)
        strokes = [fixed[start:end] for start, end in pairwise([0, *ends.tolist()])]
        cv2.polylines(image, strokes, False, color, thick, cv2.LINE_AA, _SHIFT)
