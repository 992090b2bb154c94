"""Heads of HTTP/1 replies: the status, the headers, and how the body will end. Pure."""

import re
from typing import Final

_STATUS_LINE: Final = re.compile(r"HTTP/1\.([0-9]) +([1-9][0-9]{2})(?: .*)?")
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LENGTH: Final = re.compile(r"[0-9]{1,18}")
_LINE_END: Final = re.compile(r"\r?\n")
_FOLD: Final = re.compile(r"\r?\n[ \t]+")
_KEEP_ALIVE: Final = re.compile(r"(?:^|[,;\s])timeout\s*=\s*\"?([0-9]{1,9})")
#: Fields that are lists, of which each line adds to the ones before. Of any other the first line counts.
_LISTS: Final = frozenset(
    {"connection", "content-encoding", "content-length", "keep-alive", "transfer-encoding"}
)
_BODILESS: Final = frozenset({204, 304})
_MOST_NAMES: Final = 1000


class BadReply(Exception):
    """What arrived is no HTTP/1 reply, or one whose end is not certain."""


class Head:
    """The head of a reply.

    The body has `length` bytes, or is chunked (`is_chunked`), or else ends with the connection. `may_be_kept` says
    whether the connection may be used again.
    """

    __slots__ = ("headers", "is_chunked", "length", "may_be_kept", "status")

    def __init__(self, status: int, headers: dict[str, str]) -> None:
        self.status = status
        self.headers = headers
        self.length: int | None = None
        self.is_chunked = False
        self.may_be_kept = False


#: The names of headers as they were received, and in lower case. Vendors use few, and spell them always alike.
_names: Final[dict[str, str]] = {}


def read_head(block: bytes | bytearray, *, is_bodiless: bool, most_headers: int) -> Head:
    """Return the head that is written in `block`, without the empty line at its end.

    `is_bodiless` says that this reply has no body whatever its headers say (one to HEAD). Raises `BadReply`.
    """
    lines = _lines(block.decode("utf-8", "surrogateescape"))
    if len(lines) - 1 > most_headers:
        raise BadReply("more headers than PoolLimits.header_lines")
    match = _STATUS_LINE.fullmatch(lines[0])
    if match is None:
        raise BadReply("no status line")
    headers: dict[str, str] = {}
    del lines[0]
    for line in lines:
        written, colon, value = line.partition(":")
        name = _names.get(written) or _new_name(written)
        if not colon:
            raise BadReply("a header without a colon")
        if name not in headers:
            headers[name] = value.strip(" \t")
        elif name in _LISTS:
            headers[name] += "," + value
    head = Head(int(match[2]), headers)
    _set_end(head, is_old=match[1] == "0", is_bodiless=is_bodiless or head.status in _BODILESS)
    return head


def seconds_kept(headers: dict[str, str]) -> float | None:
    """Return for how many seconds the server keeps an idle connection, None where it does not say so."""
    match = _KEEP_ALIVE.search(headers.get("keep-alive", "").lower())
    return None if match is None else float(match[1])


def _lines(text: str) -> list[str]:
    if "\n " in text or "\n\t" in text:
        text = _FOLD.sub(" ", text)
    lines = text.split("\r\n")
    count = len(lines) - 1
    if text.count("\n") != count or text.count("\r") != count:
        lines = _LINE_END.split(text)
        if any("\r" in line for line in lines):
            raise BadReply("a carriage return within a line")
    if "\0" in text:
        raise BadReply("a null character in the head")
    return lines


def _new_name(written: str) -> str:
    if _TOKEN.fullmatch(written) is None:
        raise BadReply("a header's name that is none")
    name = written.lower()
    if len(_names) < _MOST_NAMES:
        _names[written] = name
    return name


def _set_end(head: Head, *, is_old: bool, is_bodiless: bool) -> None:
    """Find out how the body ends (RFC 9112, section 6.3), and whether the connection may be used again."""
    headers = head.headers
    coding, length = headers.get("transfer-encoding"), headers.get("content-length")
    connection = headers.get("connection")
    if connection is None:
        head.may_be_kept = not is_old
    else:
        options = {option.strip() for option in connection.lower().split(",")}
        head.may_be_kept = "close" not in options and (not is_old or "keep-alive" in options)
    if is_bodiless:
        head.length = 0
        return
    if coding is not None:
        codings = [each.strip() for each in coding.lower().split(",")]
        if "chunked" in codings[:-1] or codings[-1] not in {"chunked", "identity"}:
            raise BadReply("a transfer coding that is not known")
        head.is_chunked = codings[-1] == "chunked"
        if length is not None or is_old:
            head.may_be_kept = (
                False  # whoever takes the length at its word sees another end: request smuggling
            )
    elif length is not None:
        lengths = {each.strip(" \t") for each in length.split(",")}
        (first, *others) = lengths
        if others or _LENGTH.fullmatch(first) is None:
            raise BadReply("a content length that is none, or several")
        head.length = int(first)
    if head.length is None and not head.is_chunked:
        head.may_be_kept = False
