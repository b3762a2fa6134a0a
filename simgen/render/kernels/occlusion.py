"""Shadows and ambient occlusion: the ray caster's kernel `occluders`, and `visible_share` for a point and a light."""

import warp as wp

from .device import (
    AMBIENT,
    DIRECTIONAL,
    DIRECTIONS,
    FAR_LIGHT,
    HIGH,
    LISTS,
    NOTHING,
    OPTIONS,
    PACKETS,
    WINDOW,
    WINDOW_LIGHT,
    Bodies,
    Light,
    Part,
    Scene,
    Tables,
    pixel_of,
    place_of,
)
from .intersect import FAR, clearance, hides, mapped, plane_at, turned
from .lanes import (
    LANES,
    add,
    anywhere,
    below,
    counted,
    div,
    dot,
    equal,
    lanes,
    lanes3,
    less,
    mul,
    no,
    root,
    spread,
    sub,
    where,
    wholes,
    words,
    xyz,
)
from .tracing import directions_of

wp.set_module_options(OPTIONS)


@wp.func
def parted(part: Part, bodies: Bodies, a: wp.vec3, a_radius: float, b: wp.vec3, b_radius: float):
    """Whether a plane of the part has all of the ball about `a` and of that about `b` before it, in the part's coordinates:
    then no line between the two balls meets the part."""
    for k in range(part.count):
        plane = plane_at(part, bodies, k)
        n = wp.vec3(plane[0], plane[1], plane[2])
        if wp.dot(n, a) - a_radius >= plane[3] - 1.0e-5 and wp.dot(n, b) - b_radius >= plane[3] - 1.0e-5:
            return True
    return False


