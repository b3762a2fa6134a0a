"""Intersections of rays with bodies, and distances of points from them: functions of the ray caster's kernels.

A ray is o + t d with t > 0 in any units of d; bodies are in their own frames (shapes.bodies.Body). Eight rays are followed
at once (lanes.py); branches are then choices, of which both sides are computed.
"""

import warp as wp

from simgen.shapes.bodies import CAPSULE, MESH, QUADRIC
from simgen.textures.procedural import ROUND_FACE

from .device import BOX, Bodies, Part, mat34
from .lanes import (
    LANES,
    add,
    anywhere,
    div,
    dot,
    lanes,
    lanes3,
    less,
    mul,
    normalized,
    root,
    spread,
    sub,
    where,
    xyz,
)

FAR = wp.constant(1.0e9)
ROUND = wp.constant(-1)  # the face of a curved surface
MISS = wp.constant(-2)
TINY = wp.constant(1.0e-30)
_CAPSULE, _MESH, _QUADRIC, _BOX = (wp.constant(kind) for kind in (CAPSULE, MESH, QUADRIC, BOX))
_LANES, _ROUND_FACE = wp.constant(LANES), wp.constant(ROUND_FACE)


@wp.func
def mapped(m: mat34, p: lanes3):
    """The points `p` mapped by `m`."""
    return xyz(
        m[0, 0] * p.x + m[0, 1] * p.y + m[0, 2] * p.z + lanes(m[0, 3]),
        m[1, 0] * p.x + m[1, 1] * p.y + m[1, 2] * p.z + lanes(m[1, 3]),
        m[2, 0] * p.x + m[2, 1] * p.y + m[2, 2] * p.z + lanes(m[2, 3]),
    )


@wp.func
def mapped(m: mat34, p: wp.vec3):
    return m * wp.vec4(p[0], p[1], p[2], 1.0)


@wp.func
def turned(m: mat34, d: lanes3):
    """The directions `d` mapped by `m`."""
    return xyz(
        m[0, 0] * d.x + m[0, 1] * d.y + m[0, 2] * d.z,
        m[1, 0] * d.x + m[1, 1] * d.y + m[1, 2] * d.z,
        m[2, 0] * d.x + m[2, 1] * d.y + m[2, 2] * d.z,
    )


@wp.func
def turned_back(m: mat34, n: lanes3):
    """Normals `n` of a surface in the coordinates that `m` maps to, in those that it maps from; not unit vectors."""
    return xyz(
        m[0, 0] * n.x + m[1, 0] * n.y + m[2, 0] * n.z,
        m[0, 1] * n.x + m[1, 1] * n.y + m[2, 1] * n.z,
        m[0, 2] * n.x + m[1, 2] * n.y + m[2, 2] * n.z,
    )


@wp.func
def plane_at(part: Part, bodies: Bodies, k: int):
    """The plane `k` of the body, [n, d]."""
    if part.kind != _BOX:
        return bodies.planes[part.first + k]
    axis = k // 2
    d = -part.low[axis]
    sign = -1.0
    if k % 2 == 1:
        d = part.high[axis]
        sign = 1.0
    x = wp.where(axis == 0, sign, 0.0)
    y = wp.where(axis == 1, sign, 0.0)
    z = wp.where(axis == 2, sign, 0.0)
    return wp.vec4(x, y, z, d)


@wp.func
def quadric_span(part: Part, o: lanes3, d: lanes3):
    """From where to where rays are inside x^2 + y^2 + c z^2 <= (a + b z)^2: a quadratic in t.

    Where its leading coefficient is negative, a ray is steeper than a cone's side and meets both nappes; the part in the
    lower one is what the planes leave.
    """
    p = mapped(part.unit, o)
    q = turned(part.unit, d)
    a = part.curve[0]
    b = part.curve[1]
    c = part.curve[2]
    reach = lanes(a) + b * p.z
    widens = b * q.z
    square = q.x * q.x + q.y * q.y - widens * widens + c * q.z * q.z
    half = p.x * q.x + p.y * q.y - reach * widens + c * p.z * q.z
    rest = p.x * p.x + p.y * p.y - reach * reach + c * p.z * p.z
    discriminant = half * half - square * rest
    zero = lanes(0.0)
    steep = less(square, zero)
    met = less(zero, discriminant)
    opening = root(wp.max(discriminant, zero))
    inverse = lanes(1.0) / where(steep, square, wp.max(square, lanes(TINY)))
    first = (zero - half - opening) * inverse
    last = (zero - half + opening) * inverse
    upward = less(zero, widens)  # the cone widens along the ray: its lower nappe comes last
    never = lanes(FAR)
    enter = where(steep, where(upward, first, zero - never), where(met, first, never))
    leave = where(steep, where(upward, never, last), where(met, last, zero - never))
    return enter, leave


