"""Values as they are typed, the other way round from arguments.py: text as it is, all else in Hydra's grammar."""

import re
from collections.abc import Mapping
from typing import Any

from simgen.command.keys import Key

_WORD = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_RESERVED = ("null", "true", "false", "nan", "inf")
_TEXTS = ("text", "texts", "text or texts", "group")


def setting(keys: Mapping[str, Key], name: str, value: Any) -> str:
    """`key=value` as it is typed, but for the quotes that a shell needs, of the key that `keys` has for `name`; `name`
    itself if it has none, as of a key of another version."""
    key = keys.get(name)
    path = name if key is None else key.path
    if key is not None and key.kind in _TEXTS and value is not None:
        return f"{path}=[{','.join(value)}]" if isinstance(value, list) else f"{path}={value}"
    return f"{path}={in_grammar(value)}"


def in_grammar(value: Any) -> str:
    """The JSON value `value` in Hydra's grammar, which reads words without quotes unless they mean something else."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{','.join(map(in_grammar, value))}]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{in_grammar(item)}" for key, item in value.items()) + "}"
    if isinstance(value, str) and not (_WORD.fullmatch(value) and value.lower() not in _RESERVED):
        # A quote and the backslashes before it are escaped, also before the closing one.
        return "'" + re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), value) + "'"
    return str(value)
