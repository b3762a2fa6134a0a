"""Datasets in shards: equal to the dataset in folders, for our reader, for webdataset's, and for training."""

import json
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import fsspec
import numpy as np
import PIL.Image
import pytest
import torch
import webdataset
from builders import tree
from pycocotools import mask as coco

from simgen.config import compose
from simgen.dataset import shardindex
from simgen.dataset.read import BopDataset, open_dataset, read_depth, read_recipe, read_rgb
from simgen.dataset.scenes import Picture
from simgen.dataset.shardindex import key_of
from simgen.dataset.shards import KEYPOINTS, MASK, MASK_VISIBLE, open_shards
from simgen.errors import ConfigError, DatasetError
from simgen.formats import shards as formats
from simgen.formats.shards import _source_of, write_shards
from simgen.pictures import decode_picture, read_picture
from simgen.schema import Render
from simgen.workers import render
from train.config import DatasetConfig, TrainConfig
from train.data.batch import Batch, Items, batches
from train.data.dataset import open_source
from train.data.sources import Sources, sources_of

COUNT, TOGETHER = 11, 4  # samples, and samples in a shard


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("rendered") / "set"
    small = ["width=64", "height=48", "physics=place", "workers=1", "seed=5", "randomize=distractors"]
    blocks = ["count=3", "slots=3", "place=[uniform,[-0.2,-0.2],[0.2,0.2]]", "yaw_deg=[uniform,0,360]"]
    varied = [f"randomize.blocks.{one}" for one in blocks]
    render(compose("render", Render, [*small, *varied, f"num={COUNT}", f"out={out}"]))
    return out


@pytest.fixture(scope="module")
def dataset(root: Path) -> BopDataset:
    return open_dataset(root)


