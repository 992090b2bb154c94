"""AGH Runtime: prompts of triggers, which may be Go templates, checked before they are sent. Pure.

A template that the server cannot read is a 400 on create and a 500 on change (AGH automation API, sections 5.9 and
10.4). Everything refused here is refused there, but not vice versa.
"""

import re
from typing import Final

_FIELDS: Final = ("Kind", "Scope", "WorkspaceID", "Source", "Data")
_OPENING: Final = frozenset({"if", "range", "with", "define", "block"})
#: Blocks in which the dot, and so the object that fields belong to, is another one.
_REBINDING: Final = frozenset({"range", "with", "define", "block"})
_FUNCTIONS: Final = frozenset(
    {"and", "call", "eq", "ge", "gt", "html", "index", "js", "le", "len", "lt", "ne", "not", "or"}
    | {"print", "printf", "println", "slice", "urlquery"}
)
_WORDS: Final = (
    _OPENING | _FUNCTIONS | {"break", "continue", "else", "end", "false", "nil", "template", "true"}
)
_TOKEN: Final = re.compile(
    r"""
    (?P<close>\s-\}\}|\}\}) | (?P<space>\s+)
    | (?P<text>"(?:[^"\\\n]|\\.)*" | `[^`]*` | '(?:[^'\\\n]|\\.)+')
    | (?P<number>\.?[0-9][\w.]*)
    | (?P<chain>(?<![\w)$])\.[^\W\d]\w*(?:\.\w+)*) | (?P<tail>\.\w+)
    | (?P<variable>\$\w*) | (?P<word>[^\W\d]\w*) | (?P<other>.)
    """,
    flags=re.VERBOSE | re.DOTALL,
)
_COMMENT: Final = re.compile(r"(?:-\s)?\s*/\*.*?\*/\s*(?:\s-)?\}\}", flags=re.DOTALL)


def check_template(text: str) -> None:
    """Raise ValueError, which says what is wrong, for a prompt that the server cannot read."""
    blocks: list[str] = []
    position = text.find("{{")
    while position >= 0:
        position = _read_action(text, position + 2, blocks)
        position = text.find("{{", position)
    if blocks:
        raise ValueError(f"the template's {blocks[-1]!r} has no end")


def _read_action(text: str, position: int, blocks: list[str]) -> int:
    """Read one action, which begins after its braces, and return where it ends."""
    if (comment := _COMMENT.match(text, position)) is not None:
        return comment.end()
    words: list[str] = []
    fields: list[str] = []
    while (token := _TOKEN.match(text, position)) is not None:
        position = token.end()
        kind, written = token.lastgroup, token.group()
        if kind == "close":
            _check_fields(fields, blocks)
            _check_words(words, blocks)
            return position
        if kind == "word":
            words.append(written)
        elif kind == "chain":
            fields.append(written)
        elif kind == "other" and written in "\"'`":
            raise ValueError("a text in the template has no end")
    raise ValueError("an action of the template, begun with {{, has no end")


def _check_fields(fields: list[str], blocks: list[str]) -> None:
    if _REBINDING & set(blocks):
        return
    for field in fields:
        root, *rest = field.split(".")[1:]
        if root not in _FIELDS:
            names = ", ".join(f".{name}" for name in _FIELDS)
            raise ValueError(f"the template asks for .{root}, and there are {names}")
        if rest and root != "Data":
            raise ValueError(f"the template asks for {field}, and .{root} has no members")


def _check_words(words: list[str], blocks: list[str]) -> None:
    unknown = [word for word in words if word not in _WORDS]
    if unknown:
        raise ValueError(f"the template calls {unknown[0]!r}, which is not a function of the server")
    if not words:
        return
    if words[0] in _OPENING:
        blocks.append(words[0])
    elif words[0] in {"else", "end"} and not blocks:
        raise ValueError(f"the template has an {words[0]!r} without a block")
    elif words[0] == "end":
        blocks.pop()
