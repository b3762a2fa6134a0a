"""Colors of surfaces: functions of the ray caster's kernels. textures/procedural.py has the same formulas in NumPy.

u and v are coordinates on a surface, 0 in the middle and 0.5 at the borders of the bounding box, v upward.
"""

import warp as wp

from simgen.render.device import Material, Tables
from simgen.scene import TEXTURES
from simgen.textures.pool import LEVELS, SIDE, STARTS
from simgen.textures.procedural import FACES, LATTICE, OCTAVES

_GRADIENT, _CHECKER = wp.constant(TEXTURES.index("gradient")), wp.constant(TEXTURES.index("checker"))
_NOISE, _FACES = wp.constant(TEXTURES.index("noise")), wp.constant(TEXTURES.index("faces"))
_FLAT = wp.constant(TEXTURES.index("flat"))
_SIDE, _LEVELS = wp.constant(SIDE), wp.constant(LEVELS)
_STARTS = wp.constant(wp.types.vector(length=len(STARTS), dtype=wp.int32)(*STARTS))
_OCTAVES, _LATTICE, _FACE_COUNT = wp.constant(OCTAVES), wp.constant(LATTICE), wp.constant(FACES)


@wp.func
def value_noise(lattice: wp.array(dtype=float), u: float, v: float, cycles: float, low: int, high: int):
    """Value noise in [0, 1]: octaves of random numbers on lattices, smoothly interpolated and summed."""
    total = float(0.0)
    weight = float(1.0)
    weights = float(0.0)
    scale = float(cycles)
    octaves = int(_OCTAVES)  # a variable: the loop is not unrolled
    for octave in range(octaves):
        x = u * scale
        y = v * scale
        left = wp.floor(x)
        below = wp.floor(y)
        fx = x - left
        fy = y - below
        fx = fx * fx * (3.0 - 2.0 * fx)
        fy = fy * fy * (3.0 - 2.0 * fy)
        column = int(left) + ((low >> (8 * octave)) & (_LATTICE - 1))
        row = int(below) + ((high >> (8 * octave)) & (_LATTICE - 1))
        column0 = column & (_LATTICE - 1)
        column1 = (column + 1) & (_LATTICE - 1)
        row0 = (row & (_LATTICE - 1)) * _LATTICE
        row1 = ((row + 1) & (_LATTICE - 1)) * _LATTICE
        near = lattice[row0 + column0] + (lattice[row0 + column1] - lattice[row0 + column0]) * fx
        far = lattice[row1 + column0] + (lattice[row1 + column1] - lattice[row1 + column0]) * fx
        total += (near + (far - near) * fy) * weight
        weights += weight
        weight *= 0.5
        scale *= 2.0
    # The sum is concentrated about 0.5; this spreads it over most of [0, 1].
    return wp.clamp((total / weights - 0.5) * 1.8 + 0.5, 0.0, 1.0)


@wp.func
def share_of_color2(m: Material, tables: Tables, u: float, v: float, face: int):
    """The share in [0, 1] of a procedural texture's second color."""
    if m.texture == _FLAT:
        return float(0.0)
    if m.texture == _FACES:
        return tables.lattice[(m.hash + 977 * (face % _FACE_COUNT)) % (_LATTICE * _LATTICE)]
    if m.texture == _NOISE:
        return value_noise(tables.lattice, u, v, m.cycles, m.low, m.high)
    along = u * m.cosine + v * m.sine
    if m.texture == _GRADIENT:
        return wp.clamp(along / (wp.abs(m.cosine) + wp.abs(m.sine)) + 0.5, 0.0, 1.0)
    stripes = wp.floor(along * (2.0 * m.cycles))
    if m.texture == _CHECKER:
        stripes = stripes + wp.floor((v * m.cosine - u * m.sine) * (2.0 * m.cycles))
    return stripes - 2.0 * wp.floor(stripes * 0.5)


@wp.func
def mirrored(x: float):
    """`x` reflected into [0, 1] at every whole number."""
    half = x * 0.5
    x = (half - wp.floor(half)) * 2.0
    return wp.min(x, 2.0 - x)