@pytest.fixture(scope="module")
def out(dataset: BopDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written") / "shards"
    write_shards(dataset, str(folder), TOGETHER)
    return folder


@pytest.fixture
def remote() -> Iterator[str]:
    yield "memory://bucket/shards"
    system = fsspec.filesystem("memory")
    if system.exists("/bucket"):
        system.rm("/bucket", recursive=True)


def plain(value: Any) -> Any:
    """A picture or instance as values that `==` compares."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, tuple):
        return [plain(one) for one in value]
    return {k: plain(v) for k, v in vars(value).items() if k != "path"} if hasattr(value, "__dict__") else value


def of_scene(picture: Picture, name: str) -> Any:
    return json.loads((picture.path.parent.parent / f"scene_{name}.json").read_text())[str(picture.image_id)]


def test_samples_are_those_of_the_folder(dataset: BopDataset, out: Path) -> None:
    found = open_shards(str(out))
    assert len(found) == COUNT and [shard.samples for shard in found.index.shards] == [4, 4, 3]
    found.verify()
    order = [7, 0, 10, 3, 7]
    for samples, pictures in (
        (list(found), dataset.pictures),
        (found.read(order), [dataset.pictures[k] for k in order]),
    ):
        for sample, picture in zip(samples, pictures, strict=True):
            labels = sample.picture(found.reader)
            assert plain(labels) == plain(picture) and labels.instances
            np.testing.assert_array_equal(sample.rgb(), read_rgb(picture.path))
            np.testing.assert_array_equal(sample.depth(labels.depth_scale), read_depth(picture))
            assert sample.recipe() == read_recipe(picture)
            assert sample.json(KEYPOINTS) == of_scene(picture, "keypoints")
            for name in (MASK, MASK_VISIBLE):
                folder = picture.path.parent.parent / name.removesuffix(".json")
                stored = [
                    cv2.imread(str(folder / f"{picture.path.stem}_{k:06d}.png"), 0) > 0
                    for k in range(len(labels.instances))
                ]
                np.testing.assert_array_equal(sample.masks(name), stored)
    header = found.dataset
    assert header.split == dataset.split and header.manifest["recipe"] == dataset.manifest["recipe"]
    assert plain(header.table_size) == plain(dataset.table_size)
    assert {k: plain(replace(one, mesh=Path())) for k, one in header.models.items()} == {
        k: plain(replace(one, mesh=Path())) for k, one in dataset.models.items()
    }


def test_webdataset_reads_the_source(dataset: BopDataset, out: Path) -> None:
    """Its official reader, and COCO's for the run lengths of the masks."""
    paths = sorted(str(path) for path in out.glob("shard-*.tar"))
    samples = list(webdataset.WebDataset(paths, shardshuffle=False).decode())
    assert [sample["__key__"] for sample in samples] == [key_of(one.scene_id, one.image_id) for one in dataset.pictures]
    for sample, picture in zip(samples, dataset.pictures, strict=True):
        for name in ("camera", "gt", "gt_info"):
            assert sample[f"{name}.json"] == of_scene(picture, name)
        folder = picture.path.parent.parent
        for number, runs in sample["mask_visib.json"].items():
            stored = cv2.imread(str(folder / "mask_visib" / f"{picture.path.stem}_{int(number):06d}.png"), 0) > 0
            np.testing.assert_array_equal(coco.decode(coco.frPyObjects(runs, *runs["size"])), stored)
    raw = list(webdataset.WebDataset(paths, shardshuffle=False))
    assert [sample["rgb.jpg"] for sample in raw] == [one.path.read_bytes() for one in dataset.pictures]
    keys = json.loads((out / "key_to_shard.json").read_text())
    assert keys == {key_of(one.scene_id, one.image_id): k // TOGETHER for k, one in enumerate(dataset.pictures)}


def test_the_bytes_depend_on_the_dataset_alone(dataset: BopDataset, out: Path, remote: str) -> None:
    write_shards(dataset, remote, TOGETHER)
    system = fsspec.filesystem("memory")
    there = {name.removeprefix("/bucket/shards/"): system.cat_file(name) for name in system.find("/bucket/shards")}
    assert there == tree(out)
    with tarfile.open(out / "shard-000000.tar") as tar:
        members = tar.getmembers()
    assert {(one.mtime, one.uid, one.gid, one.uname, one.gname, one.mode, one.type) for one in members} == {
        (0, 0, 0, "", "", 0o644, tarfile.REGTYPE)
    }
    assert [one.name for one in members] == sorted(one.name for one in members)
    # And it is read from there like from the folder, also by range.
    found = open_shards(remote)
    assert [sample.members for sample in found.read([9, 2])] == [
        sample.members for sample in open_shards(str(out)).read([9, 2])
    ]
    assert [sample.key for sample in found] == [sample.key for sample in open_shards(str(out))]


@pytest.mark.parametrize("where", ["folder", "remote"])
def test_an_interrupted_run_is_continued(
    where: str, dataset: BopDataset, out: Path, remote: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = remote if where == "remote" else str(tmp_path / "d")
    members, made = formats._Scenes.members, []

    def killed(self: Any, picture: Picture) -> dict[str, bytes]:
        if picture.image_id == 6:
            raise KeyboardInterrupt
        made.append(picture.image_id)
        return members(self, picture)

    monkeypatch.setattr(formats._Scenes, "members", killed)
    with pytest.raises(KeyboardInterrupt):
        write_shards(dataset, target, TOGETHER)
    with pytest.raises(DatasetError, match=r"index\.json: missing; .*unfinished"):
        open_shards(target)
    with pytest.raises(ConfigError, match=r"^out: .* holds unfinished shards of another dataset"):
        write_shards(dataset, target, 3)
    monkeypatch.undo()
    monkeypatch.setattr(formats._Scenes, "members", lambda *given: made.append(given[1].image_id) or members(*given))
    write_shards(dataset, target, TOGETHER)
    assert made == [0, 1, 2, 3, 4, 5, *range(4, COUNT)]  # the finished shard is kept
    assert [shard.sha256 for shard in open_shards(target).index.shards] == [
        shard.sha256 for shard in open_shards(str(out)).index.shards
    ]
    if where == "folder":
        assert tree(tmp_path / "d") == tree(out)
    with pytest.raises(ConfigError, match=r"^out: .* holds complete shards already"):
        write_shards(dataset, target, TOGETHER)


def test_what_is_not_whole_is_not_written(dataset: BopDataset, root: Path, tmp_path: Path) -> None:
    """Where the manifest states hashes, by these; else by decoding. Nothing is left that could be read."""
    shutil.copytree(root, tmp_path / "set")
    depth = tmp_path / "set/train/000000/depth/000005.png"
    depth.write_bytes(depth.read_bytes()[:-40])
    changed = replace(dataset, root=tmp_path / "set", pictures=open_dataset_unchecked(tmp_path / "set"))
    with pytest.raises(DatasetError, match=r"depth/000005\.png: truncated or changed since manifest\.json"):
        write_shards(changed, str(tmp_path / "a"))
    with pytest.raises(DatasetError, match=r"depth/000005\.png: truncated"):
        write_shards(replace(changed, manifest={}), str(tmp_path / "b"))
    for name in "ab":
        assert [path.name for path in (tmp_path / name).iterdir()] == ["unfinished.json"]


def open_dataset_unchecked(root: Path) -> tuple[Picture, ...]:
    (root / "manifest.json").rename(root / "manifest.json.bak")
    return open_dataset(root).pictures


def test_nothing_of_the_users_is_overwritten(dataset: BopDataset, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"^out: .* is not empty"):
        write_shards(dataset, str(tmp_path))
    with pytest.raises(ConfigError, match=r"^samples_per_shard: got 0"):
        write_shards(dataset, str(tmp_path / "d"), 0)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_dataset_of_another_tool(dataset: BopDataset, root: Path, tmp_path: Path) -> None:
    """Without boxes, masks, depth and manifest, with pictures that are not JPEG or PNG, and with an unknown object."""
    scene = tmp_path / "d" / "train" / "000000"
    (scene / "rgb").mkdir(parents=True)
    (tmp_path / "d" / "models").symlink_to(root / "models")
    cameras, truths = {}, {}
    for k, picture in enumerate(dataset.pictures[:2]):
        PIL.Image.fromarray(read_rgb(picture.path)).save(scene / "rgb" / f"{k}.bmp")
        cameras[k], truths[k] = of_scene(picture, "camera"), of_scene(picture, "gt")
        truths[k].insert(0, {**truths[k][0], "obj_id": 99})
    (scene / "scene_camera.json").write_text(json.dumps(cameras))
    (scene / "scene_gt.json").write_text(json.dumps(truths))
    foreign = open_dataset(tmp_path / "d")
    with pytest.raises(DatasetError, match=r"models_info\.json: is a link out of the dataset"):
        write_shards(foreign, str(tmp_path / "linked"))
    (tmp_path / "d" / "models").unlink()
    (tmp_path / "d" / "models").mkdir()
    for path in (root / "models").iterdir():
        (tmp_path / "d" / "models" / path.name).write_bytes(path.read_bytes())
    foreign = open_dataset(tmp_path / "d")
    write_shards(foreign, str(tmp_path / "out"))
    found = open_shards(str(tmp_path / "out"))
    for sample, picture in zip(found, foreign.pictures, strict=True):
        numbered = [replace(one, number=k) for k, one in enumerate(picture.instances)]  # those that were kept
        assert plain(sample.picture(found.reader)) == plain(replace(picture, instances=tuple(numbered)))
        np.testing.assert_array_equal(sample.rgb(), read_rgb(picture.path))
        assert sample.depth(1.0) is None and sample.masks() is None and sample.recipe() is None
    assert found.dataset.table_size is None and not found.table


def test_depth_in_a_tiff_is_kept_and_textures_by_their_name(dataset: BopDataset, root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "d")
    (tmp_path / "d" / "manifest.json").unlink()
    scene, picture = tmp_path / "d" / "train" / "000000", dataset.pictures[0]
    png = scene / "depth" / f"{picture.path.stem}.png"
    depth = cv2.imread(str(png), cv2.IMREAD_UNCHANGED)
    cv2.imwrite(str(png.with_suffix(".tif")), depth)
    png.unlink()
    mesh = next((tmp_path / "d" / "models").glob("*.ply"))
    name = "Späne (1).png"
    mesh.write_bytes(mesh.read_bytes().replace(b"end_header", f"comment TextureFile {name}\nend_header".encode(), 1))
    (mesh.parent / name).write_bytes(b"wood")
    write_shards(open_dataset(tmp_path / "d"), str(tmp_path / "out"))
    found = open_shards(str(tmp_path / "out"))
    np.testing.assert_array_equal(next(iter(found)).depth(picture.depth_scale), read_depth(picture))
    assert (tmp_path / "out" / "models" / name).read_bytes() == b"wood"
    for outside in ("models/../x.png", "models/a/b.png", "models/.x", "models/a\\b", "models/a\nb", "models/"):
        with pytest.raises(DatasetError, match="is no name of a file below models/"):
            shardindex._file(outside, {"bytes": 1, "sha256": "0" * 64}, "index.json")
    cv2.imwrite(str(png.with_suffix(".tif")), depth.astype(np.float32))
    with pytest.raises(DatasetError, match=rf"{png.stem}\.tif: shards hold depth of one channel and 16 bits"):
        write_shards(open_dataset(tmp_path / "d"), str(tmp_path / "float"))


@pytest.mark.parametrize(
    "name", ["models/models_info.json", "models/obj_000001.ply", "train/000000/mask_visib/new.png"]
)
def test_shards_of_a_dataset_that_has_changed_are_not_continued(name: str, root: Path, tmp_path: Path) -> None:
    """Without a manifest, which would state it: the first shards would be of the old labels."""
    shutil.copytree(root, tmp_path / "d")
    (tmp_path / "d" / "manifest.json").unlink()
    before = _source_of(open_dataset(tmp_path / "d"))
    assert before == _source_of(open_dataset(tmp_path / "d"))
    path = tmp_path / "d" / name
    path.write_bytes((path.read_bytes() if path.exists() else b"") + b"\n")
    assert _source_of(open_dataset(tmp_path / "d")) != before


def test_a_jpeg_is_decoded_as_everywhere(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (37, 51, 3)).astype(np.uint8)
    image = PIL.Image.fromarray(cv2.GaussianBlur(noise, (5, 5), 2))
    turned = PIL.Image.Exif()
    turned[0x0112] = 6
    cases: list[tuple[str, dict[str, Any]]] = [("RGB", {"subsampling": k, "quality": 70}) for k in (0, 1, 2)]
    cases += [
        ("RGB", {"progressive": True}),
        ("RGB", {"exif": turned}),
        ("L", {}),
        ("CMYK", {}),
        ("RGB", {"comment": b"x"}),
    ]
    for mode, options in cases:
        path = tmp_path / "a.jpg"
        image.convert(mode).save(path, **options)
        np.testing.assert_array_equal(decode_picture(path.read_bytes(), path), read_picture(path))
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(decode_picture((tmp_path / "a.png").read_bytes(), path), np.asarray(image))


# ---- training


@pytest.fixture(scope="module")
def config() -> TrainConfig:
    keys = [
        "data=bop",
        "data.root=unused",
        "out=unused",
        "trainer.batch_size=2",
        "data.validation=0.25",
        "data.cache_gb=0",
    ]
    return compose("train", TrainConfig, keys)


def sources(config: TrainConfig, root: Path | str, **data: Any) -> Sources:
    return sources_of(replace(config, data=replace(config.data, root=str(root), **data)))


def assert_same(ours: Batch, theirs: Batch) -> None:
    for name in ("images", "tables", "cut", "jitter"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), rtol=0, atol=0, equal_nan=True, msg=name)
    for name, value in vars(theirs.targets).items():
        torch.testing.assert_close(getattr(ours.targets, name), value, rtol=0, atol=0, equal_nan=True, msg=name)


def test_training_sees_the_batches_of_the_folder(
    config: TrainConfig, root: Path, out: Path, dataset: BopDataset, remote: str
) -> None:
    write_shards(dataset, remote, 3)
    plain = sources(config, root)
    cached = sources(config, out, cache_gb=1.0)
    for shards in (sources(config, out), cached, sources(config, remote)):
        assert (shards.epoch, shards.each, shards.sides) == (plain.epoch, plain.each, True)
        assert shards.blocks.names == plain.blocks.names and shards.summary == plain.summary
        for item in (0, 1, plain.epoch + 1):
            assert_same(shards.training[item], plain.training[item])
        assert_same(shards.held_out[1], plain.held_out[1])
    assert cached.workers == 0 != plain.workers
    assert not sources(config, out, table=False).sides


def test_two_ranks_of_two_workers_see_each_sample_once(config: TrainConfig, out: Path) -> None:
    """And a run that continues at any position of an epoch sees what is left of it."""
    made = sources(config, out)
    source, length = made.training, made.epoch // 2

    def seen(items: Items, workers: int = 0) -> list[bytes]:
        return [image.numpy().tobytes() for batch in batches(source, items, workers=workers) for image in batch.images]

    ranks = [seen(Items(length, rank, 2), 2) for rank in range(2)]
    together = [image for rank in ranks for image in rank]
    assert len(set(together)) == len(together) == 2 * 2 * length
    assert set(together) == set(seen(Items(made.epoch))[: len(together)])
    rest = Items(length, 1, 2)
    for done in range(length):
        rest.start_at(0, done)
        assert seen(rest) == ranks[1][2 * done :]
        assert len(rest) == length  # of the whole epoch
    whole = Items(length, 1, 2)
    for epoch in (0, 1):  # Lightning sets the epoch again before the first step
        rest.set_epoch(epoch)
        whole.set_epoch(epoch)
        assert seen(rest) == seen(whole)[0 if epoch else 2 * (length - 1) :]


def test_keys_that_shards_do_not_have_are_refused(config: TrainConfig, out: Path) -> None:
    for changes, message in (
        ({"split": "test"}, r"^data\.split: got 'test'; .* holds the split train alone"),
        ({"targets": "test_targets_bop19.json"}, r"^data\.targets: "),
    ):
        with pytest.raises(ConfigError, match=message):
            sources(config, out, **changes)
    with pytest.raises(ConfigError, match=r"^data\.root: .* is a dataset in shards"):
        open_source(DatasetConfig(root=str(out)))
