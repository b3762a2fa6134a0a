"""The page of `python -m simgen report` in headless Chromium against numbers computed here."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from report_data import COUNT, HALF, NAMES, pixels, write_dataset, write_evaluation

from simgen.dataset.read import open_dataset
from simgen.dataset.values import instance_values, picture_values
from simgen.geometry import rigid
from simgen.report import command
from simgen.report.command import report
from simgen.report.schema import ReportConfig

CHROMIUM = Path("/usr/bin/chromium")
OPTIONS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
# Of blocks and of pictures; whole numbers, words, angles and pictures without a value.
FACTORS = (
    "block.kind", "block.distance", "block.visible_fraction", "block.visible_pixels", "block.seen_from_elevation_deg",
    "camera.from_origin.distance", "camera.from_origin.azimuth_deg", "blocks.count", "blocks.visible_fraction",
)  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In a folder whose name is HTML."""
    return write_dataset(tmp_path_factory.mktemp("report") / """<img src=x onerror="window.hacked=1">'""", COUNT)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"needs {CHROMIUM}")
    with sync.sync_playwright() as player:
        started = player.chromium.launch(executable_path=str(CHROMIUM), args=OPTIONS.split())
        yield started
        started.close()


@pytest.fixture(scope="module")
def seen(browser: Any, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, list[str]]]:
    """The page of `root` with an evaluation and findings, and what went wrong or left it."""
    folder = tmp_path_factory.mktemp("pages")
    out = folder / "report.html"
    write_evaluation(folder / "evaluation", root)
    command.report(ReportConfig(str(root), str(out), predictions=str(folder / "evaluation")))
    page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme="light")
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    page.on("dialog", lambda dialog: wrong.append(f"dialog: {dialog.message}"))
    page.on("request", lambda request: wrong.append(request.url) if not request.url.startswith("data:") else None)
    page.goto(f"file://{out}")
    assert wrong.pop() == f"file://{out}"  # the page itself
    yield page, wrong
    page.close()


def values_of(root: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray]:
    """The factors of pictures and of blocks as arrays, and the picture of each block: straight from the dataset."""
    dataset = open_dataset(root)
    pictures = [picture_values(one) for one in dataset.pictures]
    blocks, owner = [], []
    for k, one in enumerate(dataset.pictures):
        blocks += [instance_values(one, j, dataset.models) for j in range(len(one.instances))]
        owner += [k] * len(one.instances)
    known = {key: np.array([row.get(key, np.nan) for row in pictures]) for key in pictures[1]}
    return known, {key: np.array([row[key] for row in blocks]) for key in blocks[0]}, np.array(owner)


def test_a_bar_leads_to_exactly_its_samples(seen: tuple[Any, list[str]], root: Path) -> None:
    """Every bar of every histogram, compared with numpy."""
    page, wrong = seen
    pictures, blocks, owner = values_of(root)
    page.evaluate('() => document.querySelectorAll(".group").forEach((group) => (group.open = true))')
    page.wait_for_selector('.factor[data-key="camera.from_origin.distance"]')
    clicked = page.evaluate(
        """(keys) => keys.map((key) => {
          const factor = document.querySelector(`.factor[data-key="${key}"]`);
          const found = [...factor.querySelectorAll(".bar, .word")].map((bar) => {
            bar.click();
            const shown = [...document.querySelectorAll("#cards .card")].map((card) => Number(card.dataset.sample));
            return [key, Number(bar.dataset.low), Number(bar.dataset.high), bar.title, shown];
          });
          factor.querySelector(".clear").click();
          return found;
        }).flat()""",
        list(FACTORS),
    )
    assert {key for key, *_ in clicked} == set(FACTORS) and len(clicked) > 100
    for key, low, high, title, shown in clicked:
        values, rows = (blocks[key[6:]], owner) if key.startswith("block.") else (pictures[key], np.arange(COUNT))
        if np.isnan(low):  # a word
            inside = np.isnan(values) if title == "none" else values == title
        else:
            last = max(other for name, _, other, *_ in clicked if name == key)
            inside = (values >= low) & ((values < high) | ((values == high) & (high == last)))
        assert shown == np.unique(rows[inside]).tolist(), (key, low, high, title)
    # Two filters at once: of the same block.
    page.click('.factor[data-key="block.kind"] .word >> nth=0')
    page.click('.factor[data-key="block.visible_fraction"] .bar >> nth=3')
    low, high = (
        float(page.get_attribute('.factor[data-key="block.visible_fraction"] .bar >> nth=3', f"data-{end}"))
        for end in ("low", "high")
    )
    both = (
        (blocks["kind"] == sorted(NAMES)[0]) & (blocks["visible_fraction"] >= low) & (blocks["visible_fraction"] < high)
    )
    shown = page.eval_on_selector_all(".card", "cards => cards.map((card) => Number(card.dataset.sample))")
    assert shown == np.unique(owner[both]).tolist()
    page.click("text=clear all")
    assert page.text_content("#count") == f"{COUNT} of {COUNT} samples, {len(owner)} of {len(owner)} blocks"
    assert not wrong


