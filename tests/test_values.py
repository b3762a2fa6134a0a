"""The values of factors that a dataset's pictures have, against the sampled scenes themselves."""

from pathlib import Path

import numpy as np
import pytest
from builders import sampler_of
from toy_dataset import random_positions, write_dataset

from simgen.config import compose
from simgen.dataset.read import open_dataset
from simgen.dataset.values import columns_of, instance_values, picture_values
from simgen.errors import DatasetError
from simgen.scene import LIGHTS, SURFACES, TEXTURES
from simgen.schema import Render
from simgen.workers import render

ORBIT = (
    "randomize.camera.aim=0", "randomize.camera.offset=0", "randomize.camera.distance=[uniform,0.6,1.1]",
    "randomize.camera.elevation_deg=[uniform,30,70]", "randomize.camera.azimuth_deg=[uniform,-170,170]",
    "randomize.camera.fov_scale=1",
)  # fmt: skip


def test_values_are_those_of_the_scenes(tmp_path: Path) -> None:
    overrides = ["randomize=full", "physics=place", "renderer=tiny", "width=96", "height=72", *ORBIT]
    render(compose("render", Render, [*overrides, "num=6", "workers=1", f"out={tmp_path / 'set'}"]))
    dataset = open_dataset(tmp_path / "set")
    sampler, world = sampler_of(*overrides)
    scenes = sampler.sample(0, range(6))
    rows = [picture_values(picture) for picture in dataset.pictures]
    columns = columns_of(rows)
    for k, row in enumerate(rows):
        blocks, lights, sensor = scenes.blocks, scenes.lights, scenes.sensor
        there = blocks.present[k] & blocks.labelled[k]
        assert row["blocks.count"] == there.sum() == len(dataset.pictures[k].instances)
        assert row["distractors.count"] == (blocks.present[k] & ~blocks.labelled[k]).sum()
        assert row["clutter.count"] == scenes.clutter.present[k].sum()
        assert row["walls"] == scenes.surfaces.walls[k]
        assert row["sensor.gamma"] == sensor.gamma[k] and row["sensor.defocus_px"] == sensor.defocus[k]
        assert row["sensor.white_balance.green"] == sensor.white_balance[k, 1]
        for s, surface in enumerate(SURFACES):
            assert row[f"{surface}.texture"] == TEXTURES[scenes.surfaces.material.texture[k, s]]
            assert row[f"{surface}.color.blue"] == scenes.surfaces.material.color[k, s, 2]
        assert row["light.count"] == lights.present[k].sum()
        if row["light.count"]:
            brightest = np.argmax(np.where(lights.present[k], lights.intensity[k], -1))
            assert row["light.kind"] == LIGHTS[lights.kind[k, brightest]]
            assert row["light.direction.z"] == lights.direction[k, brightest, 2]
        position = scenes.cameras.world_from_camera[k, :3, 3]
        assert row["camera.from_origin.distance"] == pytest.approx(np.linalg.norm(position))
        assert row["camera.from_origin.elevation_deg"] == pytest.approx(
            np.degrees(np.arctan2(position[2], np.hypot(*position[:2])))
        )
        slots = np.flatnonzero(there)
        for number, slot in enumerate(slots):
            values = instance_values(dataset.pictures[k], number, dataset.models)
            assert values["kind"] == world.solids[blocks.model[k, slot]].name
            assert values["scale"] == blocks.scale[k, slot]
            assert values["texture"] == TEXTURES[blocks.material.texture[k, slot]]
            place = blocks.world_from_block[k, slot, :3, 3]
            assert np.allclose([values["x"], values["y"], values["z"]], place, atol=1e-9)
            assert values["distance"] == pytest.approx(np.linalg.norm(place - position))
    # The distributions of the configuration, whose factors these are.
    for name, low, high in (("distance", 0.6, 1.1), ("elevation_deg", 30, 70), ("azimuth_deg", -170, 170)):
        column = np.array(columns[f"camera.from_origin.{name}"])
        assert low <= column.min() and column.max() <= high and len(set(column.tolist())) == 6
    assert all(len(column) == 6 for column in columns.values())


def test_a_dataset_of_another_tool_has_the_values_of_its_labels(tmp_path: Path) -> None:
    places = random_positions(3)
    dataset = open_dataset(write_dataset(tmp_path / "set", places))
    for picture, place in zip(dataset.pictures, places, strict=True):
        row = picture_values(picture)
        seen = [row[f"camera.from_origin.{name}"] for name in ("distance", "elevation_deg", "azimuth_deg")]
        assert seen == pytest.approx([0.9 * np.sqrt(2), 45, -90])
        assert row["blocks.distance"] == pytest.approx(np.linalg.norm(place - [0, -0.9, 0.9]))
        assert not any(name.startswith(("sensor", "light", "table")) for name in row)
        values = instance_values(picture, 0, dataset.models)
        assert (values["kind"], values["visible_fraction"], values["visible_pixels"]) == ("box", 1.0, 49)
        assert np.allclose([values["x"], values["y"], values["z"]], place)


def test_a_damaged_recipe_is_an_error_that_names_the_picture(tmp_path: Path) -> None:
    dataset = open_dataset(write_dataset(tmp_path / "set", random_positions(1)))
    record = tmp_path / "set" / "train" / "000000" / "sample" / "000000.json"
    record.parent.mkdir()
    record.write_text('{"recipe": {"settled": [true], "surfaces": []}}')
    with pytest.raises(DatasetError, match=r"000000\.png: the recipe beside it is of another version or damaged"):
        picture_values(dataset.pictures[0])
