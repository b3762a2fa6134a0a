"""`python -m simgen explain`: prints what a factor is and draws pictures along it."""

import sys
import textwrap
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from simgen.catalogue import World, load_world, without_fixtures
from simgen.command.arguments import nearest
from simgen.command.effects import in_words
from simgen.command.grammar import setting
from simgen.command.help import shown
from simgen.command.keys import Key
from simgen.drawings import is_drawn_by, png_bytes
from simgen.errors import ConfigError, RenderError
from simgen.explain.along import given_rows, rows_along
from simgen.explain.presets import allowed_values, factor_keys, flat_values, preset_names, values_of_preset
from simgen.explain.schema import ExplainConfig
from simgen.explain.stage import Stage, staged
from simgen.explain.strip import ENOUGH, draw_strip, sheet_of
from simgen.factors import leaves_of
from simgen.files import write_file
from simgen.scene import SURFACES

_MARK = "simgen explain"
_COLUMN = 11
_FEWEST, _MOST = 2, 12  # pictures in a row
_OF_THE_TEXT = ("factor", "scene")  # keys that count without pictures, too
_MATERIALS = (*SURFACES, "fixture")


def explain(config: ExplainConfig, given: Collection[str] = ()) -> None:
    """Prints what the factor of `config` is and writes its strip of pictures; without a factor, or for a group of factors,
    prints a table. Reports those of the keys `given` that have no effect here. Raises ConfigError for an unknown factor,
    with the most similar ones."""
    keys = factor_keys()
    factor = (config.factor or "").removeprefix("randomize.").rstrip(".")
    if factor not in ("", "randomize") and factor not in keys:
        raise ConfigError(_unknown(factor, keys))
    if factor in ("", "randomize") or keys[factor].kind == "section":
        _report([key for key in given if key != "factor"], "a table is printed, without pictures")
        print("\n".join(_table("" if factor == "randomize" else factor, keys)))
        return
    world = load_world(config.scene)
    print("\n".join(_text(keys[factor], factor, world)))
    if factor.replace(".", "/") not in leaves_of(config.randomize, world):
        print("It is no factor: it has one value for all samples, so no pictures are drawn.")
        _report([key for key in given if key not in _OF_THE_TEXT], "no pictures are drawn of what is no factor")
        return
    _draw(config, keys[factor], factor, world, given)


def _report(keys: Iterable[str], why: str) -> None:
    for key in keys:
        print(f"simgen: note: {key} has no effect: {why}", file=sys.stderr)


def _draw(config: ExplainConfig, key: Key, factor: str, world: World, given: Collection[str]) -> None:
    out = Path(config.out)
    if out.suffix.lower() != ".png":
        raise ConfigError(f"out: got {config.out}; expected the name of a .png file")
    if out.exists() and not is_drawn_by(out, _MARK):
        raise ConfigError(f"out: {config.out} exists, and explain did not draw it; name another file or move it")
    if not _FEWEST <= config.num <= _MOST:
        raise ConfigError(f"num: got {config.num}; expected {_FEWEST} to {_MOST} pictures in a row")
    if config.index is not None and config.index < 0:
        raise ConfigError(f"index: got {config.index}; expected 0 or more")
    stage = staged(factor, config.scene, config.randomize, world)
    if config.values is not None:
        rows = given_rows(factor, config.values, stage.world)
    else:
        rows, few, many = (
            rows_along(factor, flat_values(config.randomize)[factor], stage.world, config.randomize, num)
            for num in (config.num, _FEWEST, _MOST)
        )
        if few == many:
            _report({"num"} & {*given}, f"{factor} has these values and no others")
    strip = draw_strip(config, factor, stage, rows)
    for line in (*strip.notices, *(f"simgen: note: {line}" for line in without_fixtures([stage.scene], given))):
        print(line, file=sys.stderr)
    unit = f" [{key.unit}]" if key.unit not in ("", "words") else ""
    title = f"{factor}{unit}, scene {stage.scene}, seed {config.seed}, sample {strip.index}"
    write_file(out, png_bytes(sheet_of(strip, title), _MARK))
    count = sum(len(row.values) for row in rows)
    print(f"{out}: {count} pictures of sample {strip.index} of seed {config.seed}, equal in all but {factor}")
    print("\n".join(_how(stage)))
    if strip.changed < ENOUGH and count > 1:
        effect = (
            f"a small effect: {strip.changed:.1%} of the pixels change" if strip.changed else "no effect on a pixel"
        )
        print(f"note: {factor} has {effect} here; try index=..., another scene or values=...", file=sys.stderr)


