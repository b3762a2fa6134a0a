"""Which factors the errors go with: a detector's answers by distance, place, occlusion, light, texture and shape."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from simgen.dataset.read import read_recipe
from simgen.errors import DatasetError
from simgen.geometry import Array, project
from simgen.scene import LIGHTS, TEXTURES
from train.draw.sheets import Image, drawn
from train.evaluate.matching import BlockResult
from train.metrics import median_of

BINS = 4  # of a number: as many answers in each
_NORMAL = 1.96  # standard deviations to either side hold 95%

Value = float | str


def factors_of(answer: BlockResult) -> dict[str, Value]:
    """What the picture of `answer` was like: what its labels tell, and, where the dataset stores it, its recipe."""
    picture, truth = answer.picture, answer.truth
    place = truth.camera_from_block[:3, 3]
    pixel = project(place[None], picture.intrinsics, picture.distortion)[0]
    centre = picture.intrinsics[:2, 2]
    result: dict[str, Value] = {
        "kind": answer.kind.name,
        "distance (m)": float(np.linalg.norm(place)),
        # 0 in the middle, 1 in the corners of a picture whose middle is the camera's principal point
        "place off the middle": float(np.linalg.norm((pixel - centre) / np.linalg.norm(centre))),
        "hidden share": 1 - truth.visible_fraction,
    }
    number = next(k for k, one in enumerate(picture.instances) if one is truth)
    try:
        recipe = read_recipe(picture)
        if recipe is not None:
            result |= _of_recipe(recipe, number)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise DatasetError(
            f"{picture.path}: the recipe beside it is of another version or damaged ({error!r}); render again"
        ) from error
    return result


def _of_recipe(recipe: Mapping[str, Any], number: int) -> dict[str, Value]:
    """Of the recipe of one sample: of its light, and of the labelled block `number`."""

    def one(*keys: str) -> NDArray[Any]:
        value: Any = recipe
        for key in keys:
            value = value[key]
        return np.asarray(value[0])

    slot = np.flatnonzero(one("blocks", "present") & one("blocks", "labelled"))[number]
    surfaces = one("surfaces", "material", "texture")
    there = one("lights", "present")
    bright, ambient = float(one("lights", "intensity")[there].sum()), float(one("ambient", "intensity"))
    kinds = sorted({LIGHTS[kind] for kind in one("lights", "kind")[there]})
    color, table = one("blocks", "material", "color")[slot], one("surfaces", "material", "color")[0]
    return {
        "texture": TEXTURES[one("blocks", "material", "texture")[slot]],
        "table's texture": TEXTURES[surfaces[0]],
        "contrast of first colours": float(np.abs(color - table).max()),
        "lights": str(int(there.sum())),
        "kinds of light": " + ".join(kinds) or "none",
        "brightness": bright + ambient,
        "share of ambient light": ambient / max(bright + ambient, 1e-9),
        "hard or soft shadows": "yes" if bool((one("lights", "shadow") & there).any()) else "no",
        "defocus (px)": float(one("sensor", "defocus")),
        "motion (px)": float(one("sensor", "motion")),
        "other objects": float(one("blocks", "present").sum() - 1),
    }


def by_factor(answers: Sequence[BlockResult]) -> list[dict[str, Any]]:
    """The answers by each factor, that which explains most first: `factor`; `explained`, the share of the variance of the
    miss (ADD-S in diameters, at most 1, which is also that of a block not found) that lies between its groups; `groups`,
    each with its name, how many blocks, how many not found, the share of right poses with Wilson's 95% interval, and
    the median ADD-S of the finds in cm. Factors with one value are left out."""
    values = [factors_of(answer) for answer in answers]
    miss = np.array([min(answer.adds / answer.kind.diameter, 1.0) for answer in answers])
    rows = []
    for factor in dict.fromkeys(name for one in values for name in one):
        groups = _grouped([one.get(factor) for one in values])
        if len(groups) < 2:
            continue
        # Less what chance puts between groups: where a factor explains nothing the expectation is 0 (Kelley 1935).
        within = sum(((miss[members] - miss[members].mean()) ** 2).sum() for _, members in groups)
        count = sum(len(members) for _, members in groups)
        inside = np.concatenate([members for _, members in groups])
        whole = ((miss[inside] - miss[inside].mean()) ** 2).sum()
        free = count - len(groups)  # 0: each group is one block, and says nothing
        explained = 1 - (within / free) / (whole / (count - 1)) if whole > 0 and free > 0 else 0.0
        table = [_row(name, [answers[k] for k in members]) for name, members in groups]
        rows.append({"factor": factor, "explained": float(max(explained, 0.0)), "groups": table})
    return sorted(rows, key=lambda row: -row["explained"])


def factor_lines(rows: Sequence[Mapping[str, Any]]) -> str:
    """`by_factor` as text."""
    lines = [
        "factor: its share of the misses' variance",
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
    """A panel for each factor (H, W, 3): the share of right poses in each of its groups, with the intervals."""
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
    """The 95% interval of a share of which `right` of `count` >= 1 were seen (Wilson 1927)."""
    share, square = right / count, _NORMAL**2
    middle = (share + square / (2 * count)) / (1 + square / count)
    half = _NORMAL / (1 + square / count) * np.sqrt(share * (1 - share) / count + square / (4 * count**2))
    # At 0 and at 1 one end is the share itself, but for the last digit.
    return float(min(max(middle - half, 0.0), share)), float(max(min(middle + half, 1.0), share))


def _grouped(values: Sequence[Value | None]) -> list[tuple[str, Array]]:
    """Groups by word, or of equally many by size; what has no value is in none."""
    there = np.array([k for k, value in enumerate(values) if value is not None])
    words = [values[k] for k in there]
    if any(isinstance(value, str) for value in words):
        return [(str(word), there[[value == word for value in words]]) for word in sorted(set(words), key=str)]
    numbers = np.array(words, dtype=np.float64)
    # Equal numbers stay together, so of many equal ones there are fewer groups.
    edges = np.unique(np.quantile(numbers, np.linspace(0, 1, BINS + 1)[1:-1], method="lower"))
    group = np.searchsorted(edges, numbers)
    found = []
    for k in np.unique(group):
        inside = numbers[group == k]
        low, high = f"{inside.min():.3g}", f"{inside.max():.3g}"
        found.append((low if low == high else f"{low} to {high}", there[group == k]))
    return found


def _row(name: str, answers: Sequence[BlockResult]) -> dict[str, Any]:
    right = sum(bool(answer.right) for answer in answers)
    low, high = wilson(right, len(answers))
    return {
        "name": name,
        "blocks": len(answers),
        "not_found": sum(answer.found is None for answer in answers),
        "right": right / len(answers),
        "low": low,
        "high": high,
        "median_adds_cm": median_of([100 * answer.adds for answer in answers]),
    }