@wp.func
def capsule_span(part: Part, o: lanes3, d: lanes3):
    """From where to where rays are inside a capsule: its cylinder, and the balls at its ends."""
    a = wp.vec3(part.unit[0, 0], part.unit[0, 1], part.unit[0, 2])
    axis = wp.vec3(part.unit[1, 0], part.unit[1, 1], part.unit[1, 2]) - a
    radius = part.curve[0]
    away = o - a
    aa = wp.max(wp.dot(axis, axis), TINY)
    dd = dot(d, d)
    ad = dot(axis, d)
    ao = dot(axis, away)
    zero = lanes(0.0)
    enter = lanes(FAR)
    leave = lanes(-FAR)
    for end in range(2):  # the balls
        m = away - axis * float(end)
        half = dot(m, d)
        rest = dot(m, m) - lanes(radius * radius)
        discriminant = half * half - dd * rest
        met = less(zero, discriminant)
        opening = root(wp.max(discriminant, zero))
        enter = wp.min(enter, where(met, (zero - half - opening) / dd, lanes(FAR)))
        leave = wp.max(leave, where(met, (zero - half + opening) / dd, lanes(-FAR)))
    square = aa * dd - ad * ad
    half = aa * dot(away, d) - ao * ad
    rest = aa * dot(away, away) - ao * ao - lanes(radius * radius * aa)
    discriminant = half * half - square * rest
    met = less(zero, discriminant) & less(lanes(TINY), square)
    opening = root(wp.max(discriminant, zero))
    square = where(met, square, lanes(1.0))
    first = (zero - half - opening) / square
    along = ao + first * ad
    enter = where(met & less(zero, along) & less(along, lanes(aa)), wp.min(enter, first), enter)
    last = (zero - half + opening) / square
    along = ao + last * ad
    leave = where(met & less(zero, along) & less(along, lanes(aa)), wp.max(leave, last), leave)
    return enter, leave


@wp.func
def slab(o: lanes, d: lanes, low: float, high: float):
    """From where to where rays are between two planes across an axis, and by which of them they enter: 0 or 1."""
    d = where(less(wp.abs(d), lanes(TINY)), lanes(TINY), d)
    inverse = lanes(1.0) / d
    first = (lanes(low) - o) * inverse
    last = (lanes(high) - o) * inverse
    return wp.min(first, last), wp.max(first, last), where(less(inverse, lanes(0.0)), lanes(1.0), lanes(0.0))


@wp.func
def span(part: Part, bodies: Bodies, o: lanes3, d: lanes3):
    """From where to where rays are inside a convex body, and by which plane they enter (ROUND for the curved surface). A
    body is missed where the end is not behind the start, and where it is not ahead of `o`."""
    face = lanes(float(ROUND))
    if part.kind == _BOX:
        enter, leave, side = slab(o.x, d.x, part.low[0], part.high[0])
        face = side
        first, last, side = slab(o.y, d.y, part.low[1], part.high[1])
        face = where(less(enter, first), side + lanes(2.0), face)
        enter = wp.max(enter, first)
        leave = wp.min(leave, last)
        first, last, side = slab(o.z, d.z, part.low[2], part.high[2])
        face = where(less(enter, first), side + lanes(4.0), face)
        return wp.max(enter, first), wp.min(leave, last), face
    enter = lanes(-FAR)
    leave = lanes(FAR)
    for k in range(part.count):
        plane = bodies.planes[part.first + k]
        n = wp.vec3(plane[0], plane[1], plane[2])
        toward = dot(n, d)
        toward = where(less(wp.abs(toward), lanes(TINY)), lanes(TINY), toward)
        t = (lanes(plane[3]) - dot(n, o)) / toward
        outward = less(lanes(0.0), toward)
        leave = wp.min(leave, where(outward, t, lanes(FAR)))
        t = where(outward, lanes(-FAR), t)
        face = where(less(enter, t), lanes(float(k)), face)
        enter = wp.max(enter, t)
        if not anywhere(less(enter, leave)):
            return enter, leave, face
    if part.kind == _QUADRIC:
        first, last = quadric_span(part, o, d)
        face = where(less(enter, first), lanes(float(ROUND)), face)
        enter = wp.max(enter, first)
        leave = wp.min(leave, last)
    elif part.kind == _CAPSULE:
        first, last = capsule_span(part, o, d)
        enter = wp.max(enter, first)
        leave = wp.min(leave, last)
    return enter, leave, face


