"""`python -m simgen diff`: prints what differs between two sides, draws the pictures that differ, and writes JSON."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simgen.catalogue import without_fixtures
from simgen.command.effects import without_effect
from simgen.command.help import shown
from simgen.diff.factors import Factor, compare_factors, kinds_of
from simgen.diff.pixels import PixelChange, changed_labels, changed_pixels, sheet_of, text_of
from simgen.diff.schema import DiffConfig
from simgen.diff.sides import Name, Side, open_sides
from simgen.drawings import is_drawn_by, png_bytes
from simgen.errors import ConfigError, FileError
from simgen.files import differences, read_json, write_file, write_json

SAME, DIFFERENT = 0, 1  # the exit statuses; 2 is an error
_MARK = "simgen diff"
_SHOWN = 8  # lines of a kind
_UNDRAWN = "without render=true"
_REPLACED = {  # settings of a configuration in whose place diff has its own, and why they have no effect
    "num": "the number of samples is num= of diff",
    "out": "what is rendered is not kept",
    "part": "all samples are compared",
}


@dataclass(frozen=True)
class Difference:
    """All that differs between the sides A and B. `settings` and `versions` are (key, value of A, value of B); `only_a` and
    `only_b` are samples that one of two datasets or of two configurations alone has; `files` are paths whose hashes differ,
    or that one side alone has. `pairs` is the number of compared samples that both have."""

    a: Side
    b: Side
    settings: list[tuple[str, Any, Any]]
    versions: list[tuple[str, Any, Any]]
    factors: list[Factor]
    only_a: list[Name]
    only_b: list[Name]
    pairs: int
    labels: list[Name]
    pixels: list[PixelChange]
    files: list[str]

    @property
    def is_empty(self) -> bool:
        """Whether the sides are equal."""
        other = any(one.other or one.distance for one in self.factors)
        found = (self.settings, self.versions, self.only_a, self.only_b, self.labels, self.pixels, self.files)
        return not other and not any(found)


def diff(config: DiffConfig, given: Sequence[str] = ()) -> int:
    """Prints what differs between the two sides of `config`; 0 if nothing does, 1 if something does. Reports those of the
    keys `given`, and of the settings of a configuration, that have no effect."""
    _check(config)
    with ExitStack() as stack:
        a, b = open_sides(config, stack)
        found = compare(a, b)
        for line in (*_idle(given, found), *_idle_in("a", a, b), *_idle_in("b", b, a)):
            print(f"simgen: note: {line}", file=sys.stderr)
        print("\n".join(_text(found, config.significance)))
        if found.pixels:
            worst = found.pixels[: config.show]
            write_file(Path(config.picture), png_bytes(sheet_of(worst, a.pictures, b.pictures), _MARK))
            print(f"{config.picture}: the {len(worst)} that differ most: A, B and the difference, amplified")
    if config.out is not None:
        write_json(Path(config.out), to_json(found, config.significance), indent=1)
    return SAME if found.is_empty else DIFFERENT


def compare(a: Side, b: Side) -> Difference:
    """All that differs between two sides. Raises DatasetError for a picture that cannot be read."""
    recipes = [dict(side.recipe) for side in (a, b)]
    versions = [recipe.pop("versions", {}) for recipe in recipes]
    alike = a.is_dataset == b.is_dataset
    if not (a.is_dataset and b.is_dataset):  # a configuration does not state what its renderer ignores
        recipes = [{key: value for key, value in recipe.items() if key != "ignored"} for recipe in recipes]
    known = bool(a.recipe) and bool(b.recipe)  # a dataset of another tool has no settings
    there, here = (json.loads(json.dumps(recipe)) for recipe in recipes)
    files = sorted(path for path in a.files.keys() | b.files.keys() if a.files.get(path) != b.files.get(path))
    return Difference(
        a,
        b,
        settings=list(differences(there, here)) if known else [],
        versions=list(differences(*versions)) if known else [],
        factors=compare_factors(a, b),
        only_a=sorted(a.rows.keys() - b.rows.keys()) if alike else [],
        only_b=sorted(b.rows.keys() - a.rows.keys()) if alike else [],
        pairs=len(a.rows.keys() & b.rows.keys()),
        labels=changed_labels(a.pictures, b.pictures),
        pixels=changed_pixels(a.pictures, b.pictures),
        files=files if a.files and b.files else [],
    )


def to_json(found: Difference, significance: float) -> dict[str, Any]:
    """The differences as JSON values."""
    changes = [
        {"scene": one.name[0], "image": one.name[1], "largest": one.largest, "share": one.share, "sizes": one.sizes}
        for one in found.pixels
    ]
    return {
        "made_by": _MARK,
        "a": found.a.name,
        "b": found.b.name,
        "equal": found.is_empty,
        "samples": {"a": found.a.total, "b": found.b.total, "both": found.pairs},
        "only_a": found.only_a,
        "only_b": found.only_b,
        "settings": [{"key": key, "a": one, "b": other} for key, one, other in found.settings],
        "versions": [{"name": key, "a": one, "b": other} for key, one, other in found.versions],
        "kinds": {"a": dict(kinds_of(found.a)), "b": dict(kinds_of(found.b))},
        "significance": significance,
        "factors": [{**one.to_json(), "differs": one.p < significance} for one in found.factors],
        "labels": found.labels,
        "pixels": changes,
        "files": found.files,
    }


def _check(config: DiffConfig) -> None:
    picture = Path(config.picture)
    if picture.suffix.lower() != ".png":
        raise ConfigError(f"picture: got {config.picture}; expected the name of a .png file")
    if picture.exists() and not is_drawn_by(picture, _MARK):
        raise ConfigError(f"picture: {picture} exists, and diff did not draw it; name another file or move it")
    if not 1 <= config.show <= 50:
        raise ConfigError(f"show: got {config.show}; expected 1 to 50 pairs of pictures")
    if config.num < 1:
        raise ConfigError(f"num: got {config.num}; expected a whole number of at least 1")
    if not 0 < config.significance < 1:
        raise ConfigError(f"significance: got {config.significance}; expected a number between 0 and 1")
    if config.out is not None and Path(config.out).exists() and not _is_ours(Path(config.out)):
        raise ConfigError(f"out: {config.out} exists, and diff did not write it; name another file or move it")


def _idle(given: Sequence[str], found: Difference) -> Iterator[str]:
    """A line for each of the keys `given` of diff that has no effect."""
    sides = found.a, found.b
    why: dict[str, str] = {}
    if not any(side.source for side in sides):
        why |= dict.fromkeys(("num", "render"), "it is for configurations, and both sides are datasets")
    if all(side.source for side in sides):
        why["split"] = "no side is a dataset"
    if not found.pixels:
        drawn = all(side.is_dataset for side in sides)
        reason = "no two pictures of the same number differ" if drawn else f"a configuration has no pictures {_UNDRAWN}"
        why |= dict.fromkeys(("picture", "show"), reason)
    yield from (f"{key} has no effect: {why[key]}" for key in given if key in why)


def _idle_in(key: str, side: Side, other: Side) -> Iterator[str]:
    """A line for each setting without effect of the configuration that the `side` of diff's `key` is."""
    of = side.source
    if of is None:
        return
    why = dict(_REPLACED)
    if other.source is None and other.recipe:
        why["start"] = "the samples are those of the dataset"
    if not side.is_dataset:
        why |= dict.fromkeys(("executor", "workers", "check"), f"nothing is rendered {_UNDRAWN}")
    yield from (f"{key}: {name} has no effect: {why[name]}" for name in of.given if name in why)
    rest = tuple(name for name in of.given if name not in why)
    idle = (*without_effect(of.value, of.groups, of.keys, rest), *without_fixtures([of.value.scene], rest))
    yield from (f"{key}: {line}" for line in idle)


