"""Detections with known errors are matched to the right blocks and measured, also by factor."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from streams import batch_of

from simgen.catalogue import load_world
from simgen.config import compose
from simgen.dataset.read import BopDataset, open_dataset, read_recipe
from simgen.dataset.scenes import Instance
from simgen.errors import DatasetError
from simgen.geometry import Array, rigid, rotation_about
from simgen.scene import TEXTURES
from simgen.schema import Render
from simgen.workers import render
from train.blocks.kinds import BlockSet, Kind
from train.data.batch import pictures_of, views_of
from train.detect.types import Detection
from train.draw.sheets import GREEN, RED, TILE, Image
from train.evaluate.factors import by_factor, draw_factors, factor_lines, factors_of, wilson
from train.evaluate.matching import MATCH_LIMIT, BlockResult, FalsePositive, match_dataset
from train.evaluate.report import asked_for, lines, measures, missed_by_cause
from train.evaluate.worst import draw_overlays, draw_worst_cases
from train.fit.pictures import _cases, _truths, held_out_sheets
from train.pose.view import Pose, View
from train.runs.tensorboard import PREDICTIONS, WORST

BLOCKS = BlockSet.of_worlds([load_world("tabletop").solids])


@dataclass
class Given:
    """A detector that returns given detections, picture after picture."""

    detections: list[list[Detection]]
    blocks: BlockSet = field(default_factory=lambda: BLOCKS)
    views: list[View] = field(default_factory=list)

    def find(self, pictures: Sequence[object], views: Sequence[View]) -> list[list[Detection]]:
        self.views += views
        first, self.detections = self.detections[: len(pictures)], self.detections[len(pictures) :]
        return first


def detection(kind: Kind, pose: Array, confidence: float, score: float | None = None) -> Detection:
    one, count = Pose(pose, np.eye(6), 1.0), len(kind.keypoints)
    score = confidence if score is None else score
    return Detection(kind, score, confidence, np.ones(4), 0.0, np.zeros((count, 2)), np.ones(count), one, True)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> BopDataset:
    out = tmp_path_factory.mktemp("data") / "some"
    options = ["renderer=raycast", "num=12", "seed=3", "workers=1", "width=160", "height=120", f"out={out}"]
    render(compose("render", Render, options))
    return open_dataset(out)


def kind_of(dataset: BopDataset, one: Instance) -> Kind:
    return BLOCKS.kinds[BLOCKS.names.index(dataset.models[one.obj_id].name)]


def beside(pose: Array, meters: float) -> Array:
    moved = pose.copy()
    moved[0, 3] += meters
    return moved


def matched(dataset: BopDataset, detections: list[list[Detection]]) -> tuple[list[BlockResult], list[FalsePositive]]:
    every = list(match_dataset(Given(detections), dataset, 5))  # type: ignore[arg-type]
    return [one for one in every if isinstance(one, BlockResult)], [
        one for one in every if isinstance(one, FalsePositive)
    ]


def test_the_truth_is_right_everywhere(dataset: BopDataset) -> None:
    detections = [
        [detection(kind_of(dataset, one), one.camera_from_block, 0.9) for one in picture.instances]
        for picture in dataset.pictures
    ]
    results, false_positives = matched(dataset, detections)
    assert len(results) == sum(len(picture.instances) for picture in dataset.pictures) > 20
    assert not false_positives
    for result in results:
        assert result.right
        assert max(result.adds, result.rotation, result.translation, result.xy) < 1e-6
        assert result.mspd < 1e-4


@pytest.mark.parametrize("score", [0.9, 0.3])
def test_a_more_confident_detection_elsewhere_is_a_false_positive_but_may_be_the_predicted_place(
    dataset: BopDataset, score: float
) -> None:
    """As of a distractor of the same kind. The predicted place is that of the best score, not of the best confidence."""
    detections = []
    for picture in dataset.pictures:
        row = []
        for one in picture.instances:
            kind = kind_of(dataset, one)
            row += [
                detection(kind, one.camera_from_block, 0.6),
                detection(kind, beside(one.camera_from_block, 5 * kind.diameter), 0.8, score),
            ]
        detections.append(row)
    results, false_positives = matched(dataset, detections)
    assert all(result.right for result in results)
    assert len(false_positives) == len(results)
    assert all(false_positive.detection.confidence == 0.8 for false_positive in false_positives)
    alone = [a for a in results if sum(o.obj_id == a.truth.obj_id for o in a.picture.instances) == 1]
    assert alone
    for result in alone:
        assert result.xy > 0.5 * result.kind.diameter if score > 0.6 else result.xy < 1e-6


def test_the_predicted_place_of_a_missed_block_is_the_tables_center(dataset: BopDataset) -> None:
    results, false_positives = matched(dataset, [[] for _ in dataset.pictures])
    assert not false_positives
    for result in results:
        assert not result.right and result.detection is None and result.adds == np.inf
        assert result.predicted is dataset.table_center and result.xy > 0


def test_a_symmetric_pose_is_no_error_and_another_rotation_is(dataset: BopDataset) -> None:
    """For all kinds, including those whose symmetries move the origin, as a triangular prism's and a tetrahedron's."""
    moves = set()
    for number in range(24):
        detections = []
        for picture in dataset.pictures:
            row = []
            for one in picture.instances:
                kind = kind_of(dataset, one)
                symmetric_pose = kind.symmetries[number % len(kind.symmetries)]
                row.append(detection(kind, one.camera_from_block @ symmetric_pose, 0.9))
                if np.linalg.norm(symmetric_pose[:3, 3]) > 0.01:
                    moves.add(kind.name)
            detections.append(row)
        for result in matched(dataset, detections)[0]:
            assert result.right
            assert max(result.adds, result.rotation, result.translation, result.xy) < 1e-6
            assert max(result.mspd, result.reprojection) < 1e-4
    assert moves
    turn = rigid(rotation_about(2, np.radians(30)), np.zeros(3))
    detections = [
        [detection(kind_of(dataset, one), one.camera_from_block @ turn, 0.9) for one in p.instances]
        for p in dataset.pictures
    ]
    cubes = [a for a in matched(dataset, detections)[0] if a.kind.name == "cube"]
    assert cubes and [a.rotation for a in cubes] == pytest.approx([np.pi / 6] * len(cubes))


def made(dataset: BopDataset, number: int, fraction: float, miss: float) -> BlockResult:
    """A result for the first block of a picture, as a cube, with visible `fraction` and an error of `miss` diameters."""
    picture = dataset.pictures[number % len(dataset.pictures)]
    kind = BLOCKS.kinds[BLOCKS.names.index("cube")]
    truth = replace(picture.instances[0], visible_fraction=fraction)
    picture = replace(picture, instances=(truth, *picture.instances[1:]))
    one = detection(kind, truth.camera_from_block, 0.5)
    view = View(picture.intrinsics, picture.distortion, picture.camera_from_world)
    return BlockResult(
        picture, view, kind, truth, one, miss * kind.diameter, 0.0, 0.0, 0.0, 0.0, np.zeros(2), np.zeros(2)
    )


def test_the_factor_that_explains_the_errors_comes_first(dataset: BopDataset) -> None:
    rng = np.random.default_rng(0)
    results = [
        made(dataset, k, fraction, 0.02 + 0.6 * (1 - fraction) ** 2)
        for k, fraction in enumerate(rng.uniform(0.1, 1, 240))
    ]
    rows = by_factor(results)
    names = [row["factor"] for row in rows]
    assert names[0] == "occluded fraction"
    assert rows[0]["explained"] > 0.8
    assert {"texture", "lights", "distance (m)", "distance from the image center", "fraction of ambient light"} <= set(
        names
    )
    assert "kind" not in names  # all are cubes
    assert all(row["explained"] < 0.2 for row in rows[1:])  # chance
    groups = rows[0]["groups"]
    assert [group["blocks"] for group in groups] == [60] * 4
    assert [group["right"] for group in groups] == sorted((group["right"] for group in groups), reverse=True)
    assert groups[0]["right"] == 1
    for group in groups:
        assert group["low"] <= group["right"] <= group["high"]
    text = factor_lines(rows)
    assert text.index("occluded fraction") < text.index("texture")
    assert draw_factors(rows).std() > 10


def test_explained_variance_by_hand(dataset: BopDataset) -> None:
    """Groups of errors (0.1, 0.3) and (0.5, 0.7): sum of squares 0.04 within (2 degrees of freedom), 0.2 in all (3)."""
    results = [made(dataset, k, 1.0, miss) for k, miss in enumerate((0.1, 0.3, 0.5, 0.7))]
    round_kind = BLOCKS.kinds[BLOCKS.names.index("cylinder")]
    results[2:] = [
        replace(a, kind=round_kind, adds=a.adds / a.kind.diameter * round_kind.diameter) for a in results[2:]
    ]
    row = next(row for row in by_factor(results) if row["factor"] == "kind")
    assert row["explained"] == pytest.approx(1 - (0.04 / 2) / (0.2 / 3))


def test_the_recipe_is_that_of_the_picture_and_its_block(dataset: BopDataset) -> None:
    different = 0
    for picture in dataset.pictures:
        recipe = read_recipe(picture)
        assert recipe is not None
        blocks, table = recipe["blocks"], recipe["surfaces"]["material"]["color"][0][0]
        slots = np.flatnonzero(np.array(blocks["present"][0]) & np.array(blocks["labelled"][0]))
        for one in picture.instances[1:]:  # as where the first one's object is unknown: it is left out
            part = replace(picture, instances=picture.instances[1:])
            result = replace(made(dataset, 0, 1.0, 0.0), picture=part, kind=kind_of(dataset, one), truth=one)
            values, slot = factors_of(result), slots[one.number]
            assert values["texture"] == TEXTURES[blocks["material"]["texture"][0][slot]]
            contrast = np.abs(np.array(blocks["material"]["color"][0][slot]) - table).max()
            assert values["color contrast with the table"] == pytest.approx(contrast)
            different += TEXTURES[blocks["material"]["texture"][0][slots[0]]] != values["texture"]
        for one in picture.instances:
            values = factors_of(
                replace(made(dataset, 0, 1.0, 0.0), picture=picture, kind=kind_of(dataset, one), truth=one)
            )
            assert values["distance (m)"] == pytest.approx(np.linalg.norm(one.camera_from_block[:3, 3]))
            assert 0 <= values["fraction of ambient light"] <= 1  # type: ignore[operator]
            assert 1 <= int(values["lights"]) <= 4
    assert different > 3
    bright = {factors_of(made(dataset, k, 1.0, 0.0))["brightness"] for k in range(12)}
    assert len(bright) == 12


def test_a_recipe_of_another_version_is_refused(dataset: BopDataset, tmp_path: Path) -> None:
    (tmp_path / "rgb").mkdir()
    (tmp_path / "sample").mkdir()
    result = made(dataset, 0, 1.0, 0.0)
    (tmp_path / "sample" / f"{result.picture.image_id:06d}.json").write_text('{"recipe": {"blocks": {}}}')
    moved = replace(result, picture=replace(result.picture, path=tmp_path / "rgb" / "000000.jpg"))
    with pytest.raises(DatasetError, match="another version"):
        factors_of(moved)
    (tmp_path / "sample" / f"{result.picture.image_id:06d}.json").write_text('{"somebody": "else"}')
    with pytest.raises(DatasetError, match="another version"):
        factors_of(moved)


def test_wilsons_interval() -> None:
    assert wilson(0, 10) == pytest.approx((0, 0.2775), abs=1e-4)
    assert wilson(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert wilson(10, 10)[1] == 1


def test_groups_of_one_explain_nothing(dataset: BopDataset) -> None:
    results = [made(dataset, k, 1.0, miss) for k, miss in enumerate((0.1, 0.6))]
    assert [row["explained"] for row in by_factor(results)] == [0.0] * len(by_factor(results))
    assert by_factor(results[:1]) == []


def test_the_worst_are_shown_first(dataset: BopDataset) -> None:
    """Each tile is of its own picture; the truth's outline is green, the prediction red; false positives have no truth."""
    results = [made(dataset, k, 1.0, 0.05 * k) for k in range(6)]
    false_positive = FalsePositive(dataset.pictures[7], results[0].view, results[0].detection)  # type: ignore[arg-type]
    shown = draw_worst_cases(results, [false_positive])
    assert shown.shape == (3 * 480, 3 * 640, 3)
    tiles = [shown[480 * (k // 3) :, 640 * (k % 3) :][:480, :640] for k in range(7)]
    for tile, picture in zip(tiles, [false_positive.picture, *(a.picture for a in results[::-1])], strict=True):
        original = cv2.resize(cv2.imread(str(picture.path))[..., ::-1], (640, 480))
        assert np.median(np.abs(tile.astype(int) - original)) == 0

    def has(tile: Image, color: tuple[int, int, int]) -> bool:
        return bool((np.abs(tile.astype(int) - color).max(2) < 30).sum() > 20)

    beside_it = replace(
        results[5], detection=detection(results[5].kind, beside(results[5].truth.camera_from_block, 0.03), 0.5)
    )
    shown = draw_worst_cases([beside_it], [])
    assert has(shown, GREEN) and has(shown, RED)
    lost = draw_worst_cases([replace(results[5], detection=None)], [])
    assert has(lost, GREEN) and not has(lost[40:], RED)
    # Every picture in order, with what was detected in it with the confidence asked for (0.5), and that alone.
    pictures = dataset.pictures[:8]
    shown = draw_overlays(pictures, [beside_it], [false_positive], 0.5)
    tiles = [shown[480 * (k // 3) :, 640 * (k % 3) :][:480, :640] for k in range(8)]
    assert [k for k, tile in enumerate(tiles) if has(tile[40:], GREEN)] == [5]
    assert [k for k, tile in enumerate(tiles) if has(tile[40:], RED)] == [5, 7]
    assert not has(draw_overlays(pictures, [beside_it], [], 0.51), RED)


def test_the_detector_gets_the_camera_and_the_table_of_each_picture(dataset: BopDataset) -> None:
    assert dataset.table_center is not None and dataset.table_size is not None
    ends = [dataset.table_center - dataset.table_size / 2, dataset.table_center + dataset.table_size / 2]
    unknown = replace(dataset, pictures=tuple(replace(one, camera_from_table=None) for one in dataset.pictures))
    for data in (dataset, unknown):
        detector = Given([[] for _ in data.pictures])
        results = [one for one in match_dataset(detector, data, 5) if isinstance(one, BlockResult)]  # type: ignore[arg-type]
        assert len(detector.views) == len(data.pictures)
        for view, picture in zip(detector.views, data.pictures, strict=True):
            assert view.camera_from_table is picture.camera_from_table and view.intrinsics is picture.intrinsics
            np.testing.assert_allclose(view.table, ends)
        assert {bool(np.isnan(one.xy)) for one in results} == {data is unknown}


def test_medians_are_of_all_blocks(dataset: BopDataset) -> None:
    """A miss counts as infinite; with more than half missed there is no median."""
    results = [
        replace(
            made(dataset, number, 1.0, 0.05), translation=0.01 * number, rotation=np.radians(number), mspd=float(number)
        )
        for number in range(3)
    ]
    lost = replace(results[0], detection=None, adds=np.inf, translation=np.inf, rotation=np.inf, mspd=np.inf)
    results = [replace(one, reprojection=one.mspd) for one in results]
    lost = replace(lost, reprojection=np.inf)
    names = ("translation_cm_median", "rotation_deg_median", "mspd_px_median", "reprojection_px_median")
    for some, wanted in (
        (results, 1.0),
        ([*results, lost], 1.5),
        ([*results, *[lost] * 2], 2.0),
        ([*results, *[lost] * 3], None),
    ):
        result = measures(some, [])
        assert [result[name] for name in names] == [pytest.approx(wanted)] * 4
        assert result["within_5_cm_5_deg"] == 3 / len(some)
        assert result["not_found"] == len(some) - 3


def test_asked_for_a_kind_the_most_confident_answer_counts(dataset: BopDataset) -> None:
    """A picture with a cube: the matched detection is 3 mm off; what else is found is more or less confident, or another
    kind."""
    one = made(dataset, 0, 1.0, 0.0)
    assert one.detection is not None
    pose = rigid(np.eye(3), np.array([0.003, 0, 0])) @ one.truth.camera_from_block
    near = replace(one, detection=replace(one.detection, pose=Pose(pose, np.eye(6), 1.0), on_table=False))
    far = rigid(np.eye(3), np.array([0.2, 0, 0])) @ one.truth.camera_from_block
    cylinder = BLOCKS.kinds[BLOCKS.names.index("cylinder")]

    def false_positive(kind: Kind, confidence: float) -> FalsePositive:
        return FalsePositive(one.picture, one.view, detection(kind, far, confidence))

    assert asked_for([near], []) == pytest.approx([0.003])
    assert asked_for([near], [false_positive(near.kind, 0.4), false_positive(cylinder, 0.9)]) == pytest.approx([0.003])
    assert asked_for([near], [false_positive(near.kind, 0.6)]) == pytest.approx([0.2])
    assert asked_for([replace(near, detection=None)], []).tolist() == [np.inf]
    hidden = replace(near, truth=replace(near.truth, visible_fraction=0.4))
    assert len(asked_for([hidden], [])) == 0
    two = [near, replace(near, detection=None)]  # two cubes in one place are one question
    assert asked_for(two, []) == pytest.approx([0.003])
    result = measures([near], [false_positive(near.kind, 0.6)])
    assert result["asked"] == 1 and result["asked_within_1_cm"] == 0.0


def test_blocks_are_missed_as_another_kind_with_another_pose_or_not_at_all(dataset: BopDataset) -> None:
    one = made(dataset, 0, 1.0, 0.0)
    place, kind = one.truth.camera_from_block, one.kind
    cylinder = BLOCKS.kinds[BLOCKS.names.index("cylinder")]

    def found(kind: Kind, along_x: float) -> FalsePositive:
        pose = rigid(np.eye(3), np.array([along_x * one.kind.diameter, 0, 0])) @ place
        return FalsePositive(one.picture, one.view, detection(kind, pose, 0.5))

    lost = replace(one, detection=None, adds=np.inf)
    off = replace(one, adds=0.11 * kind.diameter)
    for result, others, wanted in (
        (one, [found(cylinder, 0)], (0, 0, 0)),
        (off, [found(cylinder, 0)], (0, 1, 0)),
        (lost, [found(cylinder, 0.4)], (1, 0, 0)),
        (lost, [found(cylinder, 0.6), found(kind, 0.4)], (0, 0, 1)),
        (lost, [replace(found(cylinder, 0), picture=dataset.pictures[1])], (0, 0, 1)),
    ):
        assert missed_by_cause([result], others) == dict(zip(("kind", "pose", "nothing"), wanted, strict=True))
    hidden = replace(lost, truth=replace(lost.truth, visible_fraction=0.4))  # as for the share of right poses
    result = measures([one, lost, hidden], [found(cylinder, 0.4)])
    assert result["missed"] == {"kind": 1, "pose": 0, "nothing": 0}
    assert "1 as another kind, 0 with another pose, 0 not at all" in lines(result)


def test_detections_of_other_kinds_are_no_errors_of_the_kind_that_is_evaluated(dataset: BopDataset) -> None:
    """But they tell what a missed block was taken for."""
    one = made(dataset, 0, 1.0, 0.0)
    place, kind = one.truth.camera_from_block, one.kind
    cylinder = BLOCKS.kinds[BLOCKS.names.index("cylinder")]
    wrong = [FalsePositive(one.picture, one.view, detection(cylinder, place, 0.9))]
    lost = replace(one, detection=None, adds=np.inf)
    own = measures([one, lost], wrong, kind.name)
    assert own == measures([one, lost], []) | {"missed": {"kind": 1, "pose": 0, "nothing": 0}}
    of_all = measures([one, lost], wrong)
    assert (own["false_positives"], own["confident_false_positives"]) == (0, 0)
    assert (of_all["false_positives"], of_all["confident_false_positives"]) == (1, 1)
    assert of_all["expected_calibration_error"] > own["expected_calibration_error"]


def test_the_worst_cases_of_a_batch_are_missed_blocks_and_then_the_greatest_errors() -> None:
    """A detector that misses the last block of the batch, has one 8 mm off, and is right about all others."""
    batch, blocks = batch_of()
    views, truths = views_of(batch.targets), [_truths(batch, row, blocks) for row in range(len(batch.targets))]
    wanted = [[detection(kind, pose, 0.9) for kind, pose, _ in of_picture] for of_picture in truths]
    last = max(row for row, of_picture in enumerate(truths) if of_picture)
    first = min(row for row, of_picture in enumerate(truths) if of_picture)
    wanted[last].pop()
    kind, pose, _ = truths[first][0]
    wanted[first][0] = detection(kind, rigid(np.eye(3), np.array([0.008, 0, 0])) @ pose, 0.9)
    cases = []
    for row, of_picture in enumerate(truths):
        cases += _cases(pictures_of(batch)[row], views[row], of_picture, wanted[row])
    errors = [error for error, _ in cases]
    assert len(errors) == sum(map(len, truths)) > 4
    assert errors[-1] == pytest.approx(MATCH_LIMIT + truths[last][-1][2]) and errors[-1] == max(errors)
    assert errors[0] == pytest.approx(0.008 / kind.diameter, rel=0.6) and errors[0] == max(errors[:-1])
    assert max(errors[1:-1]) < 1e-6
    sheets = held_out_sheets(Given(wanted, blocks), batch)  # type: ignore[arg-type]
    tiles = [tile for _, tile in sorted(cases, key=lambda case: -case[0])]
    height = len(tiles[0])
    assert np.array_equal(sheets[WORST][:height, : 2 * TILE], np.concatenate(tiles[:2], axis=1))
    undetected = held_out_sheets(Given([[] for _ in truths], blocks), batch)  # type: ignore[arg-type]
    changed = np.any(sheets[PREDICTIONS] != undetected[PREDICTIONS], axis=-1)
    red = sheets[PREDICTIONS][changed].astype(int) - undetected[PREDICTIONS][changed]
    assert len(red) > 50 and red[:, 0].mean() > 0 > red[:, 1].mean()  # red lines cover the labels' green ones