def test_samples_are_sorted_by_any_factor(seen: tuple[Any, list[str]], root: Path) -> None:
    page, wrong = seen
    pictures, blocks, owner = values_of(root)
    page.select_option("#sort", label="camera.from_origin.elevation_deg")
    order = page.eval_on_selector_all(".card", "cards => cards.map((card) => Number(card.dataset.sample))")
    assert order == np.argsort(-pictures["camera.from_origin.elevation_deg"], kind="stable").tolist()
    page.select_option("#sort", label="block.distance")
    page.click("#direction")
    order = page.eval_on_selector_all(".card", "cards => cards.map((card) => Number(card.dataset.sample))")
    nearest = np.array([blocks["distance"][owner == k].min(initial=np.inf) for k in range(COUNT)])
    assert order == np.argsort(nearest, kind="stable").tolist()  # pictures without blocks last
    page.select_option("#sort", label="Order in the dataset")
    page.fill(".filters input", "00012")
    assert page.eval_on_selector_all(".card", "cards => cards.map((card) => card.dataset.sample)") == ["12"]
    page.fill(".filters input", "")
    assert not wrong


def test_labels_are_those_of_the_dataset_and_can_be_switched(seen: tuple[Any, list[str]], root: Path) -> None:
    page, wrong = seen
    truths, infos, keypoints = (
        json.loads((root / "train" / "000000" / f"scene_{name}.json").read_text())
        for name in ("gt", "gt_info", "keypoints")
    )
    number = next(k for k in range(COUNT) if len(truths[str(k)]) == 3)
    page.click("#direction")
    page.click("#direction")
    drawn = page.evaluate(
        """(number) => [...document.querySelectorAll(`.card[data-sample="${number}"] svg > g`)].map((block) => {
          const numbers = (one, names) => names.map((name) => Number(one.getAttribute(name)));
          const all = (part, names) => [...block.querySelectorAll(`${part}:not(.halo)`)].map((one) => numbers(one, names));
          return {
            boxes: all(".l-boxes rect", ["x", "y", "width", "height"]), axes: all(".l-axes line", ["x1", "y1", "x2", "y2"]),
            points: all(".l-keypoints circle", ["cx", "cy"]), name: block.querySelector(".l-names text").textContent,
            outlines: [...block.querySelectorAll(".l-outlines .fill")].map((one) => one.getAttribute("points").split(" ")),
          };
        })""",
        number,
    )
    assert len(drawn) == 3
    for k, block in enumerate(drawn):
        truth = truths[str(number)][k]
        u, v, width, height = infos[str(number)][k]["bbox_visib"]
        assert block["boxes"] == [[u - 0.5, v - 0.5, width, height]]
        assert block["name"] == NAMES[truth["obj_id"] - 1]
        pose = rigid(np.array(truth["cam_R_m2c"]).reshape(3, 3), np.array(truth["cam_t_m2c"]) / 1000)
        ends = pixels(pose, np.concatenate([np.zeros((1, 3)), HALF.max() * np.eye(3)]))
        assert np.allclose(block["axes"], [[*ends[0], *end] for end in ends[1:]], atol=0.06)
        stored = np.array(keypoints[str(number)][k]["keypoints_px"])[[0, 1, 3, 4, 5, 6, 7]]  # one is outside
        assert np.allclose(block["points"], stored, atol=0.06)
        mask = cv2.imread(str(root / "train" / "000000" / "mask_visib" / f"{number:06d}_{k:06d}.png"), 0)
        filled = np.zeros_like(mask)
        for outline in block["outlines"]:
            cv2.fillPoly(filled, [np.array(outline, float).astype(np.int32).reshape(-1, 2)], 255)
        assert ((filled > 0) & (mask > 0)).sum() > 0.85 * ((filled > 0) | (mask > 0)).sum()

    def visible() -> dict[str, bool]:
        return {
            name: page.is_visible(f'.card[data-sample="{number}"] .l-{name} >> nth=0')
            for name in ("boxes", "outlines", "axes", "keypoints", "names")
        }

    before = visible()
    for name in before:
        page.click(f"[data-label={name}]")
    assert visible() == {name: not shown for name, shown in before.items()}
    for name in before:
        page.click(f"[data-label={name}]")
    assert visible() == before and not wrong


