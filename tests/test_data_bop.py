"""data=bop for a keypoint model: what a rendered dataset's labels say equals what the renderer told the stream."""

import json
import shutil
from dataclasses import replace
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from builders import pipeline_of, recipe_of, tree
from streams import numbers
from test_keypoint_run import TINY, load
from test_tobin_run import assert_same

from simgen.config import compose
from simgen.dataset.read import BopDataset, open_dataset
from simgen.errors import ConfigError, DatasetError, SimgenError
from simgen.geometry import project
from simgen.render import make_renderer
from simgen.schema import Render
from simgen.workers import render
from train.blocks.kinds import BlockSet
from train.config import DataConfig, DoctorConfig, KeypointConfig, TrainConfig, check_train
from train.data.batch import Batch
from train.data.bop import BopBatches, common_size
from train.data.bop_labels import classes_of
from train.data.images import check_simulated
from train.data.sources import sources_of
from train.data.targets import targets_of
from train.fit.check import Trial, _errors_on, doctor
from train.fit.step import losses_of
from train.fit.training import KeypointTraining, new_net, train_keypoints
from train.nets.truth import detectable
from train.pose.view import View

COUNT = 12
RECIPE = (
    "renderer=raycast",
    "physics=place",  # as in the stream
    "width=128",
    "height=96",
    "seed=3",
    "image_format=png",
    "randomize.camera.distance=0.6",
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("rendered") / "d"
    render(compose("render", Render, [*RECIPE, f"num={COUNT}", "workers=1", f"out={out}"]))
    return out


@pytest.fixture(scope="module")
def dataset(root: Path) -> BopDataset:
    return open_dataset(root)


@pytest.fixture(scope="module")
def drawn() -> Batch:
    """The same samples as the renderer has them."""
    pipeline = pipeline_of(*RECIPE)
    scenes = pipeline.sampler.sample(3, range(COUNT))
    renderer = make_renderer("raycast", pipeline.world, pipeline.images, pipeline.source.raycast)
    targets = targets_of(scenes, renderer.render(scenes))
    images = np.stack([sample.rgb for sample in pipeline.samples(renderer, range(COUNT))])
    tables = torch.tensor([[-0.6, -0.4], [0.6, 0.4]]).expand(COUNT, 2, 2)  # scenes/tabletop.yaml: 1.2 by 0.8 m
    cut, jitter = numbers(COUNT, 6), torch.zeros(*targets.model.shape, 5)
    return Batch(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), targets, tables, cut, jitter)


def shots_of(dataset: BopDataset, **options: object) -> BopBatches:
    given = {"batch_size": COUNT, "shuffle": False, **options}
    return BopBatches(dataset, np.arange(COUNT), classes_of(dataset, "auto"), **given)  # type: ignore[arg-type]


def test_kinds_are_those_of_the_scene(dataset: BopDataset) -> None:
    found, scene = classes_of(dataset, "auto"), BlockSet.of_worlds([pipeline_of(*RECIPE).world.solids])
    assert found.blocks.names == scene.names
    assert dict(found.of_object) == {k + 1: k for k in range(len(scene))}
    for name in ("keypoints", "real", "group", "members", "frame"):
        torch.testing.assert_close(getattr(found.blocks, name), getattr(scene, name), rtol=0, atol=1e-6, msg=name)
    for kind, other in zip(found.blocks.kinds, scene.kinds, strict=True):
        assert len(kind.rests) == len(other.rests)
        # How tilted and how high, in any order: which of a round block's narrow facets lies down is chance.
        ours, theirs = (one.rests[:, 2, 2:].round(4).tolist() for one in (kind, other))
        np.testing.assert_allclose(sorted(ours), sorted(theirs), atol=2e-4)
        np.testing.assert_allclose(kind.size, other.size, atol=1e-6)


