"""Errors by factor: how a detector's errors depend on distance, image position, occlusion, light, texture and shape."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import norm

from simgen.dataset.read import read_recipe
from simgen.errors import DatasetError
from simgen.geometry import Array, project
from simgen.scene import LIGHTS, TEXTURES
from train.draw.sheets import Image, drawn
from train.evaluate.matching import BlockResult
from train.metrics import median_of

BINS = 4  # of a numeric factor, with equally many blocks in each
_NORMAL = float(norm.ppf(0.975))  # standard deviations to either side hold 95%

Value = float | str


def factors_of(result: BlockResult) -> dict[str, Value]:
    """The value of each factor for one block, from its picture's labels and, if the dataset stores it, from its recipe.
    Raises DatasetError for an unreadable recipe."""
    picture, truth = result.picture, result.truth
    place = truth.camera_from_block[:3, 3]
    pixel = project(place[None], picture.intrinsics, picture.distortion)[0]
    center = picture.intrinsics[:2, 2]
    values: dict[str, Value] = {
        "kind": result.kind.name,
        "distance (m)": float(np.linalg.norm(place)),
        # 0 at the principal point, 1 in the corners if that is the image's center
        "distance from the image center": float(np.linalg.norm((pixel - center) / np.linalg.norm(center))),
        "occluded fraction": 1 - truth.visible_fraction,
    }
    try:
        recipe = read_recipe(picture)
        if recipe is not None:
            values |= _of_recipe(recipe, truth.number)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise DatasetError(
            f"{picture.path}: the recipe beside it is of another version or damaged ({error!r}); render again"
        ) from error
    return values


def _of_recipe(recipe: Mapping[str, Any], number: int) -> dict[str, Value]:
    """The factors that the `recipe` of one sample determines: its light, its sensor, and its labeled block `number`."""

    def get(*keys: str) -> NDArray[Any]:
        value: Any = recipe
        for key in keys:
            value = value[key]
        return np.asarray(value[0])

    slot = np.flatnonzero(get("blocks", "present") & get("blocks", "labelled"))[number]
    surfaces = get("surfaces", "material", "texture")
    present = get("lights", "present")
    lights, ambient = float(get("lights", "intensity")[present].sum()), float(get("ambient", "intensity"))
    kinds = sorted({LIGHTS[kind] for kind in get("lights", "kind")[present]})
    color, table = get("blocks", "material", "color")[slot], get("surfaces", "material", "color")[0]
    return {
        "texture": TEXTURES[get("blocks", "material", "texture")[slot]],
        "table's texture": TEXTURES[surfaces[0]],
        "color contrast with the table": float(np.abs(color - table).max()),
        "lights": str(int(present.sum())),
        "kinds of light": " + ".join(kinds) or "none",
        "brightness": lights + ambient,
        "fraction of ambient light": ambient / max(lights + ambient, 1e-9),
        "shadows": "yes" if bool((get("lights", "shadow") & present).any()) else "no",
        "defocus (px)": float(get("sensor", "defocus")),
        "motion blur (px)": float(get("sensor", "motion")),
        "other objects": float(get("blocks", "present").sum() - 1),
    }


def by_factor(results: Sequence[BlockResult]) -> list[dict[str, Any]]:
    """The errors by each factor, the factor that explains most first.

    `factor` is its name. `explained` is the fraction of the variance of the error that lies between its groups; the error
    is ADD-S in diameters, at most 1, and 1 for a missed block. Each of `groups` has its name, the number of blocks and of
    missed blocks, the fraction of right poses with Wilson's 95% interval, and the median ADD-S in cm, None if most blocks
    were missed. Factors with a single value are left out.
    """
    values = [factors_of(result) for result in results]
    errors = np.array([min(result.adds / result.kind.diameter, 1.0) for result in results])
    rows = []
    for factor in dict.fromkeys(name for one in values for name in one):
        groups = _grouped([one.get(factor) for one in values])
        if len(groups) < 2:
            continue
        # Epsilon squared (Kelley 1935): unlike eta squared, its expectation is 0 for a factor without effect.
        within = sum(((errors[members] - errors[members].mean()) ** 2).sum() for _, members in groups)
        count = sum(len(members) for _, members in groups)
        grouped = np.concatenate([members for _, members in groups])
        total = ((errors[grouped] - errors[grouped].mean()) ** 2).sum()
        freedom = count - len(groups)  # 0 if every group is a single block, which explains nothing
        explained = 1 - (within / freedom) / (total / (count - 1)) if total > 0 and freedom > 0 else 0.0
        table = [_row(name, [results[k] for k in members]) for name, members in groups]
        rows.append({"factor": factor, "explained": float(max(explained, 0.0)), "groups": table})
    return sorted(rows, key=lambda row: -row["explained"])


def factor_lines(rows: Sequence[Mapping[str, Any]]) -> str:
    """`by_factor` as text."""
    lines = [
        "factor: explained variance of the errors",
        f"{'':28}{'blocks':>8}{'right':>8}  95% interval  median ADD-S",
    ]
    for row in rows:
        lines.append(f"{row['factor']}: {100 * row['explained']:.1f}%")
        for group in row["groups"]:
            interval = f"{100 * group['low']:.0f} to {100 * group['high']:.0f}%"
            median = "-" if group["median_adds_cm"] is None else f"{group['median_adds_cm']:.2f} cm"
            lines.append(
                f"  {group['name']:26}{group['blocks']:8}{100 * group['right']:7.1f}%  {interval:14}{median:>11}"
            )
    return "\n".join(lines)


def draw_factors(rows: Sequence[Mapping[str, Any]]) -> Image:
    """(H, W, 3) RGB: a panel for each factor with the fraction of right poses in each of its groups and its interval."""
    columns = min(4, len(rows))
    lines = -(-len(rows) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.4 * lines), dpi=100, layout="constrained")
    for place, row in enumerate(rows):
        axes = figure.add_subplot(lines, columns, place + 1)
        groups = row["groups"]
        share = 100 * np.array([group["right"] for group in groups])
        ends = 100 * np.array([[group["low"], group["high"]] for group in groups]).T
        axes.bar(range(len(groups)), share, color="0.75")
        axes.errorbar(range(len(groups)), share, np.abs(ends - share), fmt="none", ecolor="black", capsize=3)
        names = [f"{group['name']}\n({group['blocks']})" for group in groups]
        axes.set_xticks(range(len(groups)), names, fontsize=7, rotation=30 if len(groups) > 4 else 0)
        axes.set(ylim=(0, 105), ylabel="right poses (%)")
        axes.set_title(f"{row['factor']}: explains {100 * row['explained']:.1f}%", fontsize=9)
        axes.grid(axis="y", alpha=0.3)
    return drawn(figure)


def wilson(right: int, count: int) -> tuple[float, float]:
    """The 95% interval of a proportion of which `right` of `count` >= 1 were observed (Wilson 1927)."""
    share, square = right / count, _NORMAL**2
    middle = (share + square / (2 * count)) / (1 + square / count)
    half = _NORMAL / (1 + square / count) * np.sqrt(share * (1 - share) / count + square / (4 * count**2))
    # At 0 and at 1 one end is the proportion itself, up to rounding.
    return float(min(max(middle - half, 0.0), share)), float(max(min(middle + half, 1.0), share))


def _grouped(values: Sequence[Value | None]) -> list[tuple[str, Array]]:
    """Groups (name, indices) of `values`: one for each text, or up to BINS quantiles of numbers. None is in no group."""
    known = np.array([k for k, value in enumerate(values) if value is not None])
    kept = [values[k] for k in known]
    if any(isinstance(value, str) for value in kept):
        return [(str(name), known[[value == name for value in kept]]) for name in sorted(set(kept), key=str)]
    numbers = np.array(kept, dtype=np.float64)
    # Equal numbers stay in one group, so there can be fewer than BINS groups.
    edges = np.unique(np.quantile(numbers, np.linspace(0, 1, BINS + 1)[1:-1], method="lower"))
    group = np.searchsorted(edges, numbers)
    groups = []
    for k in np.unique(group):
        members = numbers[group == k]
        low, high = f"{members.min():.3g}", f"{members.max():.3g}"
        groups.append((low if low == high else f"{low} to {high}", known[group == k]))
    return groups


def _row(name: str, results: Sequence[BlockResult]) -> dict[str, Any]:
    right = sum(bool(result.right) for result in results)
    low, high = wilson(right, len(results))
    return {
        "name": name,
        "blocks": len(results),
        "not_found": sum(result.detection is None for result in results),
        "right": right / len(results),
        "low": low,
        "high": high,
        "median_adds_cm": median_of([100 * result.adds for result in results]),
    }
