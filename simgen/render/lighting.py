"""The light that a picture's rays bring: the ray caster's kernel `shade`."""

import warp as wp

from simgen.render.device import (
    AMBIENT,
    BOX,
    DIRECTIONAL,
    FLOOR,
    HIGH,
    LOW,
    MIDDLE,
    NOTHING,
    OPTIONS,
    RAYS,
    TILE,
    WALL_X,
    WINDOW,
    Light,
    Material,
    Part,
    Scene,
    Tables,
    place_of,
)
from simgen.render.intersect import FAR, ROUND, clearance, mapped, normal_at, round_gap, turned_back
from simgen.render.occlusion import visible_share
from simgen.render.shading import ambient_light, mirror_direction, mixed, product, reflected, surface_of
from simgen.render.texturing import surface_color
from simgen.scene import TEXTURES
from simgen.shapes.bodies import QUADRIC

wp.set_module_options(OPTIONS)

_FLAT, _QUADRIC = wp.constant(TEXTURES.index("flat")), wp.constant(QUADRIC)


@wp.func
def sky_place(d: wp.vec3):
    """Where the direction `d` lies on a square picture of all directions: the octahedral map (Cigolle et al. 2014), in
    [-0.5, 0.5]^2, straight up in the middle."""
    total = wp.max(wp.abs(d[0]) + wp.abs(d[1]) + wp.abs(d[2]), 1.0e-12)
    u = d[0] / total
    v = d[1] / total
    if d[2] < 0.0:
        a = (1.0 - wp.abs(v)) * wp.sign(u)
        b = (1.0 - wp.abs(u)) * wp.sign(v)
        u = a
        v = b
    return wp.vec2(0.5 * u, 0.5 * v)


