"""Prompts of triggers, which may be Go templates: how the server checks them. Pure.

A template is not rendered; only whether it can be read is checked, and which fields of the event's data it uses.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

_ROOTS: Final = frozenset({"Kind", "Scope", "WorkspaceID", "Source", "Data"})
_BLOCKS: Final = frozenset({"if", "range", "with", "define", "block"})
_WORDS: Final = _BLOCKS | frozenset(
    "else end template break continue and call eq ge gt html index js le len lt ne not or print printf println "  # noqa: SIM905
    "slice urlquery true false nil".split()
)
_ACTION: Final = re.compile(r"""\{\{((?:"(?:[^"\\\n]|\\.)*"|`[^`]*`|(?!\}\}).)*?)\}\}""", flags=re.DOTALL)
_TEXT: Final = re.compile(r'"(?:[^"\\\n]|\\.)*"|`[^`]*`')
_FIELD: Final = re.compile(r"(?<![\w$.)])\.[A-Za-z_]\w*(?:\.\w+)*")
_INDEX: Final = re.compile(r"\bindex\s+(\S+)")
_WORD: Final = re.compile(r"(?<![\w$.])[A-Za-z_]\w*")


def check_template(text: str) -> None:
    """Raise ValueError for a prompt that cannot be read."""
    for depth, fields in _read(text):
        for field in fields if depth == 0 else ():
            root, *rest = field
            if root not in _ROOTS or (rest and root != "Data"):
                raise ValueError(f"an event has no .{'.'.join(field)}")


def missing_field(text: str, data: Mapping[str, Any]) -> str | None:
    """Return a field that a prompt uses unconditionally and that the data lacks; None where there is none."""
    for depth, fields in _read(text):
        for field in fields if depth == 0 else ():
            value: Any = {"Data": data}
            for name in field if field[0] == "Data" else ():
                if not isinstance(value, Mapping) or name not in value:
                    return "." + ".".join(field)
                value = value[name]
    return None


def _read(text: str) -> Sequence[tuple[int, Sequence[Sequence[str]]]]:
    """Return for each action how deep in blocks it is, and the fields that it names. Raises ValueError."""
    blocks: list[str] = []
    read: list[tuple[int, Sequence[Sequence[str]]]] = []
    if "{{" in _ACTION.sub("", text):
        raise ValueError("a template's action has no end")
    for action in _ACTION.finditer(text):
        inner = action[1].removeprefix("-").removesuffix("-").strip()
        if inner.startswith("/*") and inner.endswith("*/"):
            continue
        inner = _TEXT.sub('""', inner)
        words = _WORD.findall(inner)
        if not inner or not _WORDS.issuperset(words) or inner.count("(") != inner.count(")"):
            raise ValueError("a template's action cannot be read")
        if not blocks and any(not target.startswith(".Data") for target in _INDEX.findall(inner)):
            raise ValueError("a template can index only .Data")
        fields = [field.group()[1:].split(".") for field in _FIELD.finditer(inner)]
        first = words[0] if words and inner.startswith(words[0]) else ""
        if first in {"end", "else"} and not blocks:
            raise ValueError(f"a template's {first} has no block")
        if first == "end":
            blocks.pop()
        read.append((len(blocks), fields))
        if first in _BLOCKS:
            blocks.append(first)
    if blocks:
        raise ValueError(f"a template's {blocks[-1]} has no end")
    return read
