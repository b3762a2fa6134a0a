"""Printed matter: lettering, bars, codes, logos and labels on a mostly plain ground, as on packaging, books and toys."""

import math

import cv2
import numpy as np

from simgen import exact
from simgen.pictures import Image
from simgen.textures.collage import collage
from simgen.textures.fields import faded, lit, noise, ramp, shaded, turned
from simgen.textures.lettering import Face, any_face, draw_text, length_of, word
from simgen.textures.numbers import Color, Numbers, any_color, contrasting, hsv, near

Box = tuple[int, int, int, int]  # left, top, right, bottom in px


def printed(numbers: Numbers, size: int) -> Image:
    """(size, size, 3) a piece of printed matter."""
    ground = _ground_color(numbers)
    image = _ground(numbers, size, ground)
    inks = [contrasting(numbers, ground), contrasting(numbers, ground), any_color(numbers)]
    # A part of the picture is printed; the remainder stays plain.
    if numbers.chance(0.45):
        area = (0, 0, size, size)
    else:
        width, height = (int(size * numbers.uniform(0.35, 0.95)) for _ in range(2))
        left, top = numbers.integer(0, size - width), numbers.integer(0, size - height)
        area = left, top, left + width, top + height
    if numbers.chance(0.25):
        _letter_block(numbers, image, area, ground, inks)
    else:
        if numbers.chance(0.3):
            area = _frame(numbers, image, area, inks[0])
        _layout(numbers, image, area, ground, inks, 0)
    if numbers.chance(0.25):
        image = faded(numbers, image)
    if numbers.chance(0.4):  # worn ink, and the ground's own unevenness
        image = lit(image, 1 + numbers.log(0.02, 0.25) * (noise(numbers, size, size, 2) - 0.5))
    if numbers.chance(0.25):
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), numbers.log(0.4, 1.5) * size / 256))
    return np.ascontiguousarray(np.rot90(image, numbers.choice((0, 0, 0, 1, 2, 3))))


def _ground_color(numbers: Numbers) -> Color:
    kind = numbers.uniform()
    if kind < 0.3:  # white paper and plastic
        return hsv(numbers.uniform(), numbers.uniform(0, 0.06), numbers.uniform(0.85, 1))
    if kind < 0.45:  # cardboard
        return hsv(numbers.uniform(0.06, 0.12), numbers.uniform(0.25, 0.6), numbers.uniform(0.45, 0.85))
    return any_color(numbers)


def _ground(numbers: Numbers, size: int, color: Color) -> Image:
    kind = numbers.choice(("plain", "plain", "plain", "plain", "gradient", "gradient", "fibers", "mottled"))
    other = near(numbers, color, numbers.uniform(0.05, 0.35))
    if kind == "gradient":
        along, _ = turned(size, size, numbers.uniform(0, 2 * math.pi))
        return shaded(along / size + 0.5, ramp([color, other]))
    if kind == "fibers":
        field = noise(numbers, size, size, 1, zoom=numbers.log(0.7, 2), stretch=numbers.log(2, 8))
        return shaded(field, ramp([color, near(numbers, color, 0.12)]))
    if kind == "mottled":
        return shaded(noise(numbers, size, size, 2, zoom=numbers.log(0.5, 2)), ramp([color, other]))
    return np.broadcast_to(np.array(color, np.uint8), (size, size, 3)).copy()


def _layout(numbers: Numbers, image: Image, box: Box, ground: Color, inks: list[Color], depth: int) -> None:
    """Divides `box` into rows or columns, and puts something into each part."""
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    if min(width, height) < 14 or (depth and max(width, height) < 60):
        return
    if depth < 3 and (depth < 1 or numbers.chance(0.5)):
        share = numbers.uniform(0.2, 0.8)
        if height > width * numbers.log(0.5, 2):
            cut = top + int(share * height)
            parts = [(left, top, right, cut), (left, cut, right, bottom)]
        else:
            cut = left + int(share * width)
            parts = [(left, top, cut, bottom), (cut, top, right, bottom)]
        for part in parts:
            _layout(numbers, image, part, ground, inks, depth + 1)
        return
    if numbers.chance(0.3):  # a field of another color
        ground = any_color(numbers)
        cv2.rectangle(image, (left, top), (right - 1, bottom - 1), ground, -1)
        inks = [contrasting(numbers, ground), contrasting(numbers, ground), any_color(numbers)]
    margin = int(numbers.uniform(0.02, 0.12) * min(width, height))
    inner = left + margin, top + margin, right - margin, bottom - margin
    draw = numbers.choice(
        (
            _headline,
            _headline,
            _headline,
            _paragraph,
            _paragraph,
            _barcode,
            _matrix,
            _logo,
            _logo,
            _table,
            _photo,
            _bars,
        )
    )
    draw(numbers, image, inner, ground, inks)


