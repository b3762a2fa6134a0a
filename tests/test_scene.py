"""Scenes: checks in the constructor, take and concatenate, and lossless JSON."""

import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import pytest

from simgen.scene import (
    Ambient,
    Blocks,
    Cameras,
    Clutter,
    Fixtures,
    Lights,
    Materials,
    Scenes,
    Sensor,
    Surfaces,
    concatenate,
    from_json,
    take,
    to_json,
)


def materials(rng: np.random.Generator, *shape: int) -> Materials:
    return Materials(
        texture=rng.integers(0, 6, shape),
        color=rng.random((*shape, 3)),
        color2=rng.random((*shape, 3)),
        cycles=rng.random(shape),
        angle=rng.normal(size=shape),
        pattern=rng.integers(0, 2**31, shape),
        crop=rng.random(shape),
        sides=rng.random(shape) < 0.5,
        edge=rng.random(shape),
        wear=rng.random(shape),
        grime=rng.random(shape),
        roughness=rng.random(shape),
        metalness=rng.random(shape),
        specular=rng.random(shape),
    )


def scenes_of(batch: int, seed: int = 0) -> Scenes:
    """Scenes of random bits; every array differs."""
    rng = np.random.default_rng(seed)
    n, lights = 4, 2
    return Scenes(
        index=rng.integers(0, 2**62, batch),
        settled=rng.random(batch) > 0.5,
        attempt=rng.integers(0, 20, batch),
        blocks=Blocks(
            model=rng.integers(0, 8, (batch, n)),
            scale=rng.random((batch, n)),
            world_from_block=rng.normal(size=(batch, n, 4, 4)),
            material=materials(rng, batch, n),
            present=rng.random((batch, n)) < 0.5,
            labelled=rng.random((batch, n)) < 0.5,
        ),
        surfaces=Surfaces(material=materials(rng, batch, 5), walls=rng.random(batch) < 0.5),
        fixtures=Fixtures(
            shift=rng.normal(size=(batch, 3, 3)), scale=rng.random((batch, 3)), present=rng.random((batch, 3)) < 0.5
        ),
        clutter=Clutter(
            kind=rng.integers(0, 12, (batch, 2)),
            variant=rng.integers(0, 9, (batch, 2)),
            size=rng.random((batch, 2)),
            world_from_object=rng.normal(size=(batch, 2, 4, 4)),
            material=materials(rng, batch, 2),
            present=rng.random((batch, 2)) < 0.5,
        ),
        lights=Lights(
            present=rng.random((batch, lights)) < 0.5,
            kind=rng.integers(0, 3, (batch, lights)),
            direction=rng.normal(size=(batch, lights, 3)),
            distance=rng.random((batch, lights)),
            size=rng.random((batch, lights)),
            color=rng.random((batch, lights, 3)),
            intensity=rng.random((batch, lights)),
            specular=rng.random((batch, lights)),
            shadow=rng.random((batch, lights)) < 0.5,
        ),
        ambient=Ambient(
            intensity=rng.random(batch),
            sky=rng.random((batch, 3)),
            ground=rng.random((batch, 3)),
            direction=rng.normal(size=(batch, 3)),
            reflection=rng.random(batch),
            occlusion=rng.random(batch),
        ),
        cameras=Cameras(
            intrinsics=rng.normal(size=(batch, 3, 3)),
            distortion=rng.normal(size=(batch, 5)) * 1e-300,
            world_from_camera=rng.normal(size=(batch, 4, 4)),
            width=640,
            height=480,
        ),
        sensor=Sensor(
            defocus=rng.random(batch),
            motion=rng.random(batch),
            motion_angle=rng.random(batch),
            vignette=rng.random(batch),
            exposure=np.array([-0.0, 5e-324, 1 / 3, np.pi, 1e300, 0.1][:batch] + [0.2] * (batch - 6)),
            shot_noise=rng.random(batch),
            read_noise=rng.random(batch),
            noise_seed=rng.integers(0, 2**32, batch),
            white_balance=rng.random((batch, 3)),
            shoulder=rng.random(batch),
            gamma=rng.random(batch),
            jpeg_quality=rng.integers(0, 100, batch),
        ),
    )


