"""Colors of surfaces: functions of the ray caster's kernels. textures/procedural.py has the same formulas in NumPy.

u and v are coordinates on a surface, 0 in the middle and 0.5 at the borders of the bounding box, v upward.
"""

import warp as wp

from simgen.scene import TEXTURES
from simgen.textures.pool import LEVELS, SIDE
from simgen.textures.procedural import FACES, LATTICE, OCTAVES

from .device import Material, Pictures
from .lanes import (
    LANES,
    add,
    anywhere,
    div,
    floor,
    lanes,
    lanes3,
    less,
    looked_up,
    mul,
    no,
    real,
    spread,
    sub,
    where,
    whole,
    wholes,
    xyz,
)

_GRADIENT, _CHECKER = wp.constant(TEXTURES.index("gradient")), wp.constant(TEXTURES.index("checker"))
_NOISE, _FACES = wp.constant(TEXTURES.index("noise")), wp.constant(TEXTURES.index("faces"))
_FLAT = wp.constant(TEXTURES.index("flat"))
_SIDE, _LEVELS = wp.constant(SIDE), wp.constant(LEVELS)
_OCTAVES, _LATTICE, _FACE_COUNT = wp.constant(OCTAVES), wp.constant(LATTICE), wp.constant(FACES)


@wp.func
def value_noise(lattice: wp.array(dtype=float), u: lanes, v: lanes, cycles: float, low: int, high: int):
    """Value noise in [0, 1]: octaves of random numbers on lattices, smoothly interpolated and summed."""
    total = lanes(0.0)
    weight = float(1.0)
    weights = float(0.0)
    scale = float(cycles)
    octaves = int(_OCTAVES)  # a variable: the loop is not unrolled
    for octave in range(octaves):
        x = u * scale
        y = v * scale
        left = floor(x)
        below = floor(y)
        fx = x - left
        fy = y - below
        fx = fx * fx * (lanes(3.0) - 2.0 * fx)
        fy = fy * fy * (lanes(3.0) - 2.0 * fy)
        mask = wholes(_LATTICE - 1)
        column = whole(left) + wholes((low >> (8 * octave)) & (_LATTICE - 1))
        row = whole(below) + wholes((high >> (8 * octave)) & (_LATTICE - 1))
        column0 = column & mask
        column1 = (column + wholes(1)) & mask
        row0 = (row & mask) * _LATTICE
        row1 = ((row + wholes(1)) & mask) * _LATTICE
        a = looked_up(lattice, row0 + column0)
        c = looked_up(lattice, row1 + column0)
        near = a + (looked_up(lattice, row0 + column1) - a) * fx
        far = c + (looked_up(lattice, row1 + column1) - c) * fx
        total += (near + (far - near) * fy) * weight
        weights += weight
        weight *= 0.5
        scale *= 2.0
    # The sum is concentrated about 0.5; this spreads it over most of [0, 1].
    half = lanes(0.5)
    return wp.min(wp.max((total / weights - half) * 1.8 + half, lanes(0.0)), lanes(1.0))


@wp.func
def share_of_color2(m: Material, pictures: Pictures, u: lanes, v: lanes, face: int):
    """The shares in [0, 1] of a procedural texture's second color."""
    if m.texture == _FLAT:
        return lanes(0.0)
    if m.texture == _FACES:
        return lanes(pictures.lattice[(m.hash + 977 * (face % _FACE_COUNT)) % (_LATTICE * _LATTICE)])
    if m.texture == _NOISE:
        return value_noise(pictures.lattice, u, v, m.cycles, m.low, m.high)
    along = u * m.cosine + v * m.sine
    if m.texture == _GRADIENT:
        place = along / (wp.abs(m.cosine) + wp.abs(m.sine)) + lanes(0.5)
        return wp.min(wp.max(place, lanes(0.0)), lanes(1.0))
    stripes = floor(along * (2.0 * m.cycles))
    if m.texture == _CHECKER:
        stripes = stripes + floor((v * m.cosine - u * m.sine) * (2.0 * m.cycles))
    return stripes - 2.0 * floor(stripes * 0.5)


@wp.func
def mirrored(x: lanes):
    """`x` reflected into [0, 1] at every whole number."""
    half = x * 0.5
    x = (half - floor(half)) * 2.0
    return wp.min(x, lanes(2.0) - x)


@wp.func_native(f"""
    wp::vec_t<{LANES}, float> r;
    const wp::vec_t<3, wp::uint8>* picture = &wp::index(pool, layer, 0);
    for (int i = 0; i < {LANES}; ++i)
        r.c[i] = (float)picture[place.c[i]].c[channel];
    return r;
""")
def channel_at(pool: wp.array2d(dtype=wp.vec3ub), layer: int, place: wholes, channel: int) -> lanes:
    """A channel of the texels of a picture of the pool at these places, in [0, 255]."""


@wp.func
def texels_at(pool: wp.array2d(dtype=wp.vec3ub), layer: int, place: wholes):
    return xyz(channel_at(pool, layer, place, 0), channel_at(pool, layer, place, 1), channel_at(pool, layer, place, 2))


