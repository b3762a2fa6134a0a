"""Writes docs/randomization.md from the schema, the factors' bounds and the presets of conf/randomize/.

python scripts/make_docs.py
"""

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from simgen.command.effects import in_words
from simgen.command.help import shown
from simgen.command.keys import Key, groups_of, keys_of
from simgen.distributions import KINDS
from simgen.explain.presets import allowed_values, preset_names, values_of_preset
from simgen.resources import resource_folder
from simgen.schema import Render

PAGE = Path(__file__).resolve().parent.parent / "docs" / "randomization.md"
_INTRODUCTION = """\
<!-- Made by scripts/make_docs.py from simgen/schema.py, simgen/factors.py and conf/randomize/. Do not edit. -->
# Randomization

Each number that may vary in an image is a factor: a key below `randomize`. A factor is a constant or a distribution:

{kinds}

`nominal` and `varied` stand for the scene file's own value of the factor, in its sections `nominal` and `varied`
(`scenes/*.yaml`).

```bash
python -m simgen render randomize=light                        # a preset
python -m simgen render randomize.ambient.intensity=0.4        # freeze one factor
python -m simgen render 'randomize.blocks.scale=[uniform,0.8,1.2]'
python -m simgen render randomize.images=photos 'randomize.table.texture=[choice,image,noise]'
python -m simgen preview vary=camera                           # look at one group alone
```

Freezing or adding one factor does not change the values of any other. A factor that the renderer cannot draw is still
sampled and recorded, and the command prints a notice. A setting without effect is reported, too.

## Presets

{presets}

`none` is the value that a factor has where no preset varies it. `full` varies all that the presets of one group vary, in the
same way; of a factor that two of them vary, such as `blocks.material.texture`, it has the value of `textures` or
`surroundings`.
"""


def randomization_page() -> str:
    """The text of docs/randomization.md."""
    keys = {path: key for path, key in keys_of(Render, groups_of("render")).items() if path.startswith("randomize.")}
    presets = {preset: values_of_preset(preset) for preset in preset_names()}
    kinds = "\n".join(f"- {_usage(usage)}" for _, usage in KINDS.values())
    listed = "\n".join(f"- `{preset}`: {_about(preset)}" for preset in presets)
    parts = [_INTRODUCTION.format(kinds=kinds, presets=listed)]
    for section in ("", *_sections(keys)):
        rows = [key for path, key in keys.items() if _section_of(path) == section and key.kind != "section"]
        if rows:
            parts.append("\n".join(_table(section, keys, rows, presets)))
    return "\n".join(parts)


def _table(section: str, keys: Mapping[str, Key], rows: list[Key], presets: Mapping[str, Any]) -> Iterator[str]:
    name = f"randomize.{section}".rstrip(".")
    yield f"## `{name}`\n"
    if name in keys:
        yield f"{_sentence(keys[name].help)}\n"
    yield "| key | meaning | unit | allowed | `none` | presets |"
    yield "|---|---|---|---|---|---|"
    for key in rows:
        path = key.path.removeprefix("randomize.")
        default = presets["none"][path]
        varied = [
            f"`{preset}` `{shown(values[path])}`"
            for preset, values in presets.items()
            if preset not in ("none", "full", "photographs", "adr") and values[path] != default
        ]
        conditions = [need for need in key.needs if need.startswith("randomize.")]
        needs = "".join(f"; needs {_short(need, name)}" for need in conditions[-1:])
        cells = [
            f"`{key.name}`",
            key.help + needs + (f"; without effect: {key.idle}" if key.idle else ""),
            key.unit,
            allowed_values(key),
            f"`{shown(default)}`",
            ", ".join(varied),
        ]
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
    yield ""


def _short(need: str, section: str) -> str:
    return in_words(need.removeprefix(f"{section}.").removeprefix("randomize."))


def _sections(keys: Mapping[str, Key]) -> Iterator[str]:
    yield from (path.removeprefix("randomize.") for path, key in keys.items() if key.kind == "section")


def _section_of(path: str) -> str:
    return path.removeprefix("randomize.").rpartition(".")[0]


def _about(preset: str) -> str:
    """The first comment of a preset's file; for one arm of an ablation, that of its file in conf/randomize/vary/."""
    folder = resource_folder("conf") / "randomize"
    path = folder / "vary" / f"{preset}.yaml"
    lines = (path if path.is_file() else folder / f"{preset}.yaml").read_text(encoding="utf-8").splitlines()
    while lines[0].startswith("# @"):
        lines.pop(0)
    comments = []
    for line in lines:
        if line.strip() == "#" or not line.startswith("#"):
            break
        comments.append(line.removeprefix("#").strip())
    return " ".join(comments)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _usage(usage: str) -> str:
    """The form of a kind of distribution and its conditions, in Markdown."""
    depths = list(itertools.accumulate((character == "[") - (character == "]") for character in usage))
    end = depths.index(0) + 1
    return f"`{usage[:end]}`{usage[end:]}"


if __name__ == "__main__":
    PAGE.write_text(randomization_page(), encoding="utf-8")
    print(PAGE)
