"""docs/randomization.md is the output of scripts/make_docs.py, and its statements about the presets are true."""

from dataclasses import fields, is_dataclass
from types import ModuleType

import pytest
from builders import ROOT, script_module

from simgen.command.keys import groups_of, keys_of
from simgen.explain.presets import arms, values_of_preset
from simgen.schema import Preview, Render
from train.__main__ import COMMANDS


@pytest.fixture(scope="module")
def make_docs() -> ModuleType:
    return script_module("make_docs")


def test_the_page_of_factors_is_current(make_docs: ModuleType) -> None:
    page = make_docs.randomization_page()
    assert (ROOT / "docs" / "randomization.md").read_text(encoding="utf-8") == page, "run python scripts/make_docs.py"
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    factors = [
        path
        for path, key in keys_of(Render, groups_of("render")).items()
        if path.startswith("randomize.") and key.kind != "section"
    ]
    assert len(rows) == len(factors) > 100
    assert "| `elevation_deg` |" in page and "`sensor` `[uniform,-0.7,0.7]`" in page


def test_full_is_the_sum_of_the_arms() -> None:
    """No two groups vary one factor, except textures and surroundings, which widen what color, light and background vary."""
    presets = {name: values_of_preset(name) for name in ["none", "full", *arms()]}
    for path, nominal in presets["none"].items():
        changed = {arm: presets[arm][path] for arm in arms() if presets[arm][path] != nominal}
        wider = [value for arm, value in changed.items() if arm in ("textures", "surroundings")]
        assert presets["full"][path] == next(iter((*wider, *changed.values())), nominal), path
        assert len(wider) <= 1 and len(changed) - len(wider) <= 1, path


def test_every_key_is_explained_once() -> None:
    """Every field of every schema has a line of its own, in which nothing of another key is repeated."""

    def check(schema: type, above: str) -> None:
        for item in fields(schema):
            text = item.metadata.get("help", "")
            assert 2 < len(text) < 230 and not text.endswith("."), f"{above}.{item.name}"
            for inner in (item.type, item.default_factory, *item.metadata.get("options", {}).values()):
                if isinstance(inner, type) and is_dataclass(inner):
                    check(inner, f"{above}.{item.name}")

    for schema in (Render, Preview, *(command.schema for command in COMMANDS.values())):
        check(schema, schema.__name__)
