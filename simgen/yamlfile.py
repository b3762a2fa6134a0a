"""Reads YAML files strictly: names stay text, duplicate keys are errors, and 1e-3 is a number."""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml

from simgen.errors import SceneError

_TEXT, _FLOAT, _INT, _MERGE = (f"tag:yaml.org,2002:{name}" for name in ("str", "float", "int", "merge"))


class _Loader(yaml.SafeLoader):
    """SafeLoader with the number formats of YAML 1.2: `1e-3` is a number; `010`, `1_0` and `1:30` are text."""

    as_written: Collection[str] = ()  # keys whose value is a name

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: dict[str, int] = {}
        for key, value in node.value if isinstance(node, yaml.MappingNode) else []:
            if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
                continue
            if key.value in seen:
                raise SceneError(
                    f"line {key.start_mark.line + 1}: '{key.value}' stands here and in line {seen[key.value]}; expected "
                    "each name once"
                )
            seen[key.value] = key.start_mark.line + 1
            key.tag = _TEXT
            if key.value in self.as_written:
                _name(value)
        return super().construct_mapping(node, deep)


def _name(node: Any) -> None:
    """Marks a value, or each entry of a list, as text, to be read as it is written."""
    if isinstance(node, yaml.ScalarNode):
        node.tag = _TEXT
    elif isinstance(node, yaml.SequenceNode):
        for part in node.value:
            _name(part)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in (_FLOAT, _INT)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_INT, re.compile(r"[-+]?(0|[1-9][0-9]*)$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    _FLOAT,
    re.compile(
        r"([-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$"
    ),
    list("-+0123456789."),
)


def read_yaml(path: Path, *, names: Collection[str] = ()) -> Any:
    """The content of the YAML file `path`. All keys are text, as written; so are the values of the keys in `names`. Raises
    SceneError that names the file if it cannot be read, is not YAML, or has a duplicate key."""

    class Loader(_Loader):
        as_written = names

    try:
        return yaml.load(_decoded(path.read_bytes()), Loader)
    except SceneError as error:
        raise SceneError(f"{path}: {error}") from error
    except OSError as error:
        raise SceneError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise SceneError(f"{path}: is not YAML: it is not in UTF-8; save it in that encoding") from error
    except yaml.MarkedYAMLError as error:
        raise SceneError(f"{path}: {_where(error)}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise SceneError(f"{path}: is not YAML: {' '.join(str(error).split())}") from error


def _decoded(data: bytes) -> str:
    """UTF-8 with or without a byte order mark, or UTF-16 with one, as Windows' editors write."""
    return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")


def _where(error: yaml.MarkedYAMLError) -> str:
    """The line and what is wrong in it."""
    mark, problem = error.problem_mark or error.context_mark, " ".join(str(error.problem).split())
    line = f"line {mark.line + 1}: " if mark is not None else ""
    hint = "; indent with spaces: YAML allows no tabs" if "'\\t'" in problem else ""
    return f"{line}is not YAML: {problem}{hint}"
