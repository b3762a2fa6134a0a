"""The configuration of `python -m simgen live`."""

from dataclasses import dataclass

from simgen.command.keys import key
from simgen.schema import Source


@dataclass
class Live(Source):
    start: int = key("index of the first sample that is shown", 0)
    host: str = key(
        "address that the page listens on; 127.0.0.1 is this computer alone, 0.0.0.0 every network", "127.0.0.1"
    )
    port: int = key("port of the page; if it is taken, the next free one", 8080)
    presets: str = key("folder of the presets that the page saves", "presets", unit="folder")