@wp.func
def mesh_hits(part: Part, bodies: Bodies, o: lanes3, d: lanes3, least: lanes, most: float):
    """Where rays first meet the mesh between `least` and `most`, and in which triangle; FAR and MISS if they do not."""
    t = lanes(FAR)
    face = lanes(float(MISS))
    count = int(_LANES)  # a variable: the loop is not unrolled
    for i in range(count):
        a = wp.vec3(o.x[i], o.y[i], o.z[i])
        b = wp.vec3(d.x[i], d.y[i], d.z[i])
        hit = wp.mesh_query_ray(bodies.meshes[part.mesh], a + b * least[i], b, most - least[i])
        if hit.result:
            t[i] = hit.t + least[i]
            face[i] = float(hit.face)
    return t, face


@wp.func
def crossing(part: Part, bodies: Bodies, o: lanes3, d: lanes3, least: float):
    """Where rays enter the body beyond `least`, and by which plane or triangle (ROUND for its curved surface); FAR and MISS
    if they do not."""
    if part.kind == _MESH:
        return mesh_hits(part, bodies, o, d, lanes(least), FAR)
    enter, leave, face = span(part, bodies, o, d)
    met = less(enter, leave) & less(lanes(least), enter)
    return where(met, enter, lanes(FAR)), where(met, face, lanes(float(MISS)))


@wp.func
def hides(part: Part, bodies: Bodies, o: lanes3, d: lanes3, is_own: bool):
    """Whether the body lies between the surface points `o` and `o` + `d`. A convex body never hides its own surface;
    `is_own` states that `o` lies on it."""
    if part.kind == _MESH:
        start = 1.0e-4
        if is_own:
            start = 1.0e-3
        size = wp.length(part.high - part.low)
        back = lanes(start * size) / root(wp.max(dot(d, d), lanes(TINY)))
        t, face = mesh_hits(part, bodies, o, d, back, 1.0)
        return less(t, lanes(FAR))
    if is_own:
        return less(lanes(1.0), lanes(0.0))
    enter, leave, face = span(part, bodies, o, d)
    return less(wp.max(enter, lanes(0.0)), wp.min(leave, lanes(1.0)))


@wp.func
def normal_at(part: Part, bodies: Bodies, face: int, p: lanes3):
    """The outward normals of the body at points `p` of one of its faces, in its own frame; the axis along which its texture
    is projected there; and the face's number for textures. Normals of a curved surface are no unit vectors."""
    if part.kind == _MESH or face >= 0:
        n = wp.vec3(0.0, 0.0, 0.0)
        if part.kind == _MESH:
            n = wp.mesh_eval_face_normal(bodies.meshes[part.mesh], face)
        else:
            plane = plane_at(part, bodies, face)
            n = wp.vec3(plane[0], plane[1], plane[2])
        code = bodies.faces[part.first + face]
        return spread(n), lanes(float(code & 3)), code >> 2
    normal = round_normal(part, p)
    x = wp.abs(normal.x)
    y = wp.abs(normal.y)
    z = wp.abs(normal.z)
    axis = where(less(wp.max(x, y), z), lanes(2.0), where(less(x, y), lanes(1.0), lanes(0.0)))
    return normal, axis, int(_ROUND_FACE)


