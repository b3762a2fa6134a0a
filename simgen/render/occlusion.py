"""Shadows and ambient occlusion: the ray caster's kernel `occluders`, and `visible_share` for a point and a light."""

import warp as wp

from simgen.render.device import (
    AMBIENT,
    DIRECTIONAL,
    DIRECTIONS,
    FAR_LIGHT,
    HIGH,
    LISTS,
    NOTHING,
    OPTIONS,
    TILE,
    WINDOW,
    WINDOW_LIGHT,
    Light,
    Part,
    Scene,
    Tables,
    place_of,
)
from simgen.render.intersect import FAR, clearance, hides, mapped, plane_at, turned

wp.set_module_options(OPTIONS)

_PCG_FACTOR, _PCG_STEP = wp.constant(wp.uint32(747796405)), wp.constant(wp.uint32(2891336453))


@wp.func
def parted(part: Part, tables: Tables, a: wp.vec3, a_radius: float, b: wp.vec3, b_radius: float):
    """Whether a plane of the part has all of the ball about `a` and of that about `b` before it, in the part's coordinates:
    then no line between the two balls meets the part."""
    for k in range(part.count):
        plane = plane_at(part, tables, k)
        n = wp.vec3(plane[0], plane[1], plane[2])
        if wp.dot(n, a) - a_radius >= plane[3] - 1.0e-5 and wp.dot(n, b) - b_radius >= plane[3] - 1.0e-5:
            return True
    return False


@wp.kernel
def occluders(
    first: int,
    tables: Tables,
    scenes: wp.array(dtype=Scene),
    parts: wp.array(dtype=Part),
    spheres: wp.array(dtype=wp.vec4),
    lights: wp.array(dtype=Light),
    rays: wp.array3d(dtype=wp.vec3),
    reach: wp.array3d(dtype=float),
    hit: wp.array3d(dtype=wp.int16),
    count: wp.array2d(dtype=int),
    shading: wp.array3d(dtype=wp.int16),
):
    """`shading` (tiles, LISTS, most), the first `count` (tiles, LISTS) of each: the parts whose bounding spheres touch a
    line between what a tile shows and light k, unless one of their planes has both before it; and last those near to it."""
    tile = first + wp.tid()
    s, x0, y0 = place_of(tile, tables)
    scene = scenes[s]
    low = wp.vec3(FAR, FAR, FAR)
    high = wp.vec3(-FAR, -FAR, -FAR)
    for iy in range(TILE):
        for ix in range(TILE):
            x = x0 + ix
            y = y0 + iy
            if x < tables.width and y < tables.height:
                what = int(hit[s, y, x])
                if what != NOTHING and what > WINDOW:
                    p = scene.eye + rays[s, y, x] * reach[s, y, x]
                    low = wp.min(low, p)
                    high = wp.max(high, p)
    for k in range(LISTS):
        count[tile, k] = 0
    if low[0] > high[0]:
        return
    middle = (low + high) * 0.5
    radius = wp.length(high - low) * 0.5 + 1.0e-5
    for k in range(scene.lights):
        light = lights[scene.light + k]
        if light.shadow != 0:
            target = light.place
            if light.kind == DIRECTIONAL:
                target = middle + light.place * FAR_LIGHT
            line = target - middle
            square = wp.max(wp.dot(line, line), 1.0e-12)
            far_radius = light.radius
            if light.kind == DIRECTIONAL:
                far_radius = radius
            widens = far_radius - radius
            shrink = wp.max(1.0 - widens * widens / square, 0.0)
            n = int(0)
            for j in range(scene.parts):
                sphere = spheres[scene.part + j]
                away = wp.vec3(sphere[0], sphere[1], sphere[2]) - middle
                along = wp.clamp(wp.dot(away, line) / square, 0.0, 1.0)
                gap = away - line * along
                # The sphere meets the hull of the tile's ball and the light's, which widens along the line.
                limit = sphere[3] + radius + widens * along + 1.0e-4
                if wp.dot(gap, gap) * shrink <= limit * limit:
                    part = parts[scene.part + j]
                    a = mapped(part.world, middle)
                    b = mapped(part.world, target)
                    if not parted(part, tables, a, radius / part.scale, b, far_radius / part.scale):
                        shading[tile, k, n] = wp.int16(j)
                        n += 1
            count[tile, k] = n
    if scene.occlusion > 0.0:
        n = int(0)
        reach_of = radius + 2.0 * HIGH  # a point that much above the surface is that much away from what it feels
        for j in range(scene.parts):
            sphere = spheres[scene.part + j]
            away = wp.vec3(sphere[0], sphere[1], sphere[2]) - middle
            limit = sphere[3] + reach_of
            if wp.dot(away, away) <= limit * limit:
                part = parts[scene.part + j]
                a = mapped(part.world, middle)
                if part.darkens != 0 and clearance(part, tables, a) * part.scale <= reach_of:
                    shading[tile, AMBIENT, n] = wp.int16(j)
                    n += 1
        count[tile, AMBIENT] = n


