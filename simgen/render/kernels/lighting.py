"""The light that a picture's rays bring: the ray caster's kernel `shade`."""

import warp as wp

from simgen.scene import TEXTURES

from .device import (
    AMBIENT,
    DIRECTIONAL,
    FLOOR,
    HIGH,
    LOW,
    MIDDLE,
    NOTHING,
    OPTIONS,
    PACKETS,
    WALL_X,
    WINDOW,
    Bodies,
    Light,
    Material,
    Part,
    Pictures,
    Scene,
    Tables,
    pixel_of,
    place_of,
)
from .intersect import FAR, clearance, mapped, normal_at, rounded, turned_back
from .lanes import (
    LANES,
    add,
    anywhere,
    below,
    counted,
    div,
    dot,
    equal,
    first_of,
    floor,
    lanes,
    lanes3,
    length,
    less,
    looked_up,
    mul,
    no,
    normalized,
    real,
    root,
    spread,
    sub,
    where,
    whole,
    wholes,
    words,
    xyz,
)
from .occlusion import visible_share
from .shading import ambient_light, mirror_direction, mixed, reflected, surface_of
from .texturing import surface_color
from .tracing import directions_of

wp.set_module_options(OPTIONS)

_FLAT = wp.constant(TEXTURES.index("flat"))


@wp.func
def sky_place(d: lanes3):
    """Where directions lie on a square picture of all directions: the octahedral map (Cigolle et al. 2014), in
    [-0.5, 0.5]^2, straight up in the middle."""
    one = lanes(1.0)
    total = wp.max(wp.abs(d.x) + wp.abs(d.y) + wp.abs(d.z), lanes(1.0e-12))
    u = d.x / total
    v = d.y / total
    below = less(d.z, lanes(0.0))
    a = (one - wp.abs(v)) * wp.sign(u)
    b = (one - wp.abs(u)) * wp.sign(v)
    return 0.5 * where(below, a, u), 0.5 * where(below, b, v)


@wp.func
def taken_share(
    tile: int,
    scene: Scene,
    bodies: Bodies,
    parts: wp.array(dtype=Part),
    spheres: wp.array(dtype=wp.vec4),
    count: wp.array2d(dtype=int),
    shading: wp.array3d(dtype=wp.int16),
    p: lanes3,
    normal: lanes3,
    own: int,
):
    """The share of the ambient light that others take from points `p` of part `own`: Evans 2006, "Fast approximations for
    global illumination on dynamic scenes", at three heights."""
    taken = lanes(0.0)
    one = lanes(1.0)
    zero = lanes(0.0)
    highest = p + normal * HIGH
    for c in range(count[tile, AMBIENT]):
        j = int(shading[tile, AMBIENT, c])
        if j != own:
            # Clearance grows by at most the distance: what does not reach the highest point reaches none.
            sphere = spheres[scene.part + j]
            away = wp.vec3(sphere[0], sphere[1], sphere[2]) - highest
            limit = sphere[3] + HIGH
            near = less(dot(away, away), lanes(limit * limit))
            if anywhere(near):
                part = parts[scene.part + j]
                clear = clearance(part, bodies, mapped(part.world, highest)) * part.scale
                near = near & less(clear, lanes(HIGH))
                if anywhere(near):
                    share = 0.25 / 1.75 * wp.min(one - clear / HIGH, one)
                    clear = clearance(part, bodies, mapped(part.world, p + normal * MIDDLE)) * part.scale
                    share += 0.5 / 1.75 * wp.min(wp.max(one - clear / MIDDLE, zero), one)
                    clear = clearance(part, bodies, mapped(part.world, p + normal * LOW)) * part.scale
                    share += 1.0 / 1.75 * wp.min(wp.max(one - clear / LOW, zero), one)
                    taken += where(near, share, zero)
    return wp.min(taken, one)