def test_coverage_errors_findings_and_provenance(seen: tuple[Any, list[str]], root: Path) -> None:
    page, wrong = seen
    _, blocks, owner = values_of(root)
    page.click("[data-tab=coverage]")
    counts = page.eval_on_selector_all(
        "#table-map .cell title, #sphere-map .cell title",
        "all => all.map((one) => [one.closest('.chart').id, Number(one.textContent.match(/: ([0-9]+) block/)[1])])",
    )
    for chart in ("table-map", "sphere-map"):
        assert sum(count for name, count in counts if name == chart) == len(owner)
    page.click("#sphere-map .cell:not(.empty-cell) >> nth=0")
    # The cells are in the order of azimuth, then elevation: the first that is not empty has the least of both.
    bins = (
        np.floor((blocks["seen_from_azimuth_deg"] + 180) / 15),
        np.floor((blocks["seen_from_elevation_deg"] + 90) / 10),
    )
    first = min(zip(*bins, strict=True))
    inside = (bins[0] == first[0]) & (bins[1] == first[1])
    assert page.text_content("#count").endswith(f"{inside.sum()} of {len(owner)} blocks")
    page.click("text=clear all")
    assert page.text_content("#kinds tbody tr:first-child td:last-child") == str(
        (blocks["kind"] == sorted(NAMES)[0]).sum()
    )

    page.click("[data-tab=errors]")
    worst = page.eval_on_selector_all("#worst .value", "all => all.map((one) => one.textContent)")
    missed = np.arange(len(owner)) % 5 == 4
    seen_fraction = np.sort(blocks["visible_fraction"][missed])[::-1]
    assert [text for text in worst if text.startswith("missed")] == worst[: missed.sum()]
    assert worst[0].startswith(f"missed, {round(100 * seen_fraction[0])}%")
    assert "wrong" in worst[missed.sum()] if missed.sum() < 24 else True
    shares = page.eval_on_selector_all(
        "#effects .effect-row", "rows => rows.map((row) => [row.title, row.querySelector('.amount').textContent])"
    )
    assert shares and all(text.endswith("%") for _, text in shares)
    page.select_option("#measure", label="median adds cm")
    assert "explains" in page.text_content("#effects")

    page.click("[data-tab=findings]")
    assert page.locator("#findings tbody tr").count() > 0  # boxes that are not exact, models without meshes
    page.click("#findings .link >> nth=0")
    assert page.is_visible("dialog h2")
    page.keyboard.press("Escape")
    page.click("[data-tab=provenance]")
    text = page.text_content("main")
    assert str(root) in text and "7" in text
    page.click("[data-tab=samples]")
    page.click(".card >> nth=3")
    assert page.text_content("dialog h2") == "train/000000/000003"
    page.keyboard.press("ArrowRight")
    assert page.text_content("dialog h2") == "train/000000/000004"
    page.keyboard.press("Escape")
    assert not wrong


def test_light_dark_and_narrow(seen: tuple[Any, list[str]]) -> None:
    page, wrong = seen

    def brightness() -> float:
        return float(
            np.mean(
                page.evaluate(
                    "getComputedStyle(document.body).backgroundColor.match(/[\\d.]+/g).slice(0, 3).map(Number)"
                )
            )
        )

    assert brightness() > 200
    page.emulate_media(color_scheme="dark")
    assert brightness() < 50
    page.click("[data-set=light]")
    assert brightness() > 200
    page.click("[data-set=auto]")
    page.set_viewport_size({"width": 390, "height": 800})
    for tab in ("coverage", "errors", "findings", "provenance", "samples"):
        page.click(f"[data-tab={tab}]")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, tab  # nothing is wider than the screen
    page.set_viewport_size({"width": 1280, "height": 800})
    page.emulate_media(color_scheme="light")
    assert not wrong


def test_empty_pages_work(browser: Any, tmp_path: Path) -> None:
    """Of one picture without objects, and of a dataset that cannot be opened."""
    empty, broken = write_dataset(tmp_path / "empty", 1), write_dataset(tmp_path / "broken", 2)
    (broken / "train" / "000000" / "scene_gt.json").write_text("[]")
    out = tmp_path / "page.html"
    for root, status, text in (
        (empty, 0, "1 of 1 sample, 0 of 0 blocks"),
        (broken, 1, "0 of 0 samples, 0 of 0 blocks"),
    ):
        assert report(ReportConfig(str(root), str(out))) == status
        page, wrong = browser.new_page(), []
        page.on("console", lambda message, wrong=wrong: wrong.append(message.text))
        page.on("pageerror", lambda error, wrong=wrong: wrong.append(str(error)))
        page.goto(f"file://{out}")
        assert page.text_content("#count") == text
        assert ("scene_gt.json" in page.text_content("main")) == bool(status)
        for tab in ("coverage", "findings", "provenance", "samples"):
            page.click(f"[data-tab={tab}]")
        assert not wrong
        page.close()


def test_nothing_in_the_data_runs_and_nothing_leaves(seen: tuple[Any, list[str]]) -> None:
    """Last: its own attempts are violations."""
    page, wrong = seen
    assert page.evaluate("window.hacked") is None and not wrong
    assert page.locator("script").count() == 2 and page.locator("[onclick], [onerror]").count() == 0
    assert page.locator("img:not([src^='data:']), link, iframe, object, embed, base, form").count() == 0
    blocked = page.evaluate(
        """async () => {
          const found = [];
          document.addEventListener("securitypolicyviolation", (event) => found.push(event.effectiveDirective));
          await fetch("http://127.0.0.1:9/x").catch(() => null);
          new Image().src = "http://127.0.0.1:9/x.png";
          const script = document.createElement("script");
          script.textContent = "window.hacked = 1";
          document.body.append(script);
          await new Promise((done) => setTimeout(done, 100));
          return [found.sort(), window.hacked === undefined];
        }"""
    )
    assert blocked == [["connect-src", "img-src", "script-src-elem"], True]
