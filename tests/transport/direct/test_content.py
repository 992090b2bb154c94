"""Bodies that were packed for the way, as servers do it, rightly and wrongly."""

import asyncio
import gzip
import tracemalloc
import zlib

import pytest

from aioagents.transport.direct import content
from aioagents.transport.direct.content import TooLarge
from aioagents.transport.direct.head import BadReply

BODY = b'{"status": "completed"}' * 20


async def unpack(body: bytes, coding: str, *, most: int, is_refusal: bool) -> bytes:
    """Unpack, with nobody else at it."""
    return await content.unpack(body, coding, most=most, is_refusal=is_refusal, large=asyncio.Lock())


def packed_gzip(body: bytes) -> bytes:
    """Return a body in gzip's form, always the same bytes."""
    return gzip.compress(body, mtime=0)


def raw_deflate(body: bytes) -> bytes:
    """Return a deflated body without zlib's header, as some servers send it."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


@pytest.mark.parametrize(
    ("coding", "packed"),
    [
        ("gzip", packed_gzip(BODY)),
        ("GZIP", packed_gzip(BODY)),
        ("x-gzip", packed_gzip(BODY)),
        ("identity, gzip", packed_gzip(BODY)),
        ("gzip", packed_gzip(BODY) + bytes(512)),
        ("gzip", packed_gzip(BODY[:7]) + packed_gzip(BODY[7:])),
        ("gzip", packed_gzip(BODY[:7]) + bytes(3) + packed_gzip(BODY[7:]) + bytes(3)),
        ("gzip", BODY),
        ("deflate", zlib.compress(BODY)),
        ("deflate", raw_deflate(BODY)),
        ("identity", BODY),
        ("", BODY),
        ("br", BODY),
        ("gzip, gzip", BODY),
    ],
)
async def test_bodies_are_unpacked(coding: str, packed: bytes) -> None:
    """Codings are undone in all their spellings; one that is not known, or was not applied, is passed over."""
    assert await unpack(packed, coding, most=len(BODY), is_refusal=False) == BODY
    with pytest.raises(TooLarge):
        await unpack(packed, coding, most=len(BODY) - 1, is_refusal=False)
    assert await unpack(packed, coding, most=9, is_refusal=True) == BODY[:9]


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_an_empty_body_is_empty(coding: str) -> None:
    """A body without bytes is one whatever its coding."""
    assert await unpack(b"", coding, most=9, is_refusal=False) == b""


@pytest.mark.parametrize(
    ("coding", "packed", "readable"),
    [
        ("gzip", packed_gzip(BODY)[:-8], BODY),
        ("gzip", packed_gzip(BODY)[:12], b""),
        ("gzip", packed_gzip(BODY)[:-8] + bytes(8), b""),
        ("gzip", packed_gzip(BODY) + b"x", BODY),
        ("gzip", packed_gzip(b"") * 65, b""),
        ("gzip", b"\x1f\x8bhunter2", b""),
        ("deflate", zlib.compress(BODY)[:9], b""),
        ("deflate", zlib.compress(BODY) + b"x", BODY),
        ("deflate", BODY, b""),
    ],
)
async def test_broken_bodies(coding: str, packed: bytes, readable: bytes) -> None:
    """A body that is cut, damaged or followed by others is none; of a refusal as much is read as can be."""
    with pytest.raises(BadReply):
        await unpack(packed, coding, most=10_000, is_refusal=False)
    found = await unpack(packed, coding, most=10_000, is_refusal=True)
    assert BODY.startswith(found)
    assert found.startswith(readable)


async def test_unpacking_is_bounded() -> None:
    """A small body that unpacks to fifty megabytes costs no more memory than is allowed."""
    packed = packed_gzip(bytes(50_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            await unpack(packed, "gzip", most=1_000_000, is_refusal=False)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


async def test_others_run_while_a_body_is_unpacked() -> None:
    """The loop is held for one step at a time."""
    steps = 0

    async def count() -> None:
        nonlocal steps
        while True:
            steps += 1
            await asyncio.sleep(0)

    counting = asyncio.ensure_future(count())
    await unpack(packed_gzip(bytes(10_000_000)), "gzip", most=10_000_000, is_refusal=False)
    counting.cancel()
    assert steps > 50


async def test_one_large_body_at_a_time() -> None:
    """Many bodies that unpack to much are unpacked one after the other, and small ones meanwhile."""
    large = asyncio.Lock()
    bomb = packed_gzip(bytes(50_000_000))

    async def explode() -> None:
        with pytest.raises(TooLarge):
            await content.unpack(bomb, "gzip", most=2_000_000, is_refusal=False, large=large)

    tracemalloc.start()
    try:
        tasks = [asyncio.ensure_future(explode()) for _ in range(20)]
        await asyncio.sleep(0)
        assert (
            await content.unpack(packed_gzip(BODY), "gzip", most=999, is_refusal=False, large=large) == BODY
        )
        assert not any(task.done() for task in tasks)
        await asyncio.gather(*tasks)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