def _headline(numbers: Numbers, image: Image, box: Box, ground: Color, inks: list[Color]) -> None:
    """One to three lines that fill the width."""
    left, top, right, bottom = box
    lines = numbers.integer(1, 3)
    face, capital = any_face(numbers), numbers.chance(0.5)
    pitch = (bottom - top) / lines
    for k in range(lines):
        text = word(numbers, capital=capital)
        if numbers.chance(0.3):
            text += " " + word(numbers, longest=6, capital=capital)
        height = min((right - left) / length_of(text, face), 0.7 * pitch) * numbers.uniform(0.6, 1)
        if height >= 4:
            at = left + 0.5 * face.weight * height, top + k * pitch + 0.15 * pitch
            if numbers.chance(0.15):  # its shadow or outline
                draw_text(image, text, (at[0] + 0.06 * height, at[1] + 0.06 * height), height, face, inks[2])
            draw_text(image, text, at, height, face, inks[0] if numbers.chance(0.7) else inks[1])


def _paragraph(numbers: Numbers, image: Image, box: Box, ground: Color, inks: list[Color]) -> None:
    """Lines of small print."""
    left, top, right, bottom = box
    face = any_face(numbers)
    face = Face(face.width, face.gap, min(face.weight, 0.16), face.slant, False, face.serifs)
    height = numbers.log(0.015, 0.045) * image.shape[0]
    pitch = height * numbers.uniform(1.5, 2.2)
    advance = (face.width + face.gap) * height
    for k in range(min(int((bottom - top) / pitch), 14)):
        letters = int((right - left) / advance * (numbers.uniform(0.3, 0.9) if numbers.chance(0.2) else 1))
        text = ""
        while len(text) < letters:
            text += word(numbers) + " "
        draw_text(image, text[: max(letters, 0)], (left, top + k * pitch + 0.2 * pitch), height, face, inks[0])