@wp.func
def shade_ray(
    tile: int,
    s: int,
    x: int,
    y: int,
    scene: Scene,
    tables: Tables,
    parts: wp.array(dtype=Part),
    spheres: wp.array(dtype=wp.vec4),
    materials: wp.array(dtype=Material),
    lights: wp.array(dtype=Light),
    rays: wp.array3d(dtype=wp.vec3),
    reach: wp.array3d(dtype=float),
    hit: wp.array3d(dtype=wp.int16),
    face: wp.array3d(dtype=int),
    count: wp.array2d(dtype=int),
    shading: wp.array3d(dtype=wp.int16),
    side: int,
    number: int,
    samples: int,
    weight: float,
    rgb: wp.array3d(dtype=wp.vec3),
):
    """Adds the light of one ray; see `shade`."""
    what = int(hit[s, y, x])
    if what <= WINDOW:
        rgb[s, y, x] = rgb[s, y, x] + lights[scene.light + (WINDOW - what)].radiance * weight
        return
    d = rays[s, y, x]
    length = wp.length(d)
    view = d * (-1.0 / length)
    t = reach[s, y, x]
    p = scene.eye + d * t
    pixel = t * length / (scene.focal * float(samples))  # m, what a ray stands for at this distance
    row_of_material = scene.surface + 3  # the background
    normal = wp.vec3(0.0, 0.0, 1.0)
    box = wp.vec3(0.0, 0.0, 0.0)  # the point from the middle of the surface's bounding box, whose edges are `size`
    size = wp.vec3(float(tables.width), float(tables.height), 1.0)
    code = int(2)  # 4 times the face's number, and the axis of projection
    tone = float(-1.0)
    scale = float(1.0)  # m for each unit of `size`
    gap_to_edge = float(FAR)  # m
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
        found = face[s, y, x]
        n, face_code = normal_at(part, tables, found, q)
        code = face_code
        radius = materials[row_of_material].edge / scale
        if part.mesh < 0 and (radius > 0.0 or materials[row_of_material].wear > 0.0):
            # Near an edge the normal bends toward that of the other face, halfway at the edge itself.
            bent = n
            if part.kind == BOX:
                for k in range(3):
                    if k != found // 2:
                        gap = wp.max(wp.min(q[k] - part.low[k], part.high[k] - q[k]), 0.0)
                        gap_to_edge = wp.min(gap_to_edge, gap * scale)
                        if gap < radius:
                            share = 1.0 - gap / radius
                            other = wp.vec3(0.0, 0.0, 0.0)
                            other[k] = wp.sign(box[k])
                            bent = bent + other * (share * share)
            else:
                if found < 0:
                    bent = wp.normalize(n)
                elif part.kind == _QUADRIC:  # on a flat end: its rim is where the round side begins
                    gap = round_gap(part, q)
                    gap_to_edge = gap * scale
                    if gap < radius:
                        share = 1.0 - gap / radius
                        other, _ = normal_at(part, tables, ROUND, q)
                        bent = bent + wp.normalize(other) * (share * share)
                for k in range(part.count):
                    if k != found:
                        plane = tables.planes[part.first + k]
                        other = wp.vec3(plane[0], plane[1], plane[2])
                        gap = wp.max(plane[3] - wp.dot(other, q), 0.0)
                        gap_to_edge = wp.min(gap_to_edge, gap * scale)
                        if gap < radius:
                            share = 1.0 - gap / radius
                            bent = bent + other * (share * share)
            n = bent
        normal = turned_back(part.world, n) * scale
        if found < 0 or radius > 0.0:  # others are unit vectors: bodies are only turned, moved and scaled
            normal = wp.normalize(normal)
    elif what == NOTHING:
        box = wp.vec3(float(x) + 0.5 - 0.5 * size[0], 0.5 * size[1] - float(y) - 0.5, 0.0)
        pixel = 1.0 / float(samples)
    else:
        size = tables.room_high - tables.room_low
        box = p - (tables.room_low + tables.room_high) * 0.5
        row_of_material = scene.surface + 2
        if what == FLOOR:
            row_of_material = scene.surface + 1
        elif what == WALL_X:
            normal = wp.vec3(1.0, 0.0, 0.0)
            code = 0
        else:
            normal = wp.vec3(0.0, 1.0, 0.0)
            code = 1
    m = materials[row_of_material]
    albedo = m.color
    if tone >= 0.0 and m.layer < 0 and m.grime == 0.0:
        albedo = mixed(m.color, m.color2, tone)
    elif m.texture != _FLAT or m.grime > 0.0:
        extent = wp.max(size[0], wp.max(size[1], size[2]))
        axis = code & 3
        a = box[0]
        b = box[2]
        wide = size[0]
        high = size[2]
        if axis == 0:
            a = box[1]
            wide = size[1]
        if axis == 2:
            b = box[1]
            high = size[1]
        texels = float(1.0)
        if m.layer >= 0 or m.grime > 0.0:
            facing = wp.max(wp.abs(wp.dot(normal, view)), 0.2)
            if what == NOTHING:
                facing = 1.0
            texels = 256.0 * pixel / (extent * scale * wp.sqrt(facing))
        albedo = surface_color(m, tables, a / wide, b / high, a / extent, b / extent, code >> 2, texels, tone)
    if what == NOTHING:
        rgb[s, y, x] = rgb[s, y, x] + albedo * weight
        return
    if gap_to_edge < 0.004 * m.wear:
        # Worn edges lose their color along a ragged border, up to 4 mm wide.
        cell = box * (scale * 700.0)
        ragged = tables.lattice[
            (int(wp.floor(cell[0])) * 73 + int(wp.floor(cell[1])) * 179 + int(wp.floor(cell[2])) * 283 + m.hash)
            & 0xFFFF
        ]
        if gap_to_edge < 0.004 * m.wear * ragged:
            albedo = mixed(albedo, wp.vec3(0.55, 0.5, 0.45), 0.8)
    if two_sided and wp.dot(normal, d) > 0.0:
        normal = -normal
    surface = surface_of(m, normal, view, albedo)
    taken = float(0.0)  # Evans 2006, "Fast approximations for global illumination on dynamic scenes", at three heights
    if scene.occlusion > 0.0:
        highest = p + normal * HIGH
        for c in range(count[tile, AMBIENT]):
            j = int(shading[tile, AMBIENT, c])
            if j != what:
                # Clearance grows by at most the distance: what does not reach the highest point reaches none.
                sphere = spheres[scene.part + j]
                away = wp.vec3(sphere[0], sphere[1], sphere[2]) - highest
                limit = sphere[3] + HIGH
                if wp.dot(away, away) < limit * limit:
                    part = parts[scene.part + j]
                    clear = clearance(part, tables, mapped(part.world, highest)) * part.scale
                    if clear < HIGH:
                        taken += 0.25 / 1.75 * wp.min(1.0 - clear / HIGH, 1.0)
                        clear = clearance(part, tables, mapped(part.world, p + normal * MIDDLE)) * part.scale
                        taken += 0.5 / 1.75 * wp.clamp(1.0 - clear / MIDDLE, 0.0, 1.0)
                        clear = clearance(part, tables, mapped(part.world, p + normal * LOW)) * part.scale
                        taken += 1.0 / 1.75 * wp.clamp(1.0 - clear / LOW, 0.0, 1.0)
    mirrored = wp.vec3(1.0, 1.0, 1.0)
    if scene.reflection > 0.0 and surface.dielectric + surface.metal > 0.01:
        back = materials[scene.surface + 3]
        where = sky_place(mirror_direction(surface))
        blur = 4.0 + 60.0 * m.roughness  # texels that a rough surface's lobe covers
        mirrored = mixed(
            mirrored,
            surface_color(back, tables, where[0], where[1], where[0], where[1], 0, blur, -1.0),
            scene.reflection,
        )
    color = ambient_light(
        surface, scene.sky, scene.ground, scene.toward, 1.0 - scene.occlusion * wp.min(taken, 1.0), mirrored
    )
    key = scene.seed + wp.uint32(x + y * tables.width) * wp.uint32(9781) + wp.uint32(number) * wp.uint32(6271)
    for k in range(scene.lights):
        light = lights[scene.light + k]
        toward = light.place
        falloff = float(1.0)
        if light.kind != DIRECTIONAL:
            toward = light.place - p
            square = wp.max(wp.dot(toward, toward), 1.0e-6)
            inverse = 1.0 / wp.sqrt(square)
            falloff = inverse * inverse
            toward = toward * inverse
        cosine = wp.dot(normal, toward)
        if cosine > 0.0:
            arriving = falloff
            if count[tile, k] > 0:
                arriving = falloff * visible_share(
                    tables,
                    parts,
                    spheres,
                    scene,
                    light,
                    shading,
                    tile,
                    k,
                    count[tile, k],
                    p,
                    normal,
                    what,
                    side,
                    key + wp.uint32(light.number) * wp.uint32(26699),
                )
            if arriving > 0.0:
                lit = reflected(surface, toward, cosine, light.specular)
                color = color + product(lit, light.strength) * arriving
    rgb[s, y, x] = rgb[s, y, x] + color * weight