@wp.kernel
def occluders(
    first: int,
    tables: Tables,
    bodies: Bodies,
    scenes: wp.array(dtype=Scene),
    nodes: wp.array3d(dtype=wp.vec2),
    parts: wp.array(dtype=Part),
    spheres: wp.array(dtype=wp.vec4),
    lights: wp.array(dtype=Light),
    reach: wp.array3d(dtype=lanes),
    hit: wp.array3d(dtype=wholes),
    count: wp.array2d(dtype=int),
    shading: wp.array3d(dtype=wp.int16),
):
    """`shading` (tiles, LISTS, most), the first `count` (tiles, LISTS) of each: the parts whose bounding spheres touch a
    line between what a tile shows and light k, unless one of their planes has both before it; and last those near to it."""
    tile = first + wp.tid()
    s, x0, y0 = place_of(tile, tables)
    scene = scenes[s]
    near = spread(wp.vec3(FAR, FAR, FAR))
    far = spread(wp.vec3(-FAR, -FAR, -FAR))
    for packet in range(PACKETS):
        x, y = pixel_of(packet, x0, y0)
        if y < tables.height:
            what = hit[s, y, x // LANES]
            shines = equal(what, NOTHING) | below(what, WINDOW + 1)  # the background, and windows
            solid = no(shines) & below(counted(x), tables.width)
            if anywhere(solid):
                p = scene.eye + directions_of(scene, nodes, s, x, y) * reach[s, y, x // LANES]
                near = where(solid, xyz(wp.min(near.x, p.x), wp.min(near.y, p.y), wp.min(near.z, p.z)), near)
                far = where(solid, xyz(wp.max(far.x, p.x), wp.max(far.y, p.y), wp.max(far.z, p.z)), far)
    low = wp.vec3(wp.min(near.x), wp.min(near.y), wp.min(near.z))
    high = wp.vec3(wp.max(far.x), wp.max(far.y), wp.max(far.z))
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
                    if not parted(part, bodies, a, radius / part.scale, b, far_radius / part.scale):
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
                clear = clearance(part, bodies, spread(a))
                if part.darkens != 0 and clear[0] * part.scale <= reach_of:
                    shading[tile, AMBIENT, n] = wp.int16(j)
                    n += 1
        count[tile, AMBIENT] = n


@wp.func_native(f"""
    wp::vec_t<{LANES}, unsigned> r;
    for (int i = 0; i < {LANES}; ++i) {{
        unsigned state = value.c[i] * 747796405u + 2891336453u;
        unsigned word = ((state >> ((state >> 28) + 4)) ^ state) * 277803737u;
        r.c[i] = (word >> 22) ^ word;
    }}
    return r;
""")
def hashed(value: words) -> words:
    """Well-mixed 32-bit numbers: the PCG output function (Jarzynski and Olano 2020, "Hash Functions for GPU Rendering")."""


@wp.func_native(f"""
    wp::vec_t<{LANES}, float> r;
    for (int i = 0; i < {LANES}; ++i)
        r.c[i] = (float)(int)(word.c[i] >> 8) * (1.0f / 16777216.0f);
    return r;
""")
def share_of(word: words) -> lanes:
    """Numbers in [0, 1) from the upper bits of `word`."""


@wp.func
def visible_share(
    bodies: Bodies,
    circle: wp.array(dtype=wp.vec2),
    parts: wp.array(dtype=Part),
    spheres: wp.array(dtype=wp.vec4),
    scene: Scene,
    light: Light,
    shading: wp.array3d(dtype=wp.int16),
    tile: int,
    k: int,
    n: int,
    p: lanes3,
    normal: lanes3,
    own: int,
    side: int,
    key: words,
):
    """The shares of light `k` that no part hides from points `p` of part `own`, whose surface has these normals: of side^2
    places on an area light, one in each ring and sector of equal area, or in each square of a window."""
    toward = light.place - p
    if light.kind == DIRECTIONAL:
        toward = spread(light.place * FAR_LIGHT)
    zero = lanes(0.0)
    one = lanes(1.0)
    inverse = one / wp.max(dot(toward, toward), lanes(1.0e-12))
    shrink = wp.max(one - light.radius * light.radius * inverse, zero)
    hides_itself = False
    if own >= 0:
        hides_itself = parts[scene.part + own].mesh >= 0
    # Bit c: whether part c of the list, of the first 63, meets the cone from a point to the light.
    bit = wp.int64(1)
    meets = wp.int64(0)
    for c in range(wp.min(n, 63)):
        j = int(shading[tile, k, c])
        if j != own or hides_itself:
            sphere = spheres[scene.part + j]
            away = wp.vec3(sphere[0], sphere[1], sphere[2]) - p
            along = wp.min(wp.max(dot(away, toward) * inverse, zero), one)
            gap = away - toward * along
            limit = lanes(sphere[3]) + light.radius * along
            # A part that is wholly behind the surface hides nothing of what is before it.
            before = less(lanes(-sphere[3]), dot(away, normal))
            if anywhere(before & no(less(limit * limit, dot(gap, gap) * shrink))):
                meets = meets | (bit << wp.int64(c))
    if meets == wp.int64(0) and n <= 63:
        return one
    places = int(side)
    if light.radius == 0.0:
        places = 1
    shown = lanes(0.0)
    word = hashed(key)
    for ring in range(places):
        for sector in range(places):
            line = toward
            if light.radius > 0.0:
                word = hashed(word)
                a = (lanes(float(ring)) + share_of(word)) / float(places)
                word = hashed(word)
                b = (lanes(float(sector)) + share_of(word)) / float(places)
                if light.kind == WINDOW_LIGHT:
                    a = 2.0 * a - one
                    b = 2.0 * b - one
                else:
                    from_middle = root(a)
                    for i in range(LANES):
                        turn = circle[wp.min(int(b[i] * float(DIRECTIONS)), DIRECTIONS - 1)]
                        a[i] = turn[0]
                        b[i] = turn[1]
                    a = from_middle * a
                    b = from_middle * b
                line = (line + light.across * a) + light.up * b
            square = dot(line, line)
            hidden = less(one, zero)
            c = int(0)
            while c < n:
                if c >= 63 or ((meets >> wp.int64(c)) & bit) != wp.int64(0):
                    j = int(shading[tile, k, c])
                    sphere = spheres[scene.part + j]
                    away = wp.vec3(sphere[0], sphere[1], sphere[2]) - p
                    along = dot(away, line)
                    beside = dot(away, away) * square - along * along
                    near = no(hidden) & no(less(sphere[3] * sphere[3] * square, beside))
                    if anywhere(near):
                        part = parts[scene.part + j]
                        behind = hides(part, bodies, mapped(part.world, p), turned(part.world, line), j == own)
                        hidden = hidden | (near & behind)
                        if not anywhere(no(hidden)):
                            c = n
                c += 1
            shown = shown + where(hidden, zero, one)
    return shown / float(places * places)
