"""The page of `python -m simgen live`, made of viser's elements: `Page`."""

import contextlib
import html
import io
import math
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import viser
import websockets.asyncio.server
from numpy.typing import NDArray

from simgen.errors import SimgenError
from simgen.geometry import Array, quaternion_from_matrix
from simgen.live.controls import Control, leaf_text, read_leaf
from simgen.live.drawing import Drawer, Drawing
from simgen.live.newest import Newest
from simgen.live.parts import Part, parts_of
from simgen.live.settings import Settings
from simgen.preview import LAYERS, draw_labels

_WIDTH = 380  # px, of each of the two panels
_FIRST = ("camera", "blocks", "light")  # sections that are open at first
_OPEN = ("camera",)


@contextlib.contextmanager
def _own_pages_only() -> Iterator[None]:
    """A server that is made meanwhile refuses WebSockets of pages of other origins: any page that is open in a browser
    could else see the scene, change factors and save presets. viser has no such setting."""
    serve = websockets.asyncio.server.serve

    def checked(*given: Any, process_request: Any, **settings: Any) -> Any:
        def of_own_page(connection: Any, request: Any) -> Any:
            origin = request.headers.get("Origin")  # programs other than browsers send none
            if origin is not None and urlsplit(origin).netloc != request.headers.get("Host"):
                return connection.respond(HTTPStatus.FORBIDDEN, f"a page of {origin} may not use this one\n")
            return process_request(connection, request)

        return serve(*given, process_request=of_own_page, **settings)

    websockets.asyncio.server.serve = checked  # type: ignore[assignment, misc]
    try:
        yield
    finally:
        websockets.asyncio.server.serve = serve  # type: ignore[misc]


class _Server(viser.ViserServer):
    """A server without viser's tunnel, which would show the page to the internet."""

    def request_share_url(self, verbose: bool = True) -> str | None:
        return None