def _is_ours(path: Path) -> bool:
    try:
        content = read_json(path)
    except FileError:
        return False
    return isinstance(content, Mapping) and content.get("made_by") == _MARK


def _text(found: Difference, significance: float) -> Iterator[str]:
    a, b = found.a, found.b
    for letter, side in (("A", a), ("B", b)):
        unit = "pictures" if side.is_dataset else "sampled scenes"
        count = f"{len(side.rows)} of {side.total}" if len(side.rows) < side.total else f"{side.total}"
        yield f"{letter}: {side.name}: {count} {unit}{'' if side.recipe else ', whose settings are unknown'}"
    yield from _pairs("settings", found.settings)
    yield from _pairs("versions", found.versions)
    for letter, names in (("A", found.only_a), ("B", found.only_b)):
        if names:
            yield f"only in {letter}: {len(names)} samples: {_names(names)}"
    kinds = kinds_of(a), kinds_of(b)
    if kinds[0] != kinds[1]:
        for kind in sorted(kinds[0] | kinds[1]):
            yield f"kind {kind}: {kinds[0][kind]} blocks in A, {kinds[1][kind]} in B"
    yield from _factors(found, significance)
    if a.is_dataset and b.is_dataset and found.pairs:
        yield f"labels: {len(found.labels)} of {found.pairs} pictures differ{_list(found.labels)}"
        same = found.pairs - len(found.pixels)
        yield f"pixels: {same} of {found.pairs} pictures are identical"
        for change in found.pixels[:_SHOWN]:
            yield f"  {text_of(change.name)}: {change.about}"
        if len(found.pixels) > _SHOWN:
            yield f"  and {len(found.pixels) - _SHOWN} more"
    if a.files and b.files:
        yield f"files: {len(found.files)} differ{': ' + ', '.join(found.files[:4]) if found.files else ''}" + (
            ", ..." if len(found.files) > 4 else ""
        )
    part = max(a.total, b.total) > found.pairs
    equal = f"A and B are equal{f' in the {found.pairs} samples that were compared' if part else ''}"
    yield equal if found.is_empty else "A and B differ"


