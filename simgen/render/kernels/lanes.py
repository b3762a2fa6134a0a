"""Numbers in lanes: a thread follows the rays of LANES pixels side by side, eight on a CPU and one on a GPU.

`lanes` are as many floats, `wholes` integers or, with 0 and 1, answers; `lanes3` are points, directions or colors. The
operators work lane by lane: a module that uses them on `lanes` or `lanes3` imports their names, `add`, `sub`, `mul`, `div`.
"""

# mypy: disable-error-code="no-redef, empty-body"

import warp as wp

from . import RAYS

LANES = RAYS

lanes = wp.types.vector(length=LANES, dtype=wp.float32)
wholes = wp.types.vector(length=LANES, dtype=wp.int32)
words = wp.types.vector(length=LANES, dtype=wp.uint32)
shorts = wp.types.vector(length=LANES, dtype=wp.int16)


@wp.struct
class lanes3:  # noqa: N801 (a type beside lanes and vec3)
    x: lanes
    y: lanes
    z: lanes


@wp.func
def mul(a: lanes, b: lanes):
    return wp.cw_mul(a, b)


@wp.func
def div(a: lanes, b: lanes):
    return wp.cw_div(a, b)


@wp.func
def xyz(x: lanes, y: lanes, z: lanes):
    """The `lanes3` of these coordinates."""
    p = lanes3()
    p.x = x
    p.y = y
    p.z = z
    return p


@wp.func
def spread(v: wp.vec3):
    """`v` in every lane."""
    return xyz(lanes(v[0]), lanes(v[1]), lanes(v[2]))


@wp.func
def add(a: lanes3, b: lanes3):
    return xyz(a.x + b.x, a.y + b.y, a.z + b.z)


@wp.func
def add(a: wp.vec3, b: lanes3):
    return xyz(lanes(a[0]) + b.x, lanes(a[1]) + b.y, lanes(a[2]) + b.z)


@wp.func
def sub(a: lanes3, b: lanes3):
    return xyz(a.x - b.x, a.y - b.y, a.z - b.z)


@wp.func
def sub(a: wp.vec3, b: lanes3):
    return xyz(lanes(a[0]) - b.x, lanes(a[1]) - b.y, lanes(a[2]) - b.z)


@wp.func
def sub(a: lanes3, b: wp.vec3):
    return xyz(a.x - lanes(b[0]), a.y - lanes(b[1]), a.z - lanes(b[2]))


@wp.func
def mul(a: lanes3, b: lanes):
    return xyz(wp.cw_mul(a.x, b), wp.cw_mul(a.y, b), wp.cw_mul(a.z, b))


@wp.func
def mul(a: lanes3, b: float):
    return xyz(a.x * b, a.y * b, a.z * b)


@wp.func
def mul(a: wp.vec3, b: lanes):
    return xyz(a[0] * b, a[1] * b, a[2] * b)


@wp.func
def mul(a: lanes3, b: lanes3):
    return xyz(wp.cw_mul(a.x, b.x), wp.cw_mul(a.y, b.y), wp.cw_mul(a.z, b.z))


@wp.func
def dot(a: lanes3, b: lanes3):
    return wp.cw_mul(a.x, b.x) + wp.cw_mul(a.y, b.y) + wp.cw_mul(a.z, b.z)


@wp.func
def dot(a: wp.vec3, b: lanes3):
    return a[0] * b.x + a[1] * b.y + a[2] * b.z


@wp.func_native(f"""
    wp::vec_t<{LANES}, int> r;
    for (int i = 0; i < {LANES}; ++i)
        r.c[i] = a.c[i] < b.c[i];
    return r;
""")
def less(a: lanes, b: lanes) -> wholes:
    """1 where a < b, else 0."""


@wp.func_native(f"""
    wp::vec_t<{LANES}, float> r;
    for (int i = 0; i < {LANES}; ++i)
        r.c[i] = c.c[i] ? a.c[i] : b.c[i];
    return r;
""")
def where(c: wholes, a: lanes, b: lanes) -> lanes:
    """`a` where `c` is not 0, else `b`."""


@wp.func
def where(c: wholes, a: lanes3, b: lanes3):
    return xyz(where(c, a.x, b.x), where(c, a.y, b.y), where(c, a.z, b.z))


@wp.func_native(f"""
    wp::vec_t<{LANES}, int> r;
    for (int i = 0; i < {LANES}; ++i)
        r.c[i] = a.c[i] == b;
    return r;
""")
def equal(a: wholes, b: int) -> wholes:
    """1 where a = b, else 0."""


@wp.func_native(f"""
    wp::vec_t<{LANES}, int> r;
    for (int i = 0; i < {LANES}; ++i)
        r.c[i] = a.c[i] < b;
    return r;
""")
def below(a: wholes, b: int) -> wholes:
    """1 where a < b, else 0."""


@wp.func
def counted(start: int):
    """`start` and the whole numbers after it."""
    r = wholes(start)
    for i in range(LANES):
        r[i] = start + i
    return r


@wp.func
def no(c: wholes):
    """1 where `c` is 0, else 0."""
    return wholes(1) - c


@wp.func_native(f"""
    for (int i = 0; i < {LANES}; ++i)
        if (c.c[i] != 0)
            return i;
    return {LANES};
""")
def first_of(c: wholes) -> int:
    """The first lane that does not hold 0; LANES if there is none."""


@wp.func_native(f"""
    int r = 0;
    for (int i = 0; i < {LANES}; ++i)
        r |= c.c[i];
    return r != 0;
""")
def anywhere(c: wholes) -> bool:
    """Whether any lane holds something other than 0."""


@wp.func_native(f"""
    wp::vec_t<{LANES}, float> r;
    for (int i = 0; i < {LANES}; ++i)
        r.c[i] = wp::sqrt(a.c[i]);
    return r;
""")
def root(a: lanes) -> lanes: ...


@wp.func_native(f"""
    wp::vec_t<{LANES}, float> r;
    for (int i = 0; i < {LANES}; ++i)
        r.c[i] = wp::floor(a.c[i]);
    return r;
""")
def floor(a: lanes) -> lanes: ...


@wp.func_native(f"""
    wp::vec_t<{LANES}, int> r;
    for (int i = 0; i < {LANES}; ++i)
        r.c[i] = (int)a.c[i];
    return r;
""")
def whole(a: lanes) -> wholes:
    """The integer parts."""


@wp.func_native(f"""
    wp::vec_t<{LANES}, short> r;
    for (int i = 0; i < {LANES}; ++i)
        r.c[i] = (short)a.c[i];
    return r;
""")
def short(a: wholes) -> shorts: ...


@wp.func_native(f"""
    wp::vec_t<{LANES}, float> r;
    for (int i = 0; i < {LANES}; ++i)
        r.c[i] = (float)a.c[i];
    return r;
""")
def real(a: wholes) -> lanes: ...


@wp.func_native(f"""
    wp::vec_t<{LANES}, float> r;
    for (int i = 0; i < {LANES}; ++i)
        r.c[i] = table.data[index.c[i]];
    return r;
""")
def looked_up(table: wp.array(dtype=float), index: wholes) -> lanes:
    """The numbers of a table at these places."""


@wp.func
def length(a: lanes3):
    return root(dot(a, a))


@wp.func
def normalized(a: lanes3):
    """Unit vectors; those of no length stay as they are."""
    size = length(a)
    size = where(less(lanes(0.0), size), size, lanes(1.0))
    return xyz(a.x / size, a.y / size, a.z / size)