@wp.func
def shade_group(
    tile: int,
    x: lanes,
    y: int,
    what: int,
    found: int,
    d: lanes3,
    t: lanes,
    scene: Scene,
    tables: Tables,
    bodies: Bodies,
    pictures: Pictures,
    parts: wp.array(dtype=Part),
    spheres: wp.array(dtype=wp.vec4),
    materials: wp.array(dtype=Material),
    lights: wp.array(dtype=Light),
    count: wp.array2d(dtype=int),
    shading: wp.array3d(dtype=wp.int16),
    side: int,
    key: words,
    samples: int,
):
    """The light of rays `d` that end at `t` on the face `found` of one part, `what`, or of the room or the background."""
    distance = length(d)
    view = d * (lanes(-1.0) / distance)
    p = scene.eye + d * t
    pixel = t * distance / (scene.focal * float(samples))  # m, what a ray stands for at this distance
    row_of_material = scene.surface + 3  # the background
    normal = spread(wp.vec3(0.0, 0.0, 1.0))
    box = normal  # the points from the middle of the surface's bounding box, whose edges are `size`
    size = wp.vec3(float(tables.width), float(tables.height), 1.0)
    axis = lanes(2.0)  # of the projection of the texture
    number = int(0)  # of the face, for textures
    tone = float(-1.0)
    scale = float(1.0)  # m for each unit of `size`
    gap_to_edge = lanes(FAR)  # m
    two_sided = bool(True)  # a convex body is seen from outside alone, though a rounded edge may face away
    if what >= 0:
        part = parts[scene.part + what]
        row_of_material = part.material
        scale = part.scale
        tone = part.tone
        two_sided = part.mesh >= 0
        q = mapped(part.world, p)
        size = part.high - part.low
        box = q - (part.low + part.high) * 0.5
        n, axis_there, number_there = normal_at(part, bodies, found, q)
        axis = axis_there
        number = number_there
        radius = materials[row_of_material].edge / scale
        if part.mesh < 0 and (radius > 0.0 or materials[row_of_material].wear > 0.0):
            bent, gap = rounded(part, bodies, found, n, q, radius)
            n = bent
            gap_to_edge = gap * scale
        normal = turned_back(part.world, n) * scale
        if found < 0 or radius > 0.0:  # others are unit vectors: bodies are only turned, moved and scaled
            normal = normalized(normal)
    elif what == NOTHING:
        box = xyz(x + lanes(0.5 - 0.5 * size[0]), lanes(0.5 * size[1] - float(y) - 0.5), lanes(0.0))
        pixel = lanes(1.0 / float(samples))
    else:
        size = tables.room_high - tables.room_low
        box = p - (tables.room_low + tables.room_high) * 0.5
        row_of_material = scene.surface + 2
        if what == FLOOR:
            row_of_material = scene.surface + 1
        elif what == WALL_X:
            normal = spread(wp.vec3(1.0, 0.0, 0.0))
            axis = lanes(0.0)
        else:
            normal = spread(wp.vec3(0.0, 1.0, 0.0))
            axis = lanes(1.0)
    m = materials[row_of_material]
    albedo = spread(m.color)
    if tone >= 0.0 and m.layer < 0 and m.grime == 0.0:
        albedo = spread(m.color + (m.color2 - m.color) * tone)
    elif m.texture != _FLAT or m.grime > 0.0:
        extent = wp.max(size[0], wp.max(size[1], size[2]))
        along_x = less(axis, lanes(0.5))
        along_z = less(lanes(1.5), axis)
        a = where(along_x, box.y, box.x)
        b = where(along_z, box.y, box.z)
        wide = where(along_x, lanes(size[1]), lanes(size[0]))
        high = where(along_z, lanes(size[1]), lanes(size[2]))
        texels = lanes(1.0)
        if m.layer >= 0 or m.grime > 0.0:
            facing = wp.max(wp.abs(dot(normal, view)), lanes(0.2))
            if what == NOTHING:
                facing = lanes(1.0)
            texels = 256.0 * pixel / (extent * scale * root(facing))
        albedo = surface_color(m, pictures, a / wide, b / high, a / extent, b / extent, number, texels, tone)
    if what == NOTHING:
        return albedo
    if anywhere(less(gap_to_edge, lanes(0.004 * m.wear))):
        # Worn edges lose their color along a ragged border, up to 4 mm wide.
        cell = box * (scale * 700.0)
        place = whole(floor(cell.x)) * 73 + whole(floor(cell.y)) * 179 + whole(floor(cell.z)) * 283 + wholes(m.hash)
        ragged = looked_up(pictures.lattice, place & wholes(0xFFFF))
        worn = albedo + (wp.vec3(0.55, 0.5, 0.45) - albedo) * 0.8
        albedo = where(less(gap_to_edge, 0.004 * m.wear * ragged), worn, albedo)
    if two_sided:
        normal = where(less(lanes(0.0), dot(normal, d)), normal * -1.0, normal)
    surface = surface_of(m, normal, view, albedo)
    open_share = lanes(1.0)
    if scene.occlusion > 0.0:
        taken = taken_share(tile, scene, bodies, parts, spheres, count, shading, p, normal, what)
        open_share = open_share - scene.occlusion * taken
    mirrored = spread(wp.vec3(1.0, 1.0, 1.0))
    if scene.reflection > 0.0 and surface.dielectric + surface.metal > 0.01:
        back = materials[scene.surface + 3]
        u, v = sky_place(mirror_direction(surface))
        blur = lanes(4.0 + 60.0 * m.roughness)  # texels that a rough surface's lobe covers
        mirrored = mixed(mirrored, surface_color(back, pictures, u, v, u, v, 0, blur, -1.0), scene.reflection)
    color = ambient_light(surface, scene.sky, scene.ground, scene.toward, open_share, mirrored)
    for k in range(scene.lights):
        light = lights[scene.light + k]
        toward = spread(light.place)
        arriving = lanes(1.0)
        if light.kind != DIRECTIONAL:
            toward = light.place - p
            inverse = lanes(1.0) / root(wp.max(dot(toward, toward), lanes(1.0e-6)))
            arriving = inverse * inverse
            toward = toward * inverse
        cosine = wp.max(dot(normal, toward), lanes(0.0))
        if anywhere(less(lanes(0.0), cosine)):
            hiding = count[tile, k]
            if hiding > 0:
                seed = key + words(wp.uint32(light.number) * wp.uint32(26699))
                arriving = arriving * visible_share(
                    bodies,
                    tables.circle,
                    parts,
                    spheres,
                    scene,
                    light,
                    shading,
                    tile,
                    k,
                    hiding,
                    p,
                    normal,
                    what,
                    side,
                    seed,
                )
            if anywhere(less(lanes(0.0), arriving)):
                lit = reflected(surface, toward, cosine, light.specular)
                color = color + lit * spread(light.strength) * arriving
    return color