def _text(key: Key, factor: str, world: World) -> Iterator[str]:
    """What the factor is: its explanation, unit, allowed values, presets, and which renderers draw it."""
    yield from textwrap.wrap(f"{factor}: {key.help}", 120, subsequent_indent="  ")
    if key.unit:
        yield _line("unit", key.unit)
    yield from _lines("allowed", allowed_values(key))
    needs = [need for need in key.needs if need.partition("=")[0] != "vary"]
    if needs:
        yield from _lines("needs", "; ".join(in_words(need).removeprefix("randomize.") for need in needs))
    if key.idle:
        yield from _lines("no effect", key.idle)
    yield _line("presets", f"in scene {world.name}")
    values = {preset: values_of_preset(preset)[factor] for preset in preset_names()}
    for value in dict.fromkeys(map(shown, values.values())):
        names = ", ".join(name for name, other in values.items() if shown(other) == value)
        yield from _lines("", f"{_meaning(value, factor, world)}: {names}")
    yield from _lines("drawn by", "none" if key.idle else _renderers(factor))


def _meaning(value: str, factor: str, world: World) -> str:
    """A preset's value; for `nominal` and `varied` also what the scene gives for it."""
    if value not in ("nominal", "varied"):
        return value or "(empty)"
    tree: Any = world.nominal if value == "nominal" else world.varied
    for name in factor.split("."):
        tree = tree.get(name) if isinstance(tree, Mapping) else None
    return f"{value} = {'not defined by the scene' if tree is None else shown(tree)}"


def _renderers(factor: str) -> str:
    from simgen.render.raycast import RaycastRenderer

    section, _, name = factor.rpartition(".")
    material = f"material.{name}" if section in _MATERIALS or section.endswith("material") else factor
    drawing = [] if factor in RaycastRenderer.ignored else ["raycast"]
    try:
        from simgen.render.bullet import BulletRenderer
    except RenderError:
        return f"{', '.join(drawing)} (tiny is unknown: pybullet is not installed)"
    ignored = BulletRenderer.ignored
    return ", ".join([*drawing, *(["tiny"] if not {factor, material} & set(ignored) else [])])


def _how(stage: Stage) -> Iterator[str]:
    """How the scene was changed so that the factor is visible."""
    if stage.changed:
        keys = factor_keys()
        settings = [setting(keys, key, value) for key, value in stage.changed.items()]
        yield from _lines("scene", f"the configured one with {' '.join(settings)}")
    if stage.detail:
        yield _line(
            "detail", f"the middle of pictures of {stage.world.width} x {stage.world.height} px, which it changes"
        )


def _table(section: str, keys: Mapping[str, Key]) -> Iterator[str]:
    """A line for each factor below `section`."""
    none, full = values_of_preset("none"), values_of_preset("full")
    yield f"{'factor':34} {'unit':30} explanation"
    for path, key in keys.items():
        if key.kind != "section" and (not section or path.startswith(f"{section}.")):
            fixed = "" if none[path] != full[path] else " (constant in randomize=full)"
            yield f"{path:34} {key.unit:30} {key.help}{fixed}"
    yield "\n`python -m simgen explain FACTOR` explains one and draws pictures along it."


def _unknown(factor: str, keys: Mapping[str, Key]) -> str:
    leaves = {path: replace(key, path=path) for path, key in keys.items()}
    ends = [path for path, key in leaves.items() if key.name == factor.rpartition(".")[2] and key.kind != "section"]
    near = (ends or nearest(factor, leaves))[:4]
    hint = f"did you mean {', '.join(near)}? " if near else ""
    return f"factor: no factor {factor}; {hint}`python -m simgen explain` lists all"


def _line(name: str, text: str) -> str:
    return f"  {name:{_COLUMN}}{text}"


def _lines(name: str, text: str) -> Iterator[str]:
    """`text` in lines, the first of which begins with `name`."""
    first, *rest = textwrap.wrap(text, 105, break_long_words=False, break_on_hyphens=False) or [""]
    yield _line(name, first)
    for line in rest:
        yield _line("", f"  {line}")
