"""The page of `python -m simgen live` in a headless Chromium."""

import base64
import shutil
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest
from builders import run_command
from test_live import SMALL, composed

from simgen.__main__ import COMMANDS
from simgen.config import Composed, main
from simgen.live.command import open_page
from simgen.live.drawing import Drawer
from simgen.live.schema import Live
from simgen.preview import draw_labels

CHROMIUM = shutil.which("chromium")
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"),
    *("--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update"),
    "--disable-sync",
]
# The pixels of the page's picture, from the element that shows it.
PIXELS = """image => {
    const canvas = document.createElement("canvas");
    canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
    canvas.getContext("2d").drawImage(image, 0, 0);
    return canvas.toDataURL("image/png");
}"""


@pytest.fixture
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install -e '.[dev]'")
    pytest.importorskip("viser", reason="needs viser: pip install -e '.[live]'")
    if CHROMIUM is None:
        pytest.skip("needs a browser: Debian's package chromium")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def test_pages_of_other_origins_may_not_use_this_one(tmp_path: Path) -> None:
    """The page's own may, also through a tunnel by another name, and so may programs that are no browsers."""
    viser = pytest.importorskip("viser", reason="needs viser: pip install -e '.[live]'")
    client = pytest.importorskip("websockets.sync.client")
    from websockets.exceptions import InvalidStatus

    live = open_page(composed(*SMALL, "randomize=none", "port=18081", f"presets={tmp_path}"))
    try:
        address, own = live.address.replace("http", "ws"), urlsplit(live.address).netloc
        for origin, allowed in (
            (f"http://{own}", True), (None, True), ("http://evil.example", False), ("http://127.0.0.1:1", False),
            ("null", False),
        ):  # fmt: skip
            try:
                with client.connect(address, origin=origin, subprotocols=[f"viser-v{viser.__version__}"]) as connection:
                    accepted = bool(connection.recv(timeout=60))
            except InvalidStatus as error:
                assert error.response.status_code == 403
                accepted = False
            assert accepted == allowed, origin
    finally:
        live.close()


def test_a_light_of_another_kind_has_another_label(tmp_path: Path) -> None:
    """Also where both are drawn as spheres."""
    pytest.importorskip("viser", reason="needs viser: pip install -e '.[live]'")
    live = open_page(composed(*SMALL, "randomize=none", "port=18082", f"presets={tmp_path}"))
    try:
        shown: list[str] = []
        add = live.server.scene.add_label
        live.server.scene.add_label = lambda name, text: (shown.append(text), add(name, text))[1]  # type: ignore[method-assign]
        for kind in ("directional", "point", "point", "directional"):
            with live._lock:
                live._change(live.settings.with_factor("randomize.light.kind", kind))
            assert live.wait(120)
        assert [text for text in shown if text.endswith("light")][-2:] == ["point light", "directional light"]
    finally:
        live.close()


def test_a_change_on_the_page_is_drawn_copied_and_saved(browser: Any, tmp_path: Path) -> None:
    of = composed(*SMALL, "randomize=none", "port=18080", f"presets={tmp_path}")
    live, drawer = open_page(of), Drawer(of.value)
    page = browser.new_page(viewport={"width": 830, "height": 600})
    page.set_default_timeout(180_000)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(live.address)

    def click(name: str) -> None:
        page.get_by_role("button", name=name, exact=True).dispatch_event("click")

    def inputs(label: str) -> Any:
        """The inputs in the row of `label`."""
        row = page.get_by_text(label, exact=True).first.locator("xpath=ancestor::*[.//input][1]")
        return row.locator("input:not([type=hidden])")

    def shows(layers: Collection[str], index: int, factors: Mapping[str, Any]) -> None:
        """The page gets these settings, and then its picture has every pixel of theirs, with these labels."""
        for _ in range(600):
            if (live.settings.index, live.settings.factors) == (index, factors):
                break
            page.wait_for_timeout(100)
        assert (live.settings.index, live.settings.factors) == (index, factors)
        assert live.wait(180)
        wanted = draw_labels(drawer.draw(live.settings).sample, drawer.world, layers)
        for _ in range(300):
            data = page.locator("img").first.evaluate(PIXELS).partition(",")[2]
            shown = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
            if shown.shape == wanted.shape and np.array_equal(shown[..., ::-1], wanted):
                return
            page.wait_for_timeout(100)
        raise AssertionError("another picture")

    page.get_by_text("sample 3 of seed 5, drawn in").wait_for()
    layers = ["masks", "boxes", "names"]
    shows(layers, 3, {})
    click("next")
    inputs("keypoints").dispatch_event("click")
    layers.append("keypoints")
    shows(layers, 4, {})
    inputs("distance").fill("0.85")
    shows(layers, 4, {"randomize.camera.distance": 0.85})
    assert page.locator("textarea").first.input_value() == live.settings.command()

    inputs("preset").fill("near")
    click("Save as preset")
    page.get_by_text("saved: randomize=").wait_for()
    again = composed(*SMALL, f"randomize={tmp_path}/near.yaml")
    assert again.value.randomize == live.settings.config().randomize
    click("Save as preset")
    page.get_by_text("near.yaml exists; choose another name").wait_for()

    with live._lock:  # as from "any distribution", whose folder is closed
        live._change(live.settings.with_factor("randomize.table.texture", "image"))
    page.get_by_text("no new picture: randomize.table.texture: 'image' needs a folder of pictures").wait_for()
    click("Reset all factors")
    shows(layers, 4, {})
    assert {urlsplit(url).hostname for url in asked if url.startswith("http")} == {"127.0.0.1"}
    live.close()


def test_what_cannot_be_served_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("viser", reason="needs viser: pip install -e '.[live]'")
    for setting, words in (
        ("host=192.0.2.1", "host: 192.0.2.1 is no address of this computer"),
        ("port=0", "port: got 0"),
    ):
        done = run_command(lambda: main("simgen", COMMANDS), "simgen", "live", "randomize=none", setting)
        assert done.returncode == 2 and words in done.stderr
    monkeypatch.setitem(sys.modules, "viser", None)
    monkeypatch.delitem(sys.modules, "simgen.live.page", raising=False)
    done = run_command(lambda: main("simgen", COMMANDS), "simgen", "live")
    assert done.returncode == 2 and "pip install 'simgen[live]'" in done.stderr


def test_the_address_is_printed_and_an_interruption_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []

    class Opened:
        address, closed = "http://127.0.0.1:8080", False

        def __init__(self, of: Composed[Live]) -> None:
            opened.append((self, of))

        def close(self) -> None:
            self.closed = True

    class Interrupted:
        def wait(self) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr("simgen.live.command.open_page", Opened)
    monkeypatch.setattr("simgen.live.command.threading.Event", Interrupted)
    done = run_command(lambda: main("simgen", COMMANDS), "simgen", "live", "randomize=light", "seed=3")
    assert done.returncode == 0 and done.stdout.startswith("http://127.0.0.1:8080  (open it in a browser; Ctrl+C ends)")
    ((page, of),) = opened
    assert page.closed and of.groups["randomize"] == "light" and of.given == ("randomize", "seed")
    assert of.value.host == "127.0.0.1"  # this computer alone
