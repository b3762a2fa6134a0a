"""Assembles the page: one HTML file with its style, its script and its data, which loads nothing else."""

import base64
import hashlib
import html
import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

from simgen.errors import ConfigError
from simgen.files import write_file

_MARK = '<meta name="generator" content="simgen report">'
_HEAD = 2000  # bytes of a file in which the mark is sought
# The page's script, in the order in which its files use each other.
_SCRIPT = ("columns", "selection", "samples", "coverage", "errors", "provenance", "start")


def check_out(path: Path) -> None:
    """Raises ConfigError if no report may be written to `path`."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"out: got {path}; expected the name of a file that ends in .html")
    if path.is_dir():
        raise ConfigError(f"out: {path} is a folder; expected the name of a file that ends in .html")
    if path.exists():
        with path.open("rb") as file:
            if _MARK.encode() not in file.read(_HEAD):
                raise ConfigError(f"out: {path} exists, and report did not write it; name another file or move it")


def page_of(title: str, data: Any) -> bytes:
    """The page as UTF-8. `data` are JSON values with finite numbers; no text in them can end its element.

    The content security policy allows this very script and style, by their hashes, and pictures in the file; all else, and
    each connection, is forbidden.
    """
    folder = files("simgen.report")
    page, style = ((folder / f"page.{kind}").read_text(encoding="utf-8") for kind in ("html", "css"))
    parts_of_script = [(folder / "script" / f"{name}.js").read_text(encoding="utf-8") for name in _SCRIPT]
    # One function, so that the page has no global names. All text enters the page as text nodes: nothing becomes markup.
    script = '"use strict";\n(() => {\n' + "\n".join(parts_of_script) + "})();\n"
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    parts = {
        "mark": _MARK,
        "policy": html.escape(policy),
        "title": html.escape(title),
        "style": style,
        "script": script,
        "data": json_text(data),
    }
    # In one pass: what is filled in may itself look like a place to fill in.
    text = re.sub(r"%(mark|policy|title|style|script|data)%", lambda found: parts[found[1]], page)
    return text.encode("utf-8", "replace")  # a file's name may be no Unicode


def json_text(data: Any) -> str:
    """`data` as JSON that is safe inside of an HTML element: without <."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def write_page(path: Path, title: str, data: Any) -> int:
    """Writes the page, all of it or nothing, and returns its number of bytes. Raises FileError."""
    content = page_of(title, data)
    write_file(path, content)
    return len(content)


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}'"