def test_labels_say_what_the_renderer_knew(dataset: BopDataset, drawn: Batch) -> None:
    batch, truth = shots_of(dataset)[0], drawn.targets
    assert torch.equal(batch.images, drawn.images)
    torch.testing.assert_close(batch.tables, drawn.tables, rtol=0, atol=1e-6)
    for name in ("intrinsics", "distortion", "camera_from_world"):
        torch.testing.assert_close(getattr(batch.targets, name), getattr(truth, name), rtol=0, atol=1e-5)
    found = batch.targets
    for row in range(COUNT):
        ours, theirs = found.labelled[row], truth.labelled[row] & truth.present[row]
        assert ours.sum() == theirs.sum() > 0
        for name, atol in (("model", 0), ("box", 0), ("seen", 0), ("scale", 1e-6), ("camera_from_block", 1e-6)):
            a, b = getattr(found, name)[row, ours], getattr(truth, name)[row, theirs]
            torch.testing.assert_close(a, b, rtol=0, atol=atol, equal_nan=True, msg=name)
        torch.testing.assert_close(found.share[row, ours], truth.share[row, theirs], rtol=0, atol=0.01)


def test_distractors_mean_what_they_mean_in_the_stream(dataset: BopDataset, drawn: Batch) -> None:
    """The depth image tells how much of each is visible: to a few pixels what the renderer knew."""
    found, truth = shots_of(dataset)[0].targets, drawn.targets
    assert (found.present & ~found.labelled & detectable(found)).sum() > 5
    assert torch.equal(detectable(found).sum(1), detectable(truth).sum(1))
    for row in range(COUNT):
        for slot in torch.nonzero(truth.present[row] & ~truth.labelled[row] & (truth.seen[row] > 0))[:, 0]:
            here = (found.camera_from_block[row] - truth.camera_from_block[row, slot]).abs().amax((1, 2)) < 1e-5
            assert here.sum() == 1 and found.model[row, here] == truth.model[row, slot]
            for name, atol in (("scale", 1e-6), ("seen", 3), ("share", 0.03), ("box", 1)):
                ours, theirs = getattr(found, name)[row, here][0], getattr(truth, name)[row, slot]
                torch.testing.assert_close(ours, theirs, rtol=0, atol=atol, msg=name)


