"""Unpacks the bodies of replies, in bounded steps."""

import asyncio
import zlib
from collections.abc import Generator, Iterator
from typing import Final

from .head import BadReply

_STEP: Final = 128 * 1024  # bytes that are unpacked at once, which takes less than a millisecond
_GZIP: Final = b"\x1f\x8b"
_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS
_MOST_MEMBERS: Final = 64
_DEFLATE: Final = 8  # the method in the first byte of a zlib header


class TooLarge(Exception):
    """An unpacked body would have more bytes than are allowed."""


async def unpack(body: bytes, coding: str, *, most: int, is_refusal: bool, large: asyncio.Lock) -> bytes:
    """Return a body without its content coding; one that is not known, or not what the body has, is left as it is.

    What takes more than one step is done while holding `large`, and other tasks run between the steps. Raises
    `TooLarge` where it has more than `most` bytes, and `BadReply` where it is broken. Of a refusal as much is
    returned as can be read, and may be.
    """
    unpacked = bytearray()
    pieces = _pieces(body, coding)
    try:
        unpacked += next(pieces, b"")
        piece = next(pieces, None)
        if piece is not None:
            async with large:
                while piece is not None and len(unpacked) <= most:
                    unpacked += piece
                    await asyncio.sleep(0)
                    piece = next(pieces, None)
    except BadReply:
        if not is_refusal:
            raise
    if len(unpacked) > most and not is_refusal:
        raise TooLarge
    return bytes(unpacked[:most])


def _pieces(body: bytes, coding: str) -> Iterator[bytes]:
    """Yield the unpacked body in pieces of at most `_STEP` bytes. Raises `BadReply`."""
    coding = coding.lower().removeprefix("identity,").strip()
    if coding in {"gzip", "x-gzip"} and body.startswith(_GZIP):
        yield from _members(body)
    elif coding == "deflate" and body:
        has_header = body[0] & 15 == _DEFLATE and int.from_bytes(body[:2], "big") % 31 == 0
        rest = yield from _inflate(body, zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS)
        if rest:
            raise BadReply("bytes behind a deflated body")
    else:
        yield body  # servers name codings that they do not apply


def _members(body: bytes) -> Iterator[bytes]:
    """Yield what the members of a gzip file have, which may be padded with zeros."""
    for _ in range(_MOST_MEMBERS):
        if not body:
            return
        if not body.startswith(_GZIP):
            raise BadReply("bytes behind a gzip body")
        body = (yield from _inflate(body, _GZIP_WINDOW)).lstrip(b"\0")
    raise BadReply("a gzip body of too many members")


def _inflate(packed: bytes, window: int) -> Generator[bytes, None, bytes]:
    """Yield what one stream has, and return what follows it."""
    unpacker = zlib.decompressobj(window)
    try:
        while not unpacker.eof:
            piece = unpacker.decompress(packed, _STEP)
            packed = unpacker.unconsumed_tail
            if not piece and not packed and not unpacker.eof:
                raise BadReply("a body that breaks off within its coding")
            yield piece
    except zlib.error:
        raise BadReply("a body that its coding does not allow") from None
    return unpacker.unused_data