def _pairs(what: str, found: list[tuple[str, Any, Any]]) -> Iterator[str]:
    for key, one, other in found:
        yield f"{what}: {key}: {_value(one)} in A, {_value(other)} in B"


def _value(value: Any) -> str:
    return "nothing" if value is None else shown(value)


def _factors(found: Difference, significance: float) -> Iterator[str]:
    for side in ("A", "B"):
        alone = [one.name for one in found.factors if one.only_in == side]
        if alone:
            yield f"factors: {side} alone states {len(alone)}: {', '.join(alone[:4])}{', ...' if len(alone) > 4 else ''}"
    both = [one for one in found.factors if not one.only_in]
    differing = [one for one in both if one.p < significance]
    changed = [one for one in both if one.p >= significance and (one.other or one.distance)]
    yield f"factors: the distributions of {len(differing)} of {len(both)} differ"
    for one in differing:
        yield f"  {one.name}: A {one.a}; B {one.b}; distance {one.distance:.2f}, p {one.p:.2g}{_others(one)}"
    equal = len(both) - len(differing) - len(changed)
    if found.pairs:
        yield f"  {equal} have the same value in every sample"
    if changed:
        yield f"  {len(changed)} have other values, not distinguishable in distribution:"
        shown_ones = sorted(changed, key=lambda one: -one.distance)[:_SHOWN]
        yield from (f"    {one.name}: distance {one.distance:.2f}{_others(one)}" for one in shown_ones)
        if len(changed) > _SHOWN:
            yield f"    and {len(changed) - _SHOWN} more"


def _others(one: Factor) -> str:
    return f", another value in {one.other} of {one.pairs}" if one.pairs else ""


def _list(names: list[Name]) -> str:
    return f": {_names(names)}" if names else ""


def _names(names: list[Name]) -> str:
    return "; ".join(map(text_of, names[:5])) + ("; ..." if len(names) > 5 else "")