def arrays(part: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    for item in fields(part):
        value = getattr(part, item.name)
        if is_dataclass(value):
            yield from arrays(value, f"{path}{item.name}.")
        else:
            yield f"{path}{item.name}", value


def assert_same_bits(left: Scenes, right: Scenes) -> None:
    assert type(left) is type(right)
    for (path, a), (other, b) in zip(arrays(left), arrays(right), strict=True):
        assert path == other
        assert type(a) is type(b), path
        if isinstance(a, np.ndarray):
            assert a.dtype == b.dtype, path
            assert a.shape == b.shape, path
            assert a.tobytes() == b.tobytes(), path
        else:
            assert a == b, path


# ---- JSON


@pytest.mark.parametrize("batch", [1, 6])
def test_json_keeps_every_bit(batch: int) -> None:
    scenes = scenes_of(batch)
    data = to_json(scenes)
    assert_same_bits(from_json(data), scenes)
    text = json.dumps(data)
    assert_same_bits(from_json(json.loads(text)), scenes)
    assert json.dumps(to_json(from_json(json.loads(text)))) == text


def test_json_keeps_scenes_without_fixtures_and_lights() -> None:
    """Their arrays are empty, and a list loses the axes after one of length 0."""
    scenes = scenes_of(2)
    none = np.zeros((2, 0))
    bare = replace(
        scenes,
        fixtures=Fixtures(shift=np.zeros((2, 0, 3)), scale=none, present=none),
        lights=Lights(
            **{
                item.name: np.zeros((2, 0, 3) if item.name in ("direction", "color") else (2, 0))
                for item in fields(Lights)
            }
        ),
    )
    assert_same_bits(from_json(json.loads(json.dumps(to_json(bare)))), bare)
    with pytest.raises(ValueError, match=r"Fixtures.shift: shape \(2, 0\), expected \(B F 3\)"):
        Fixtures(shift=none, scale=none, present=none)


def test_json_is_plain() -> None:
    def plain(value: Any) -> bool:
        if isinstance(value, dict):
            return all(type(key) is str and plain(item) for key, item in value.items())
        return all(map(plain, value)) if isinstance(value, list) else type(value) in (int, float, bool)

    data = to_json(scenes_of(2))
    assert plain(data)
    assert list(data) == [item.name for item in fields(Scenes)]
    assert data["cameras"]["width"] == 640


@pytest.mark.parametrize("path", [path for path, _ in arrays(scenes_of(1))])
def test_a_recipe_without_one_of_its_parts_is_refused(path: str) -> None:
    data = json.loads(json.dumps(to_json(scenes_of(1))))
    *parents, last = path.split(".")
    section = data
    for name in parents:
        section = section[name]
    del section[last]
    with pytest.raises(KeyError, match=last):
        from_json(data)


def test_a_recipe_of_data_version_7_draws_what_it_drew() -> None:
    """It has no clutter, no settled and none of the newer fields of materials and ambient light."""
    scenes = scenes_of(2)
    data = json.loads(json.dumps(to_json(scenes)))
    for name in ("clutter", "settled"):
        del data[name]
    for name in ("direction", "reflection"):
        del data["ambient"][name]
    for part in ("blocks", "surfaces"):
        for name in ("crop", "sides", "edge", "wear", "grime"):
            del data[part]["material"][name]
    old = from_json(data)
    assert old.clutter.world_from_object.shape == (2, 0, 4, 4) and old.clutter.material.color.shape == (2, 0, 3)
    assert not old.settled.any() and not old.ambient.reflection.any()
    assert old.ambient.direction.tolist() == [[0, 0, 1]] * 2
    for material in (old.blocks.material, old.surfaces.material):
        assert (material.crop == 1).all() and material.crop.shape == material.texture.shape
        assert not any(getattr(material, name).any() for name in ("sides", "edge", "wear", "grime"))
    kept = to_json(old)
    assert kept["sensor"] == to_json(scenes)["sensor"] and kept["blocks"]["scale"] == to_json(scenes)["blocks"]["scale"]
    # Without clutter, too, a recipe is restored to the same bits; and it still needs every field of its own version.
    again = json.loads(json.dumps(kept))
    assert to_json(from_json(again)) == kept
    del again["settled"]
    with pytest.raises(KeyError, match="settled"):
        from_json(again)


def test_a_recipe_of_another_shape_is_refused() -> None:
    data = to_json(scenes_of(2))
    data["cameras"]["distortion"] = [[0, 0, 0, 0]] * 2
    with pytest.raises(ValueError, match=r"Cameras\.distortion: shape \(2, 4\), expected \(B 5\)"):
        from_json(data)


# ---- what the constructors refuse


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("index", np.zeros((3, 1))),
        ("attempt", np.zeros(2)),
        ("blocks.scale", np.zeros((3, 5))),
        ("blocks.scale", np.zeros(3)),
        ("blocks.model", np.zeros((2, 4))),
        ("blocks.world_from_block", np.zeros((3, 4, 3, 4))),
        ("blocks.world_from_block", np.zeros((3, 4, 16))),
        ("blocks.present", np.zeros((4, 4))),
        ("blocks.labelled", np.zeros((3, 3))),
        ("blocks.material.color", np.zeros((3, 4, 4))),
        ("surfaces.walls", np.zeros((3, 1))),
        ("lights.direction", np.zeros((3, 3))),
        ("lights.color", np.zeros((3, 3, 3))),
        ("lights.shadow", np.zeros((3, 1))),
        ("lights.present", np.zeros((3, 3))),
        ("lights.kind", np.zeros(3)),
        ("lights.size", np.zeros((3, 2, 1))),
        ("ambient.sky", np.zeros((3, 4))),
        ("ambient.ground", np.zeros(3)),
        ("ambient.occlusion", np.zeros((3, 1))),
        ("cameras.intrinsics", np.zeros((3, 3, 4))),
        ("cameras.distortion", np.zeros((3, 4))),
        ("cameras.world_from_camera", np.zeros((3, 3, 4))),
        ("sensor.white_balance", np.zeros((3, 1))),
        ("sensor.read_noise", np.zeros((3, 1))),
        ("sensor.read_noise", np.zeros(4)),
        ("sensor.motion", np.zeros((3, 2))),
        # between the parts: all have one batch axis, and a material's arrays one shape
        ("index+attempt+settled", np.zeros(2)),
        ("surfaces.walls", np.zeros(2)),
        ("blocks.material.cycles", np.zeros((3, 5))),
        ("blocks.material.color2", np.zeros((2, 4, 3))),
        ("blocks.material.roughness", np.zeros((3, 4, 1))),
        ("surfaces.material.metalness", np.zeros((3, 6))),
        ("ambient.intensity", np.zeros(2)),
        ("ambient", scenes_of(2).ambient),
        ("blocks.material", materials(np.random.default_rng(0), 3, 5)),
        ("surfaces.material", materials(np.random.default_rng(0), 2, 5)),
        ("sensor", scenes_of(2).sensor),
        ("cameras", scenes_of(2).cameras),
        ("lights", scenes_of(4).lights),
        ("blocks", scenes_of(2).blocks),
    ],
    ids=lambda value: value if isinstance(value, str) else str(getattr(value, "shape", type(value).__name__)),
)
def test_wrong_shapes_are_refused(part: str, change: Any) -> None:
    def changed(value: Any, path: list[str]) -> Any:
        name, *rest = path
        return replace(value, **{name: changed(getattr(value, name), rest) if rest else change})

    scenes = scenes_of(3)
    with pytest.raises(ValueError, match="expected"):
        if part == "index+attempt+settled":
            replace(scenes, index=change, attempt=change, settled=change)
        else:
            changed(scenes, part.split("."))