class Page:
    """The page of `settings` on a server of its own, at `address`. Every change is drawn by `drawer` in a thread, the newest
    alone. An error is shown on the page, which keeps the last picture."""

    def __init__(self, settings: Settings, drawer: Drawer, controls: list[Control]) -> None:
        source = settings.composed.value
        self.settings, self.drawer = settings, drawer
        self._lock = threading.RLock()
        self._drawing: Drawing | None = None
        self._meshes: dict[str, tuple[Part, Any]] = {}
        with contextlib.redirect_stdout(io.StringIO()), _own_pages_only():  # viser's own words on its address
            self.server = _Server(host=source.host, port=source.port, label="simgen live", verbose=False)
        host = "localhost" if source.host == "0.0.0.0" else source.host
        self.address = f"http://{host}:{self.server.get_port()}"
        self.server.gui.configure_theme(show_logo=False, show_share_button=False, dark_mode=False)
        self.server.scene.configure_default_lights(
            cast_shadow=False
        )  # slow without a GPU; the picture shows the shadows
        self._look_at_table()
        self._add_picture()
        self._add_controls(controls)
        self._newest: Newest[Settings] = Newest(self._draw)
        self._change(settings)

    def wait(self, seconds: float) -> bool:
        """Waits until the newest change is drawn; whether that is so after at most `seconds`."""
        return self._newest.wait(seconds)

    def close(self) -> None:
        """Ends the server, and the renderer after the picture at work."""
        self._newest.close()
        with contextlib.redirect_stdout(io.StringIO()):
            self.server.stop()
        self.drawer.close()

    # -- the elements -----------------------------------------------------------------------------------------------------

    def _add_picture(self) -> None:
        """The panel on the left: the picture, its number and labels, what is wrong, and what was set."""
        gui, source = self.server.gui, self.settings.composed.value
        panel = gui.add_panel()
        with panel.add_tab("Picture"):
            self._status = gui.add_html("")
            self._picture = gui.add_image(np.full((3, 4, 3), 255, np.uint8), format="png")
            steps = gui.add_button_group("Sample", ("previous", "next"))
            self._index: Any = gui.add_number("index", self.settings.index, min=0, step=1)
            self._seed: Any = gui.add_number("seed", self.settings.seed, min=0, step=1)
            with gui.add_folder("Labels"):
                self._layers = {name: gui.add_checkbox(name, name in ("masks", "boxes", "names")) for name in LAYERS}
            with gui.add_folder("What is set"):
                self._command: Any = gui.add_text(
                    "command", "", multiline=True, hint="renders this picture; edits have no effect"
                )
                name = gui.add_text("preset", "mine", hint=f"name of a new file in the folder {source.presets}")
                save = gui.add_button("Save as preset")
                self._saved = gui.add_html("")
        panel.dock_left()
        panel.set_width(_WIDTH)

        @self._on(steps.on_click)
        def _(event: viser.GuiEvent[Any]) -> None:
            step = 1 if event.target.value == "next" else -1
            self._change(self._at(index=max(0, self.settings.index + step)))

        @self._on(self._index.on_update)
        def _(event: viser.GuiEvent[Any]) -> None:
            self._change(self._at(index=int(event.target.value)))

        @self._on(self._seed.on_update)
        def _(event: viser.GuiEvent[Any]) -> None:
            self._change(self._at(seed=int(event.target.value)))

        for layer in self._layers.values():
            self._on(layer.on_update)(lambda _: self._show_picture())

        @self._on(save.on_click)
        def _(_: viser.GuiEvent[Any]) -> None:
            try:
                path = self.settings.save(name.value)
            except SimgenError as error:
                self._saved.content = _box(str(error), error=True)
            else:
                self._saved.content = _box(f"saved: randomize={path}")

    def _add_controls(self, controls: list[Control]) -> None:
        """The panel on the right: a control for each factor, in a folder for each section."""
        gui = self.server.gui
        gui.main_panel.dock_right()
        gui.main_panel.set_width(_WIDTH)
        reset = gui.add_button("Reset all factors")
        self._rows: dict[str, _Row] = {}
        sections = list(dict.fromkeys(control.section[0] if control.section else "" for control in controls))
        sections.sort(key=lambda name: _FIRST.index(name) if name in _FIRST else len(_FIRST))
        for section in sections:
            mine = [control for control in controls if (*control.section, "")[0] == section]
            with gui.add_folder(section or "scene", expand_by_default=section in _OPEN):
                self._add_rows([control for control in mine if len(control.section) < 2])
                if inner := [control for control in mine if len(control.section) > 1]:
                    with gui.add_folder(inner[0].section[1], expand_by_default=False):
                        self._add_rows(inner)
        self._add_distribution([control.path for control in controls if control.name != "slots"])

        @self._on(reset.on_click)
        def _(_: viser.GuiEvent[Any]) -> None:
            for row in self._rows.values():
                row.switch.value = False
            self._change(Settings(self.settings.composed, self.settings.seed, self.settings.index))

    def _add_rows(self, controls: list[Control]) -> None:
        for control in controls:
            row = self._rows[control.path] = _Row(self.server.gui, control)
            self._on(row.input.on_update)(lambda _, row=row: self._move(row))
            self._on(row.switch.on_update)(lambda _, row=row: self._fix(row))

    def _add_distribution(self, paths: list[str]) -> None:
        """The form that gives any factor any distribution."""
        gui = self.server.gui
        with gui.add_folder("any distribution", expand_by_default=False):
            path = gui.add_dropdown("factor", tuple(name.removeprefix("randomize.") for name in paths))
            leaf: Any = gui.add_text("value", leaf_text(self.settings.leaf(paths[0])), hint="such as [uniform, 0.5, 1]")
            button = gui.add_button("Set")

        @self._on(path.on_update)
        def _(_: viser.GuiEvent[Any]) -> None:
            leaf.value = leaf_text(self.settings.leaf(f"randomize.{path.value}"))

        @self._on(button.on_click)
        def _(_: viser.GuiEvent[Any]) -> None:
            key = f"randomize.{path.value}"
            self._rows[key].switch.value = False
            self._change(self.settings.with_factor(key, read_leaf(key, leaf.value)))

    def _on(self, register: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Registers a reaction to what a person does on the page. Errors are shown on the page."""

        def decorate(react: Callable[[Any], None]) -> Callable[[Any], None]:
            def guarded(event: Any) -> None:
                if event.client is None:  # set by this program
                    return
                with self._lock, self._errors_shown():
                    react(event)

            register(guarded)
            return react

        return decorate

    # -- changes ----------------------------------------------------------------------------------------------------------

    def _at(self, *, index: int | None = None, seed: int | None = None) -> Settings:
        now = self.settings
        return Settings(
            now.composed, now.seed if seed is None else seed, now.index if index is None else index, now.factors
        )

    def _move(self, row: "_Row") -> None:
        """The input of `row` was moved, which fixes the factor."""
        row.switch.value = True
        self._change(self.settings.with_factor(row.control.path, row.control.read(row.input.value)))

    def _fix(self, row: "_Row") -> None:
        """The factor of `row` was fixed to what the picture shows, so that the picture does not change, or set free."""
        path = row.control.path
        if not row.switch.value:
            self._change(self.settings.without_factor(path))
        elif self._drawing is None:  # nothing is drawn to which it could be fixed
            row.switch.value = False
        else:
            self._change(self.settings.with_factor(path, row.control.fixed(self._drawing.values[path])))

    def _change(self, settings: Settings) -> None:
        self.settings = settings
        self._index.value, self._seed.value = settings.index, settings.seed
        self._command.value = settings.command()
        self._newest.submit(settings)

    # -- drawing ----------------------------------------------------------------------------------------------------------

    def _draw(self, settings: Settings) -> None:
        with self._errors_shown():
            drawing = self.drawer.draw(settings)
            with self._lock, self.server.atomic():
                self._drawing = drawing
                self._show_picture()
                self._show_scene()
                for row in self._rows.values():
                    if not row.switch.value:
                        row.input.value = row.control.shown(drawing.values[row.control.path])
                notes = "".join(_box(note) for note in settings.notes())
                text = f"sample {settings.index} of seed {settings.seed}, drawn in {drawing.seconds:.2f} s"
                self._status.content = f"<div style='padding:4px 12px'>{text}</div>{notes}"

    @contextlib.contextmanager
    def _errors_shown(self) -> Iterator[None]:
        try:
            yield
        except SimgenError as error:
            self._status.content = _box(f"no new picture: {error}", error=True)
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            self._status.content = _box(f"a fault of simgen: {type(error).__name__}: {error}", error=True)

    def _show_picture(self) -> None:
        if self._drawing is not None:
            layers = [name for name, layer in self._layers.items() if layer.value]
            drawn = draw_labels(self._drawing.sample, self.drawer.world, layers)
            self._picture.image = drawn if layers else self._drawing.sample.rgb

    def _show_scene(self) -> None:
        assert self._drawing is not None
        scene, sample = self.server.scene, self._drawing.sample
        parts = {part.name: part for part in parts_of(sample, self.drawer.world)}
        for name, (old, mesh) in list(self._meshes.items()):
            if name not in parts or (parts[name].shape, parts[name].label) != (old.shape, old.label):
                mesh.remove()
                del self._meshes[name]
        for name, part in parts.items():
            wxyz, position = _placed(part.world_from_part)
            if name in self._meshes:
                mesh = self._meshes[name][1]
                mesh.wxyz, mesh.position, mesh.color = wxyz, position, part.color
            else:
                mesh = scene.add_mesh_simple(
                    f"/{name}",
                    part.vertices,
                    part.triangles,
                    color=part.color,
                    flat_shading=True,
                    side="double",
                    wxyz=wxyz,
                    position=position,
                    material="toon3" if part.glows else "standard",
                    cast_shadow=not part.glows,
                )
                if part.label:
                    scene.add_label(f"/{name}/label", part.label)
            self._meshes[name] = part, mesh
        cameras = sample.scene.cameras
        wxyz, position = _placed(cameras.world_from_camera[0])
        scene.add_camera_frustum(
            "/camera",
            fov=2 * math.atan(cameras.height / 2 / cameras.intrinsics[0, 1, 1]),
            aspect=cameras.width / cameras.height,
            scale=0.15,
            thickness=0.003,
            image=sample.rgb,
            format="jpeg",
            wxyz=wxyz,
            position=position,
            cast_shadow=False,
        )

    def _look_at_table(self) -> None:
        table = self.drawer.world.table
        reach = float(max(table.size[:2]))
        self.server.initial_camera.position = tuple(table.center + reach * np.array([0.9, -1.1, 0.9]))
        self.server.initial_camera.look_at = tuple(table.center)


class _Row:
    """The input of a factor, and the switch that states whether it is fixed. They are typed Any because mypy takes the
    `value` of viser's inputs for read-only."""

    def __init__(self, gui: viser.GuiApi, control: Control) -> None:
        self.control = control
        self.input = _input(gui, control)
        self.switch: Any = gui.add_checkbox("\u21b3 fixed", False, hint=f"{control.path}: the same in all samples")


def _input(gui: viser.GuiApi, control: Control) -> Any:
    name, hint = control.name, control.hint
    if control.kind == "slider":
        if control.whole:
            return gui.add_slider(name, int(control.low), int(control.high), 1, int(control.low), hint=hint)
        return gui.add_slider(name, control.low, control.high, control.step, control.low, hint=hint)
    if control.kind == "number":
        return gui.add_number(name, int(control.low), min=int(control.low), max=int(control.high), step=1, hint=hint)
    if control.kind == "switch":
        return gui.add_checkbox(name, False, hint=hint)
    if control.kind == "words":
        return gui.add_dropdown(name, control.words, hint=hint)
    if control.kind == "color":
        return gui.add_rgb(name, (0, 0, 0), hint=hint)
    if control.kind == "vector":
        add = gui.add_vector2 if control.dim == 2 else gui.add_vector3
        return add(name, (0.0,) * control.dim, step=0.01, hint=hint)  # type: ignore[arg-type]
    return gui.add_text(name, "", hint=hint)


def _placed(world_from_part: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The quaternion (4,) wxyz and the position (3,) of a pose (4, 4)."""
    return quaternion_from_matrix(world_from_part[:3, :3]), world_from_part[:3, 3]


def _box(text: str, *, error: bool = False) -> str:
    """`text` as HTML."""
    color = "#c92a2a" if error else "#666"
    return f"<div role='status' style='padding:4px 12px;color:{color};overflow-wrap:anywhere'>{html.escape(text)}</div>"