@wp.func
def texel(tables: Tables, layer: int, level: int, s: float, t: float):
    """The color in [0, 255] of a picture of the pool at (s, t) in [0, 1] of one of its mip levels, interpolated."""
    side = _SIDE >> level
    x = s * float(side) - 0.5
    y = t * float(side) - 0.5
    left = wp.floor(x)
    top = wp.floor(y)
    fx = x - left
    fy = y - top
    column0 = wp.max(int(left), 0)
    column1 = wp.min(int(left) + 1, side - 1)
    start = _STARTS[level]
    row0 = start + wp.max(int(top), 0) * side
    row1 = start + wp.min(int(top) + 1, side - 1) * side
    a = tables.pool[layer, row0 + column0]
    b = tables.pool[layer, row0 + column1]
    c = tables.pool[layer, row1 + column0]
    d = tables.pool[layer, row1 + column1]
    wa = (1.0 - fx) * (1.0 - fy)
    wb = fx * (1.0 - fy)
    wc = (1.0 - fx) * fy
    wd = fx * fy
    return wp.vec3(
        wa * float(a[0]) + wb * float(b[0]) + wc * float(c[0]) + wd * float(d[0]),
        wa * float(a[1]) + wb * float(b[1]) + wc * float(c[1]) + wd * float(d[1]),
        wa * float(a[2]) + wb * float(b[2]) + wc * float(c[2]) + wd * float(d[2]),
    )


@wp.func
def sampled(tables: Tables, layer: int, s: float, t: float, texels: float):
    """The color in [0, 255] of a picture at (s, t), mirrored beyond its borders, filtered for a pixel that covers `texels`
    of its texels in each direction: two mip levels, interpolated."""
    level = int(0)
    ratio = wp.max(texels, 1.0)
    while ratio >= 2.0 and level < _LEVELS - 1:
        ratio = ratio * 0.5
        level += 1
    share = float(0.0)  # of the coarser level
    if ratio > 1.0 and level < _LEVELS - 1:
        share = wp.min(ratio, 2.0) - 1.0
    s = mirrored(s)
    t = mirrored(t)
    color = wp.vec3(0.0, 0.0, 0.0)
    steps = int(2)  # a variable: the loop is not unrolled, which would take long to compile
    for step in range(steps):
        weight = 1.0 - share
        if step == 1:
            weight = share
        if weight > 0.0:
            color = color + texel(tables, layer, level + step, s, t) * weight
    return color


@wp.func
def decoded(linear: wp.array(dtype=float), value: float):
    """Linear light of a displayed value in [0, 255]."""
    whole = wp.min(int(value), 254)
    low = linear[whole]
    return low + (linear[whole + 1] - low) * (value - float(whole))


@wp.func
def recolored(color: wp.vec3, code: int):
    """`color` in [0, 255] with its channels exchanged (code % 6) and, from 6 on, inverted: other colors, the same edges."""
    order = code % 6
    result = color
    if order == 1:
        result = wp.vec3(color[1], color[2], color[0])
    elif order == 2:
        result = wp.vec3(color[2], color[0], color[1])
    elif order == 3:
        result = wp.vec3(color[0], color[2], color[1])
    elif order == 4:
        result = wp.vec3(color[2], color[1], color[0])
    elif order == 5:
        result = wp.vec3(color[1], color[0], color[2])
    if code >= 6:
        result = wp.vec3(255.0 - result[0], 255.0 - result[1], 255.0 - result[2])
    return result


@wp.func
def picture_color(m: Material, tables: Tables, x: float, y: float, face: int, texels: float):
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
            py = -swap
        if (bits & 2) != 0:
            px = -px
        crop = crop * (0.6 + 0.8 * float((bits >> 2) & 15) / 15.0)
        ox += float((bits >> 6) & 31) * 0.0625
        oy += float((bits >> 11) & 31) * 0.0625
    color = sampled(tables, m.layer, px * crop + ox + 0.5, 0.5 - (py * crop + oy), texels * crop)
    color = recolored(color, m.recolor)
    return wp.vec3(decoded(tables.linear, color[0]), decoded(tables.linear, color[1]), decoded(tables.linear, color[2]))


@wp.func
def surface_color(
    m: Material, tables: Tables, u: float, v: float, x: float, y: float, face: int, texels: float, tone: float
):
    """Linear albedo at (u, v) of the surface's bounding box, which is (x, y) in units of its longest side; `tone` is that of
    the part."""
    color = m.color
    if m.layer >= 0:
        color = picture_color(m, tables, x, y, face, texels)
        if tone > 0.0:
            color = color + (m.color2 - color) * tone
    elif tone >= 0.0:
        color = m.color + (m.color2 - m.color) * tone
    else:
        color = m.color + (m.color2 - m.color) * share_of_color2(m, tables, u, v, face)
    if m.grime > 0.0:
        dirt = sampled(tables, m.grime_layer, x + m.offset[1] + 0.5, 0.5 - y - m.offset[0], texels)
        change = (dirt[0] - 128.0) * (m.grime / 127.0)
        if change < 0.0:
            color = color * wp.max(1.0 + change, 0.0)
        else:
            color = color + (wp.vec3(1.0, 1.0, 1.0) - color) * wp.min(change, 1.0)
    return color