@wp.func
def hashed(value: wp.uint32):
    """A well-mixed 32-bit number: the PCG output function (Jarzynski and Olano 2020, "Hash Functions for GPU Rendering")."""
    state = value * _PCG_FACTOR + _PCG_STEP
    word = ((state >> ((state >> wp.uint32(28)) + wp.uint32(4))) ^ state) * wp.uint32(277803737)
    return (word >> wp.uint32(22)) ^ word


@wp.func
def share_of(word: wp.uint32):
    """A number in [0, 1) from the upper bits of `word`."""
    return float(int(word >> wp.uint32(8))) * (1.0 / 16777216.0)


@wp.func
def visible_share(
    tables: Tables,
    parts: wp.array(dtype=Part),
    spheres: wp.array(dtype=wp.vec4),
    scene: Scene,
    light: Light,
    shading: wp.array3d(dtype=wp.int16),
    tile: int,
    k: int,
    n: int,
    p: wp.vec3,
    normal: wp.vec3,
    own: int,
    side: int,
    key: wp.uint32,
):
    """The share of light `k` that no part hides from the point `p` of part `own`, whose surface has the `normal`: of side^2
    places on an area light, one in each ring and sector of equal area, or in each square of a window."""
    toward = light.place - p
    if light.kind == DIRECTIONAL:
        toward = light.place * FAR_LIGHT
    inverse = 1.0 / wp.max(wp.dot(toward, toward), 1.0e-12)
    shrink = wp.max(1.0 - light.radius * light.radius * inverse, 0.0)
    hides_itself = False
    if own >= 0:
        hides_itself = parts[scene.part + own].mesh >= 0
    # Bit c: whether part c of the list, of the first 63, meets the cone from the point to the light.
    one = wp.int64(1)
    meets = wp.int64(0)
    for c in range(wp.min(n, 63)):
        j = int(shading[tile, k, c])
        sphere = spheres[scene.part + j]
        away = wp.vec3(sphere[0], sphere[1], sphere[2]) - p
        along = wp.clamp(wp.dot(away, toward) * inverse, 0.0, 1.0)
        gap = away - toward * along
        limit = sphere[3] + light.radius * along
        # A part that is wholly behind the surface hides nothing of what is before it.
        before = wp.dot(away, normal) > -sphere[3]
        if before and wp.dot(gap, gap) * shrink <= limit * limit and (j != own or hides_itself):
            meets = meets | (one << wp.int64(c))
    if meets == wp.int64(0) and n <= 63:
        return float(1.0)
    places = int(side)
    if light.radius == 0.0:
        places = 1
    open_places = int(0)
    word = hashed(key)
    for ring in range(places):
        for sector in range(places):
            line = toward
            if light.radius > 0.0:
                word = hashed(word)
                a = (float(ring) + share_of(word)) / float(places)
                word = hashed(word)
                b = (float(sector) + share_of(word)) / float(places)
                if light.kind == WINDOW_LIGHT:
                    a = 2.0 * a - 1.0
                    b = 2.0 * b - 1.0
                else:
                    away_from_middle = wp.sqrt(a)
                    turn = tables.circle[wp.min(int(b * float(DIRECTIONS)), DIRECTIONS - 1)]
                    a = away_from_middle * turn[0]
                    b = away_from_middle * turn[1]
                line = line + light.across * a + light.up * b
            square = wp.dot(line, line)
            hidden = bool(False)
            c = int(0)
            while c < n and not hidden:
                if c >= 63 or ((meets >> wp.int64(c)) & one) != wp.int64(0):
                    j = int(shading[tile, k, c])
                    sphere = spheres[scene.part + j]
                    away = wp.vec3(sphere[0], sphere[1], sphere[2]) - p
                    along = wp.dot(away, line)
                    if wp.dot(away, away) * square - along * along <= sphere[3] * sphere[3] * square:
                        part = parts[scene.part + j]
                        hidden = hides(part, tables, mapped(part.world, p), turned(part.world, line), j == own)
                c += 1
            if not hidden:
                open_places += 1
    if places == 1:
        return float(open_places)
    return float(open_places) / float(places * places)