@wp.kernel
def shade(
    first: int,
    each: int,
    tables: Tables,
    scenes: wp.array(dtype=Scene),
    parts: wp.array(dtype=Part),
    spheres: wp.array(dtype=wp.vec4),
    materials: wp.array(dtype=Material),
    lights: wp.array(dtype=Light),
    rays: wp.array3d(dtype=wp.vec3),
    reach: wp.array3d(dtype=float),
    hit: wp.array3d(dtype=wp.int16),
    face: wp.array3d(dtype=int),
    count: wp.array2d(dtype=int),
    shading: wp.array3d(dtype=wp.int16),
    side: int,
    number: int,
    samples: int,
    weight: float,
    rgb: wp.array3d(dtype=wp.vec3),
):
    """Adds `weight` of the linear light of each pixel's ray to `rgb`; `number` tells the passes of a picture apart, in which
    a pixel has `samples` rays in each direction."""

    start = first * RAYS + wp.tid() * each
    tile = start // RAYS
    s, x0, y0 = place_of(tile, tables)
    inner = start - tile * RAYS
    scene = scenes[s]
    for k in range(each):
        x = x0 + (inner + k) % TILE
        y = y0 + (inner + k) // TILE
        if x < tables.width and y < tables.height:
            shade_ray(
                tile,
                s,
                x,
                y,
                scene,
                tables,
                parts,
                spheres,
                materials,
                lights,
                rays,
                reach,
                hit,
                face,
                count,
                shading,
                side,
                number,
                samples,
                weight,
                rgb,
            )