@wp.func
def texel(pictures: Pictures, layer: int, side: wholes, start: wholes, s: lanes, t: lanes):
    """The colors in [0, 255] of a picture of the pool at (s, t) in [0, 1] of mip levels, interpolated. A level has `side`^2
    texels from `start` on."""
    x = s * real(side) - lanes(0.5)
    y = t * real(side) - lanes(0.5)
    left = floor(x)
    top = floor(y)
    fx = x - left
    fy = y - top
    last = side - wholes(1)
    column0 = wp.max(whole(left), wholes(0))
    column1 = wp.min(whole(left) + wholes(1), last)
    row0 = start + wp.cw_mul(wp.max(whole(top), wholes(0)), side)
    row1 = start + wp.cw_mul(wp.min(whole(top) + wholes(1), last), side)
    one = lanes(1.0)
    color = texels_at(pictures.pool, layer, row0 + column0) * ((one - fx) * (one - fy))
    color = color + texels_at(pictures.pool, layer, row0 + column1) * (fx * (one - fy))
    color = color + texels_at(pictures.pool, layer, row1 + column0) * ((one - fx) * fy)
    return color + texels_at(pictures.pool, layer, row1 + column1) * (fx * fy)


@wp.func
def sampled(pictures: Pictures, layer: int, s: lanes, t: lanes, texels: lanes):
    """The colors in [0, 255] of a picture at (s, t), mirrored beyond its borders, filtered for pixels that cover `texels` of
    its texels in each direction: two mip levels, interpolated."""
    side = wholes(_SIDE)
    start = wholes(0)
    ratio = wp.max(texels, lanes(1.0))
    two = lanes(2.0)
    level = int(0)
    while anywhere(no(less(ratio, two))) and level < _LEVELS - 1:
        coarser = no(less(ratio, two))
        ratio = where(coarser, ratio * 0.5, ratio)
        start = start + wp.cw_mul(coarser, wp.cw_mul(side, side))
        side = side >> coarser
        level += 1
    s = mirrored(s)
    t = mirrored(t)
    color = texel(pictures, layer, side, start, s, t)
    # The share of the coarser level, of which the last one has none.
    share = wp.min(ratio, two) - lanes(1.0)
    coarser = wp.min(side - wholes(1), wholes(1))
    share = share * real(coarser)
    if anywhere(less(lanes(0.0), share)):
        start = start + wp.cw_mul(coarser, wp.cw_mul(side, side))
        other = texel(pictures, layer, side >> coarser, start, s, t)
        color = color * (lanes(1.0) - share) + other * share
    return color


@wp.func
def decoded(linear: wp.array(dtype=float), value: lanes):
    """Linear light of displayed values in [0, 255]."""
    place = wp.min(whole(value), wholes(254))
    low = looked_up(linear, place)
    return low + (looked_up(linear, place + wholes(1)) - low) * (value - real(place))


@wp.func
def recolored(color: lanes3, code: int):
    """`color` in [0, 255] with its channels exchanged (code % 6) and, from 6 on, inverted: other colors, the same edges."""
    order = code % 6
    result = color
    if order == 1:
        result = xyz(color.y, color.z, color.x)
    elif order == 2:
        result = xyz(color.z, color.x, color.y)
    elif order == 3:
        result = xyz(color.x, color.z, color.y)
    elif order == 4:
        result = xyz(color.z, color.y, color.x)
    elif order == 5:
        result = xyz(color.y, color.x, color.z)
    if code >= 6:
        result = wp.vec3(255.0, 255.0, 255.0) - result
    return result


@wp.func
def picture_color(m: Material, pictures: Pictures, x: lanes, y: lanes, face: int, texels: lanes):
    """Linear light of the picture of a material at (x, y), in units of the surface's longest side, y upward. `texels` of the
    whole picture's texels would lie on a pixel if the picture covered that side."""
    crop = m.crop
    px = x * m.cosine + y * m.sine
    py = y * m.cosine - x * m.sine
    ox = m.offset[0]
    oy = m.offset[1]
    if m.sides != 0:
        # Bits of a hash of the face: a quarter turn, a mirror, a scale and a place of its own.
        bits = m.hash + 7919 * (face + 1)
        bits = (bits * 1103 + 12345) & 0xFFFF
        if (bits & 1) != 0:
            swap = px
            px = py
            py = swap * -1.0
        if (bits & 2) != 0:
            px = px * -1.0
        crop = crop * (0.6 + 0.8 * float((bits >> 2) & 15) / 15.0)
        ox += float((bits >> 6) & 31) * 0.0625
        oy += float((bits >> 11) & 31) * 0.0625
    half = lanes(0.5)
    color = sampled(pictures, m.layer, px * crop + lanes(ox) + half, half - (py * crop + lanes(oy)), texels * crop)
    color = recolored(color, m.recolor)
    return xyz(decoded(pictures.linear, color.x), decoded(pictures.linear, color.y), decoded(pictures.linear, color.z))


@wp.func
def surface_color(
    m: Material, pictures: Pictures, u: lanes, v: lanes, x: lanes, y: lanes, face: int, texels: lanes, tone: float
):
    """Linear albedo at (u, v) of the surface's bounding box, which is (x, y) in units of its longest side; `tone` is that of
    the part."""
    color = spread(m.color)
    if m.layer >= 0:
        color = picture_color(m, pictures, x, y, face, texels)
        if tone > 0.0:
            color = color + (m.color2 - color) * tone
    elif tone >= 0.0:
        color = spread(m.color + (m.color2 - m.color) * tone)
    else:
        color = m.color + (m.color2 - m.color) * share_of_color2(m, pictures, u, v, face)
    if m.grime > 0.0:
        half = lanes(0.5)
        dirt = sampled(pictures, m.grime_layer, x + lanes(m.offset[1]) + half, half - y - lanes(m.offset[0]), texels)
        change = (dirt.x - lanes(128.0)) * (m.grime / 127.0)
        darker = wp.max(lanes(1.0) + wp.min(change, lanes(0.0)), lanes(0.0))
        color = color * darker
        color = color + (wp.vec3(1.0, 1.0, 1.0) - color) * wp.min(wp.max(change, lanes(0.0)), lanes(1.0))
    return color