def test_the_loss_is_that_of_the_stream(dataset: BopDataset, drawn: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    """With distractors and blocks that the border cuts, up to single pixels of them."""
    monkeypatch.setattr("train.fit.step.CUT", (128, 96))
    blocks = classes_of(dataset, "auto").blocks
    net = new_net(KeypointConfig(), blocks, sides=True)
    ours = shots_of(dataset)[0]
    # The same parts of the pictures; false positives, which depend on the heat, take their numbers from the slots' order.
    ours = replace(ours, cut=drawn.cut, jitter=torch.zeros_like(ours.jitter))
    with torch.no_grad():
        mine, theirs = (losses_of(net, one, blocks) for one in (ours, drawn))
    for name, value in vars(theirs.crops).items():
        torch.testing.assert_close(getattr(mine.crops, name), value, rtol=2e-3, atol=1e-4, msg=name)
    torch.testing.assert_close(mine.detection.heat, theirs.detection.heat, rtol=2e-2, atol=0)
    torch.testing.assert_close(mine.detection.window, theirs.detection.window, rtol=3e-2, atol=0)


def test_an_epoch_has_each_picture_once_in_an_order_of_its_own(dataset: BopDataset) -> None:
    def pictures(items: range, seed: int = 0) -> list[bytes]:
        source = shots_of(dataset, batch_size=4, shuffle=True, seed=seed)
        # Every second epoch is mirrored.
        images = [image.flip(2) if k // 3 % 2 else image for k in items for image in source[k].images]
        return [image.numpy().tobytes() for image in images]

    epochs = [pictures(range(3 * e, 3 * e + 3)) for e in range(3)]
    assert all(len(set(epoch)) == COUNT and set(epoch) == set(epochs[0]) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    assert pictures(range(4, 5)) == epochs[1][4:8]  # alone as in a row
    assert pictures(range(3), seed=1) != epochs[0]


def test_neither_cache_nor_jitter_moves_a_label(dataset: BopDataset) -> None:
    plain, cached, jittered = (
        shots_of(dataset, shuffle=True, **more)[1] for more in ({}, {"cache_gb": 1, "workers": 2}, {"strength": 0.3})
    )
    assert torch.equal(plain.images, cached.images) and not torch.equal(plain.images, jittered.images)
    for other in (cached, jittered):
        for name, value in vars(plain.targets).items():
            torch.testing.assert_close(getattr(other.targets, name), value, rtol=0, atol=0, equal_nan=True, msg=name)
    again = shots_of(dataset, shuffle=True, strength=0.3)
    assert torch.equal(again[1].images, jittered.images)
    assert not torch.equal(again[1 + 1].images, jittered.images)


def test_a_block_seen_too_little_is_not_asked_for(dataset: BopDataset) -> None:
    every = shots_of(dataset)[0].targets
    middle = float(every.share[detectable(every)].median()) - 1e-6
    found = shots_of(dataset, min_visible=middle)[0].targets
    assert torch.equal(detectable(found), detectable(every) & (every.share >= middle))
    assert 0 < detectable(found).sum() < detectable(every).sum()


def test_one_target_alone_is_one_class(dataset: BopDataset) -> None:
    classes = classes_of(dataset, "cone")
    assert classes.blocks.names == ["cone"]
    batch = BopBatches(dataset, np.arange(COUNT), classes, batch_size=COUNT, shuffle=False)[0]
    cone = next(number for number, model in dataset.models.items() if model.name == "cone")
    shown = [one.obj_id == cone for picture in dataset.pictures for one in picture.instances]
    assert (batch.targets.model[batch.targets.labelled] == 0).tolist() == shown
    with pytest.raises(ConfigError, match=r"^data\.target: got 'cub'; expected auto or one of cone, cube"):
        classes_of(dataset, "cub")


def copy_of(root: Path, to: Path) -> Path:
    """Without its manifest, so that what is changed in it is not noticed by that."""
    shutil.copytree(root, to)
    (to / "manifest.json").unlink()
    return to


def test_what_cannot_be_learnt_from_is_refused(root: Path, tmp_path: Path) -> None:
    mesh = copy_of(root, tmp_path / "mesh")
    info = json.loads((mesh / "models" / "models_info.json").read_text())
    info["2"]["size_z"] *= 1.5
    (mesh / "models" / "models_info.json").write_text(json.dumps(info))
    with pytest.raises(DatasetError, match=r"obj_000002\.ply: the mesh measures"):
        classes_of(open_dataset(mesh), "auto")

    gone = copy_of(root, tmp_path / "gone")
    (gone / "models" / "obj_000003.ply").unlink()
    with pytest.raises(SimgenError, match=r"obj_000003\.ply: missing"):
        classes_of(open_dataset(gone), "auto")


def ramps(width: int, height: int) -> np.ndarray:
    """A picture that is red to the right and green to the bottom: a pixel too far is 1.5 levels on average at 128 x 96."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[..., 0] = 255 * (np.arange(width) + 0.5) / width
    picture[..., 1] = 255 * (np.arange(height)[:, None] + 0.5) / height
    return picture


@pytest.mark.parametrize("pixels", [(256, 192), (64, 48), (127, 93), (96, 128)], ids=str)
def test_a_picture_of_another_size_is_scaled_with_its_camera(
    dataset: BopDataset, tmp_path: Path, pixels: tuple[int, int]
) -> None:
    """Blocks and keypoints lie on the same parts of the picture; nothing is cut off or stretched."""
    first = dataset.pictures[0]
    image = ramps(*pixels)
    cv2.imwrite(str(tmp_path / "0.png"), image[..., ::-1])
    across, down = pixels[0] / 128, pixels[1] / 96
    view = View(first.intrinsics, first.distortion).resized(across, down)
    boxes = [
        [u * across, v * down, w * across, h * down] for u, v, w, h in (one.box_visible for one in first.instances)
    ]
    instances = tuple(replace(one, box_visible=box) for one, box in zip(first.instances, boxes, strict=True))
    other = replace(first, path=tmp_path / "0.png", intrinsics=view.intrinsics, instances=instances)
    mixed = replace(dataset, pictures=(other, *dataset.pictures[1:]))
    assert common_size(mixed) == ((128, 96), 1)
    batch, plain = shots_of(mixed)[0], shots_of(dataset)[0]
    assert torch.equal(batch.images[1:], plain.images[1:]) and batch.images.shape == plain.images.shape
    ours, theirs = batch.targets, plain.targets
    ratio = min(128 / pixels[0], 96 / pixels[1]) if pixels != (127, 93) else 1
    change = torch.tensor([across * ratio, down * ratio])  # from the plain picture's pixels to the scaled one's
    count = len(instances)
    expected = (theirs.box[0, :count] + 0.5) * change.repeat(2) - 0.5
    torch.testing.assert_close(ours.box[0, :count], expected.float(), rtol=0, atol=0.7)
    points = torch.tensor([[-0.02, 0.01, 0.5], [0.05, -0.04, 0.7]]).double()
    seen = [project(points.numpy(), t.intrinsics[0].double().numpy()) for t in (ours, theirs)]
    np.testing.assert_allclose(seen[0], (seen[1] + 0.5) * change.numpy() - 0.5, atol=0.2)
    # What is padded is gray; the rest is the picture.
    width, height = round(128 * float(change[0])), round(96 * float(change[1]))
    assert (batch.images[0, :, height:] == 127).all() and (batch.images[0, :, :, width:] == 127).all()
    shown = batch.images[0, :, :height, :width].permute(1, 2, 0).numpy().astype(float)
    assert np.abs(shown - ramps(width, height)).mean() < 0.5


def test_a_dataset_of_data_version_7_has_the_same_targets(root: Path, dataset: BopDataset, tmp_path: Path) -> None:
    """Its recipes lack what later versions added; distractors are read from them."""
    old = tmp_path / "old"
    shutil.copytree(root, old)
    (old / "manifest.json").unlink()  # it has the hashes of the files
    for path in old.glob("train/*/sample/*.json"):
        record = json.loads(path.read_text())
        recipe = record["recipe"]
        del recipe["clutter"], recipe["settled"], recipe["ambient"]["direction"], recipe["ambient"]["reflection"]
        for part in ("blocks", "surfaces"):
            for name in ("crop", "sides", "edge", "wear", "grime"):
                del recipe[part]["material"][name]
        path.write_text(json.dumps(record))
    ours, theirs = shots_of(open_dataset(old, table=True))[0].targets, shots_of(dataset)[0].targets
    for name, value in vars(theirs).items():
        torch.testing.assert_close(getattr(ours, name), value, rtol=0, atol=0, equal_nan=True, msg=name)


def test_photographs_and_test_splits_are_not_learnt_from(dataset: BopDataset, root: Path, tmp_path: Path) -> None:
    check_simulated(dataset)
    worn = dict(
        dataset.manifest, recipe=recipe_of(pipeline_of(*RECIPE, "randomize.wall.texture=[choice,flat,photograph]"))
    )
    assert worn["recipe"]["photographs"] and not dataset.manifest["recipe"]["photographs"]
    with pytest.raises(ConfigError, match=r"^data\.root: .* was rendered with texture=photograph .*randomize=full$"):
        check_simulated(replace(dataset, manifest=worn))
    with pytest.raises(ConfigError, match=r"^data\.root: .* holds photographs \(github"):
        check_simulated(replace(dataset, manifest={"source": "github.com/someone/photographs"}))
    with pytest.raises(ConfigError, match=r"^data\.split: got 'test_primesense'"):
        check_simulated(replace(dataset, split="test_primesense"))
    test = copy_of(root, tmp_path / "d")
    (test / "train").rename(test / "test")
    for model in ("keypoints", "tobin_small"):
        config = compose("train", TrainConfig, [f"model={model}", f"data.root={test}", f"out={tmp_path / 'run'}"])
        with pytest.raises(ConfigError, match=r"^data\.split"):
            run(config)
    assert not (tmp_path / "run").exists()


def test_sides_are_classes_where_the_table_is_known(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sources_of(config_of(root, tmp_path / "run")).sides
    blind = copy_of(root, tmp_path / "d")  # without a manifest it is unknown whether the world's z = 0 is the table
    assert not sources_of(config_of(blind, tmp_path / "run")).sides
    assert sources_of(config_of(blind, tmp_path / "run", "data.table=true")).sides
    (cameras,) = blind.rglob("scene_camera.json")
    known = json.loads(cameras.read_text())
    for camera in known.values():
        del camera["cam_R_w2c"], camera["cam_t_w2c"]
    cameras.write_text(json.dumps(known))
    unknown = sources_of(config_of(blind, tmp_path / "run"))
    assert not unknown.sides and unknown.training[0].targets.camera_from_world.isnan().all()
    # Its doctor passes the first check: the layers of the table's plane, whose input is 0, are left out.
    monkeypatch.setattr("train.fit.step.CUT", (96, 72))
    monkeypatch.setattr("train.fit.check._overfit", ends)
    with pytest.raises(InterruptedError):
        doctor(doctor_config(blind, tmp_path))
    assert capsys.readouterr().out.startswith("check 1 of 4, one step: pass: loss ")
    # And the last one: the errors are in space.
    monkeypatch.undo()
    trial = Trial.of(doctor_config(blind, tmp_path), unknown.blocks, sides=False)
    errors, baseline = _errors_on(trial, unknown.held_out[0], unknown.per_scene, tmp_path / "detections.png")
    truth = unknown.held_out[0].targets
    shown = detectable(truth) & truth.labelled
    assert len(errors) == shown.sum() > 0
    centers = truth.camera_from_block[shown][:, :3, 3].double()
    assert baseline == pytest.approx(100 * float((centers - centers.mean(0)).norm(dim=1).mean()), rel=1e-4)


def ends(*_: object) -> None:
    raise InterruptedError


def doctor_config(root: Path, out: Path) -> DoctorConfig:
    keys = [f"data.root={root}", "data=bop", "data.validation=0.3", "batch_size=2", "steps=20", f"out={out}"]
    return compose("doctor", DoctorConfig, [*keys, "accelerator=cpu"])


def run(config: TrainConfig) -> None:
    from train.__main__ import _train

    _train(config)


def config_of(root: Path, out: Path, *overrides: str) -> TrainConfig:
    kept = [item for item in TINY if not item.startswith(("data", "randomize"))]
    more = [
        "trainer.epochs=2",
        "trainer.batch_size=4",
        f"data.root={root}",
        "data.validation=0.3",
        f"out={out}",
        *overrides,
    ]
    config = compose("train", TrainConfig, [*kept, *more])
    check_train(config)
    return config


def test_a_run_on_a_dataset_resumes_and_ends_in_a_detector(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.fit.step.CUT", (64, 48))
    monkeypatch.setattr("train.detect.detector.PIXELS", 64 * 48)
    straight = config_of(root, tmp_path / "straight")
    sources = sources_of(straight)
    assert isinstance(straight.data, DataConfig) and sources.epoch == 2
    assert [list(part) for part in (sources.choose, sources.learn, sources.check)] == [[0], [1], [2]]
    train_keypoints(straight)
    said = json.loads((tmp_path / "straight" / "config.json").read_text())
    assert said["dataset"]["pictures"] == COUNT and len(said["dataset"]["manifest_sha256"]) == 64

    original = KeypointTraining.on_train_batch_end

    def dies(self: KeypointTraining, *arguments: object) -> None:
        original(self, *arguments)
        if self.global_step == 3:
            raise MemoryError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(KeypointTraining, "on_train_batch_end", dies)
        with pytest.raises(MemoryError):
            train_keypoints(config_of(root, tmp_path / "killed"))
    train_keypoints(config_of(root, tmp_path / "killed", "data.cache_gb=0", "data.workers=0"))
    a, b = (load(tmp_path / name / "last.ckpt") for name in ("straight", "killed"))
    assert_same(a["state_dict"], b["state_dict"])
    assert tree(tmp_path / "straight", ["config.json"]).keys() >= {"best.ckpt", "metrics.json"}
    with pytest.raises(DatasetError, match="held out"):
        sources_of(config_of(root, tmp_path / "few", "data.validation=0.1"))


def test_several_processes_have_own_pictures_to_choose_by(root: Path, tmp_path: Path) -> None:
    two = ["trainer.devices=2", "trainer.batch_size=2"]
    sources = sources_of(config_of(root, tmp_path / "run", *two, "data.validation=0.5"))
    chosen = [list(sources.chosen(rank, 2)) for rank in (0, 1)]
    assert sorted(chain.from_iterable(chosen)) == list(sources.choose) and all(chosen)
    with pytest.raises(DatasetError, match=r"3 held out; expected at least 4, for one step, and 6: "):
        sources_of(config_of(root, tmp_path / "few", *two, "data.validation=0.25"))


def test_pictures_without_a_table_among_others_are_told(root: Path, tmp_path: Path) -> None:
    """With one of them the model learns no sides, and to use no table."""
    assert "table's pose" not in sources_of(config_of(root, tmp_path / "run")).summary
    some = tmp_path / "some"
    shutil.copytree(root, some)
    (path,) = some.glob("train/*/scene_camera.json")
    cameras = json.loads(path.read_text())
    for key in ("cam_R_w2c", "cam_t_w2c"):
        del cameras[min(cameras)][key]
    path.write_text(json.dumps(cameras))
    (some / "manifest.json").unlink()
    sources = sources_of(config_of(some, tmp_path / "run", "data.table=true"))
    assert (
        "; 1 without the table's pose, so that the model learns to use no table" in sources.summary
        and not sources.sides
    )


def test_pictures_stay_in_memory_if_all_of_them_fit(root: Path, tmp_path: Path) -> None:
    """Those of the training and those that are held out, together."""
    batches = shots_of(open_dataset(root))
    size = COUNT * batches.width * batches.height * 3 / 1e9
    for part, kept in ((1.001, True), (0.999, False), (0, False)):
        sources = sources_of(config_of(root, tmp_path / "run", f"data.cache_gb={part * size}"))
        assert isinstance(sources.training, BopBatches) and isinstance(sources.held_out, BopBatches)
        assert sources.training.cached == sources.held_out.cached == kept
        assert ("more than data.cache_gb, and are decoded in each epoch" in sources.summary) == (0 < part < 1)


def test_the_doctor_checks_a_dataset(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its batch is the training's own first one; 8 steps are too few to overfit it."""
    monkeypatch.setattr("train.fit.step.CUT", (96, 72))
    with pytest.raises(SimgenError, match="check 2 of 4, overfit one batch: fail: after 8 steps on one batch"):
        doctor(replace(doctor_config(root, tmp_path), steps=8))
    printed = capsys.readouterr().out
    assert printed.startswith("check 1 of 4, one step: pass: loss ") and "one held-out picture is too few" in printed
    assert (tmp_path / "batch.png").read_bytes().startswith(b"\x89PNG")
