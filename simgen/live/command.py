"""`python -m simgen live`: serves the page until it is interrupted."""

import socket
import sys
import threading
from typing import TYPE_CHECKING

from simgen.config import Composed
from simgen.errors import ConfigError
from simgen.live.controls import controls_of
from simgen.live.drawing import Drawer
from simgen.live.schema import Live
from simgen.live.settings import Settings

if TYPE_CHECKING:
    from simgen.live.page import Page


def live(composed: Composed[Live]) -> None:
    """Serves the page of a configuration, prints its address and returns after Ctrl+C. Raises ConfigError without viser."""
    page = open_page(composed)
    print(f"{page.address}  (open it in a browser; Ctrl+C ends)", flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        print()
    finally:
        page.close()


def open_page(composed: Composed[Live]) -> "Page":
    """The page of a configuration. Raises ConfigError without viser."""
    try:
        from simgen.live.page import Page
    except ModuleNotFoundError as error:
        if error.name != "viser":
            raise
        raise ConfigError("live: needs viser, which is not installed; pip install 'simgen[live]'") from error

    config = composed.value
    check_address(config)
    drawer = Drawer(config)
    for notice in drawer.notices:
        print(notice, file=sys.stderr)
    return Page(Settings.of(composed), drawer, controls_of(config, drawer.world, composed.keys))


def check_address(config: Live) -> None:
    """Raises ConfigError if this computer cannot listen on the host and port of `config`: viser would wait forever."""
    if not 1 <= config.port <= 65535:
        raise ConfigError(f"port: got {config.port}; expected 1 to 65535")
    try:
        socket.create_server((config.host, 0)).close()
    except OSError as error:
        raise ConfigError(
            f"host: {config.host} is no address of this computer ({error.strerror or error}); expected 127.0.0.1, or "
            "0.0.0.0 for all its networks"
        ) from error