@wp.func_native(f"""
    wp::vec_t<{LANES}, unsigned> r;
    for (int i = 0; i < {LANES}; ++i)
        r.c[i] = key + (unsigned)(pixel + i) * 9781u;
    return r;
""")
def pixel_keys(pixel: int, key: wp.uint32) -> words:
    """The seeds of the random numbers of eight pixels; `pixel` is the first one's number in the picture."""


@wp.kernel
def shade(
    first: int,
    each: int,
    tables: Tables,
    bodies: Bodies,
    pictures: Pictures,
    scenes: wp.array(dtype=Scene),
    nodes: wp.array3d(dtype=wp.vec2),
    parts: wp.array(dtype=Part),
    spheres: wp.array(dtype=wp.vec4),
    materials: wp.array(dtype=Material),
    lights: wp.array(dtype=Light),
    reach: wp.array3d(dtype=lanes),
    hit: wp.array3d(dtype=wholes),
    face: wp.array3d(dtype=wholes),
    count: wp.array2d(dtype=int),
    shading: wp.array3d(dtype=wp.int16),
    side: int,
    number: int,
    samples: int,
    weight: float,
    adds: int,
    rgb: wp.array3d(dtype=wp.vec3),
):
    """Writes `weight` of the linear light of each pixel's ray to `rgb`, or `adds` it. `number` tells the passes of a picture
    apart, in which a pixel has `samples` rays in each direction. Eight pixels that show the same face are shaded at once."""
    start = first * PACKETS + wp.tid() * each
    tile = start // PACKETS
    s, x0, y0 = place_of(tile, tables)
    scene = scenes[s]
    pass_key = scene.seed + wp.uint32(number) * wp.uint32(6271)
    for k in range(each):
        packet = start - tile * PACKETS + k
        x, y = pixel_of(packet, x0, y0)
        if y < tables.height:
            whats = hit[s, y, x // LANES]
            faces = face[s, y, x // LANES]
            columns = counted(x)
            d = directions_of(scene, nodes, s, x, y)
            t = reach[s, y, x // LANES]
            key = pixel_keys(x + y * tables.width, pass_key)
            left = below(columns, tables.width)
            lane = first_of(left)
            while lane < LANES:
                what = whats[lane]
                found = faces[lane]
                group = left & equal(whats, what)
                color = spread(wp.vec3(0.0, 0.0, 0.0))
                if what <= WINDOW:
                    color = spread(lights[scene.light + (WINDOW - what)].radiance)
                else:
                    if what >= 0:
                        group = group & equal(faces, found)
                    # The lanes of others repeat the first of these.
                    o = wp.vec3(d.x[lane], d.y[lane], d.z[lane])
                    color = shade_group(
                        tile,
                        where(group, real(columns), lanes(float(columns[lane]))),
                        y,
                        what,
                        found,
                        where(group, d, spread(o)),
                        where(group, t, lanes(t[lane])),
                        scene,
                        tables,
                        bodies,
                        pictures,
                        parts,
                        spheres,
                        materials,
                        lights,
                        count,
                        shading,
                        side,
                        key,
                        samples,
                    )
                left = left & no(group)
                for i in range(LANES):
                    if group[i] != 0:
                        light = wp.vec3(color.x[i], color.y[i], color.z[i]) * weight
                        if adds != 0:
                            light = rgb[s, y, x + i] + light
                        rgb[s, y, x + i] = light
                lane = first_of(left)