@wp.func
def round_normal(part: Part, p: lanes3):
    """The outward normals of the curved surface of a capsule or a quadric at its points `p`; not unit vectors."""
    if part.kind == _CAPSULE:
        return from_axis(part, p)
    q = mapped(part.unit, p)
    a = part.curve[0]
    b = part.curve[1]
    return turned_back(part.unit, xyz(q.x, q.y, part.curve[2] * q.z - b * (lanes(a) + b * q.z)))


@wp.func
def from_axis(part: Part, p: lanes3):
    """The vectors to the points `p` from the nearest ones of a capsule's axis."""
    a = wp.vec3(part.unit[0, 0], part.unit[0, 1], part.unit[0, 2])
    axis = wp.vec3(part.unit[1, 0], part.unit[1, 1], part.unit[1, 2]) - a
    away = p - a
    along = dot(axis, away) / wp.max(wp.dot(axis, axis), TINY)
    along = wp.min(wp.max(along, lanes(0.0)), lanes(1.0))
    return p - (a + axis * along)


@wp.func
def beyond_round(part: Part, p: lanes3):
    """How far points are beyond the round side of a quadric, at least, in the body's unit; negative inside."""
    q = mapped(part.unit, p)
    reach = root(q.x * q.x + q.y * q.y + part.curve[2] * q.z * q.z)
    return (reach - (lanes(part.curve[0]) + part.curve[1] * q.z)) * part.metric


@wp.func
def toward_edge(normal: lanes3, other: lanes3, gap: lanes, radius: float):
    """The normals, bent toward those of the `other` face within `radius` of it: halfway at the edge itself."""
    share = wp.max(lanes(1.0) - gap / radius, lanes(0.0))
    return normal + other * (share * share)


@wp.func
def rounded(part: Part, bodies: Bodies, face: int, n: lanes3, q: lanes3, radius: float):
    """The normals `n` of a convex body at points `q` of a face, bent near its edges, and how far the next edge is, both in
    the body's coordinates; `radius` is that of its edges."""
    gap_to_edge = lanes(FAR)
    zero = lanes(0.0)
    bent = n
    if face < 0:
        bent = normalized(n)
    elif part.kind == _QUADRIC:  # on a flat end: its rim is where the round side begins
        gap = wp.max(zero - beyond_round(part, q), zero)
        gap_to_edge = gap
        if radius > 0.0 and anywhere(less(gap, lanes(radius))):
            bent = toward_edge(bent, normalized(round_normal(part, q)), gap, radius)
    for k in range(part.count):
        if k != face and (part.kind != _BOX or k // 2 != face // 2):
            plane = plane_at(part, bodies, k)
            other = wp.vec3(plane[0], plane[1], plane[2])
            gap = wp.max(lanes(plane[3]) - dot(other, q), zero)
            gap_to_edge = wp.min(gap_to_edge, gap)
            if radius > 0.0 and anywhere(less(gap, lanes(radius))):
                bent = toward_edge(bent, spread(other), gap, radius)
    return bent, gap_to_edge


@wp.func
def clearance(part: Part, bodies: Bodies, p: lanes3):
    """How far points are from the body, in its own unit: at most the true distance, equal to it opposite a face; negative
    inside. A mesh is infinitely far: it takes no ambient light."""
    if part.kind == _MESH:
        return lanes(FAR)
    if part.kind == _CAPSULE:
        away = from_axis(part, p)
        return root(dot(away, away)) - lanes(part.curve[0])
    if part.kind == _BOX:
        x = wp.max(lanes(part.low[0]) - p.x, p.x - lanes(part.high[0]))
        y = wp.max(lanes(part.low[1]) - p.y, p.y - lanes(part.high[1]))
        z = wp.max(lanes(part.low[2]) - p.z, p.z - lanes(part.high[2]))
        return wp.max(wp.max(x, y), z)
    far = lanes(-FAR)
    for k in range(part.count):
        plane = bodies.planes[part.first + k]
        far = wp.max(far, dot(wp.vec3(plane[0], plane[1], plane[2]), p) - lanes(plane[3]))
    if part.kind == _QUADRIC:
        far = wp.max(far, beyond_round(part, p))
    return far