def test_arrays_get_their_declared_type() -> None:
    sensor = replace(scenes_of(2).sensor, jpeg_quality=[50.0, 90.0], exposure=[1, 2])
    assert sensor.jpeg_quality.dtype == np.int64
    assert sensor.jpeg_quality.tolist() == [50, 90]
    assert sensor.exposure.dtype == np.float64
    lights = replace(scenes_of(2).lights, present=[[0, 1], [1, 1]], kind=[[0.0, 2.0], [1.0, 1.0]])
    assert lights.present.dtype == np.bool_
    assert lights.kind.dtype == np.int64


def test_arrays_are_laid_out_in_the_order_of_their_axes() -> None:
    """However they came in: what is computed from them must not depend on that in its last bit."""
    scenes = scenes_of(3)
    poses = np.asfortranarray(scenes.blocks.world_from_block)
    blocks = replace(scenes.blocks, world_from_block=poses, labelled=np.broadcast_to(True, (3, 4)))
    for part in (blocks, take(blocks, [2, 0]), take(scenes, slice(None, None, -1)), from_json(to_json(scenes))):
        for path, value in arrays(part):
            assert not isinstance(value, np.ndarray) or value.flags.c_contiguous, path
    assert np.array_equal(blocks.world_from_block, poses)


# ---- cutting and joining


def test_take_and_concatenate_are_inverse() -> None:
    scenes = scenes_of(7)
    assert len(scenes) == 7
    assert_same_bits(concatenate([take(scenes, [i]) for i in range(7)]), scenes)
    assert_same_bits(concatenate([take(scenes, slice(0, 3)), take(scenes, slice(3, 7))]), scenes)
    assert_same_bits(concatenate([scenes]), scenes)
    parts = [scenes_of(2, seed=1), scenes_of(3, seed=2), scenes_of(1, seed=3)]
    joined = concatenate(parts)
    assert_same_bits(take(joined, [0, 1]), parts[0])
    assert_same_bits(take(joined, np.arange(6) >= 5), parts[2])
    assert_same_bits(take(joined, slice(2, 5)), parts[1])


def test_take_keeps_the_order_asked_for() -> None:
    scenes = scenes_of(5)
    rows = [3, 0, 3]
    for (path, a), (_, b) in zip(arrays(take(scenes, rows)), arrays(scenes), strict=True):
        assert np.array_equal(a, b[rows] if isinstance(b, np.ndarray) else b), path
    assert np.array_equal(take(scenes.cameras, [1]).intrinsics, scenes.cameras.intrinsics[[1]])


def test_pictures_of_different_sizes_cannot_be_joined() -> None:
    """One batch has one width and height: silently taking the first's would mislabel the others."""
    scenes = scenes_of(1)
    with pytest.raises(ValueError, match="width"):
        concatenate([scenes, replace(scenes, cameras=replace(scenes.cameras, width=320))])