def _barcode(numbers: Numbers, image: Image, box: Box, ground: Color, inks: list[Color]) -> None:
    left, top, right, bottom = box
    bottom = min(bottom, top + int((right - left) * numbers.uniform(0.3, 1)))
    cv2.rectangle(image, (left, top), (right, bottom), (255, 255, 255), -1)
    module = max(1, (right - left) // 60)
    x, foot = left + 3 * module, bottom - max(2, (bottom - top) // 6)
    while x < right - 5 * module:
        width = module * numbers.integer(1, 3)
        cv2.rectangle(image, (x, top + 2), (x + width - 1, foot), (10, 10, 10), -1)
        x += width + module * numbers.integer(1, 3)
    face = Face(0.6, 0.3, 0.1, 0, False, False)
    height = (bottom - foot) * 0.7
    digits = "".join(numbers.choice("0123456789") for _ in range(int((right - left) / max(height * 0.9, 1)) - 1))
    if height >= 3:
        draw_text(image, digits[:16], (left + 3 * module, foot + 0.2 * height), height, face, (10, 10, 10))


def _matrix(numbers: Numbers, image: Image, box: Box, ground: Color, inks: list[Color]) -> None:
    """A code of black and white squares with three corner marks."""
    left, top, right, bottom = box
    cells = numbers.integer(15, 29)
    module = min(right - left, bottom - top) // (cells + 4)
    if module < 1:
        return
    code = (numbers.array(cells * cells) < 0.5).reshape(cells, cells)
    mark = np.ones((7, 7), bool)
    mark[1:6, 1:6] = False
    mark[2:5, 2:5] = True
    for corner in ((slice(7), slice(7)), (slice(7), slice(-7, None)), (slice(-7, None), slice(7))):
        code[corner] = mark
    code = np.kron(np.pad(code, 2), np.ones((module, module), bool))
    side = code.shape[0]
    image[top : top + side, left : left + side] = np.where(code, 15, 250)[..., None]


def _logo(numbers: Numbers, image: Image, box: Box, ground: Color, inks: list[Color]) -> None:
    """Simple shapes inside one another, and a letter or a word."""
    left, top, right, bottom = box
    radius = min(right - left, bottom - top) / 2
    if radius < 5:
        return
    x = numbers.uniform(left + radius, right - radius)
    y = numbers.uniform(top + radius, bottom - radius)
    colors = [*inks, any_color(numbers)]
    turn = numbers.uniform(0, 2 * math.pi)
    for k in range(numbers.integer(1, 4)):
        corners = numbers.choice((3, 4, 4, 5, 6, 8, 32, 32, 32))
        angles = turn * (corners < 32 and numbers.chance(0.5)) + np.arange(corners) * (2 * math.pi / corners)
        reach = np.full(corners, radius)
        if corners > 4 and numbers.chance(0.3):  # a star
            reach[::2] *= numbers.uniform(0.4, 0.9)
        stretch = numbers.uniform(0.5, 1)
        points = np.stack([x + reach * exact.cosine(angles), y + reach * stretch * exact.sine(angles)], axis=1)
        fixed = [np.rint(points * 16).astype(np.int32)]
        color = colors[k % 4]
        if numbers.chance(0.7):
            cv2.fillPoly(image, fixed, color, cv2.LINE_AA, 4)
        else:
            cv2.polylines(image, fixed, True, color, max(1, int(radius / 10)), cv2.LINE_AA, 4)
        radius *= numbers.uniform(0.5, 0.9)
    text = word(numbers, longest=5, capital=True)[: numbers.integer(1, 5)]
    face = any_face(numbers)
    height = min(1.6 * radius / max(length_of(text, face), 0.5), 1.4 * radius)
    if height >= 4:
        at = x - length_of(text, face) * height / 2, y - height / 2
        draw_text(image, text, at, height, face, numbers.choice(colors))


def _table(numbers: Numbers, image: Image, box: Box, ground: Color, inks: list[Color]) -> None:
    left, top, right, bottom = box
    rows, columns = numbers.integer(2, 8), numbers.integer(1, 4)
    face = any_face(numbers)
    pitch, span = (bottom - top) / rows, (right - left) / columns
    height = 0.5 * pitch
    for k in range(rows + 1):
        y = int(top + k * pitch)
        cv2.line(image, (left, y), (right, y), inks[0], 1)
        for column in range(columns if k < rows and height >= 4 else 0):
            text = word(numbers)[: max(int(span / ((face.width + face.gap) * height)) - 1, 0)]
            draw_text(image, text, (left + column * span + 2, y + 0.25 * pitch), height, face, inks[0])
    for column in range(columns + 1):
        x = int(left + column * span)
        cv2.line(image, (x, top), (x, bottom), inks[0], 1)


def _photo(numbers: Numbers, image: Image, box: Box, ground: Color, inks: list[Color]) -> None:
    """A panel that resembles a photograph."""
    left, top, right, bottom = box
    side = max(right - left, bottom - top)
    image[top:bottom, left:right] = collage(numbers, side, 40)[: bottom - top, : right - left]


def _bars(numbers: Numbers, image: Image, box: Box, ground: Color, inks: list[Color]) -> None:
    """Bars side by side, of a few colors."""
    left, top, right, bottom = box
    across = numbers.chance(0.5)
    end = right if across else bottom
    place = left if across else top
    while place < end:
        width = max(2, int(numbers.log(0.01, 0.15) * image.shape[0]))
        last = min(place + width, end) - 1
        corners = ((place, top), (last, bottom)) if across else ((left, place), (right, last))
        cv2.rectangle(image, *corners, numbers.choice(inks), -1)
        place += width + max(1, int(width * numbers.uniform(0, 1.5)))


def _letter_block(numbers: Numbers, image: Image, box: Box, ground: Color, inks: list[Color]) -> None:
    """One large letter or number, as on a toy block."""
    left, top, right, bottom = box
    if numbers.chance(0.6):
        _frame(numbers, image, box, inks[1])
    face = any_face(numbers)
    text = word(numbers, longest=3, capital=True)[: numbers.integer(1, 2)]
    height = min(0.6 * (bottom - top), 0.7 * (right - left) / length_of(text, face))
    x = (left + right) / 2 - length_of(text, face) * height / 2
    draw_text(image, text, (x, (top + bottom) / 2 - height / 2), height, face, inks[0])


def _frame(numbers: Numbers, image: Image, box: Box, color: Color) -> Box:
    """One or two lines along the border of `box`; returns the box inside them."""
    left, top, right, bottom = box
    thick = max(1, int(numbers.log(0.006, 0.06) * image.shape[0]))
    inset = 0
    for _ in range(numbers.integer(1, 2) if thick < 0.02 * image.shape[0] else 1):
        middle = inset + thick // 2
        cv2.rectangle(image, (left + middle, top + middle), (right - 1 - middle, bottom - 1 - middle), color, thick)
        inset += 2 * thick
    return left + inset, top + inset, right - inset, bottom - inset
