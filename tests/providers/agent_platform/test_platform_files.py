"""Files of the account against the fake: in one call or in chunks, each retried by itself, with progress."""

import hashlib
import tempfile
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioagents import BadRequest, Conflict, DecodeError, NotFound, NotSent, PoolClosed, ReplyLost
from aioagents.codec import decode_json
from aioagents.contract.uploads import PIECE, open_upload
from aioagents.model import Purpose, Reply, Request
from aioagents.providers.agent_platform import CHUNK, ONE_CALL
from tests.polling.rig import begin, reply
from tests.providers.agent_platform.platform_rig import TOOLS_URL, PlatformRig, platform_rig, sample

_MB = 1_000_000


def _sparse(folder: Path, size: int, name: str = "a.json") -> Path:
    """Create a file of this size that takes no room on the disk."""
    path = folder / name
    with path.open("wb") as file:
        file.truncate(size)
    return path


async def _pieces(size: int, piece: int = 70_000) -> AsyncIterator[bytes]:
    for at in range(0, size, piece):
        yield b"x" * min(piece, size - at)


# In one call


async def test_small_file() -> None:
    """A small file is uploaded in one call, with its context, and gets an id."""
    async with platform_rig() as r:
        sent: list[tuple[int, int]] = []
        found = await r.platform.files.upload(
            b"content", file_name="a.json", progress=lambda *now: sent.append(now)
        )
        assert (r.last.url, r.last.purpose, r.calls) == (f"{TOOLS_URL}/files", Purpose.CALL, ["files.upload"])
        (stored,) = r.fake.files
        assert (found.file_id, found.file_name, found.size) == (stored.id, "a.json", 7)
        assert (stored.context, stored.sha256) == ("bulkImport", hashlib.sha256(b"content").hexdigest())
        assert found.url.startswith("http")
        assert "s=" not in repr(found)
        assert sent == [(0, 7), (7, 7)]
        await r.platform.files.upload(b"", file_name="b.json", context="dataset")
        assert r.fake.files[1].context == "dataset"


@pytest.mark.parametrize(
    ("size", "is_chunked"), [(ONE_CALL - 1, False), (ONE_CALL, False), (ONE_CALL + 1, True)]
)
async def test_where_chunks_begin(tmp_path: Path, size: int, is_chunked: bool) -> None:
    """At most 25,000,000 bytes are uploaded in one call."""
    async with platform_rig() as r:
        await r.platform.files.upload(_sparse(tmp_path, size))
        assert ("files.upload" not in r.calls) == is_chunked
        (stored,) = r.fake.files
        assert (stored.size, stored.chunks) == (size, 3 if is_chunked else 0)


# In chunks


@pytest.mark.parametrize("kind", ["path", "stream", "open file", "bytes"])
async def test_large_file(tmp_path: Path, kind: str) -> None:
    """A large file from any source is uploaded in chunks in order, and arrives completely."""
    size = 26 * _MB
    content = b"x" * size
    path = tmp_path / "tool.json"
    path.write_bytes(content)
    sources: dict[str, Any] = {
        "path": path,
        "stream": _pieces(size),
        "open file": BytesIO(content),
        "bytes": content,
    }
    async with platform_rig() as r:
        sent: list[tuple[int, int]] = []
        found = await r.platform.files.upload(
            sources[kind], file_name="tool.json", progress=lambda *now: sent.append(now)
        )
        start, *chunks, complete = r.send.sent
        assert (start.method, start.url, start.purpose) == (
            "POST",
            f"{TOOLS_URL}/files/session/start",
            Purpose.CALL,
        )
        assert decode_json(start.body or b"") == {
            "fileContext": "bulkImport",
            "totalChunks": 3,
            "fileExtension": "json",
            "fileName": "tool.json",
            "fileSize": size,
        }
        assert [
            b'name="chunkNumber"\r\n\r\n%d\r\n' % n in (each.body or b"") for n, each in enumerate(chunks)
        ] == [True] * 3
        assert len({each.url for each in chunks}) == 1
        assert complete.url == f"{chunks[0].url}/complete"
        assert (complete.body, complete.purpose) == (None, Purpose.CALL)
        (stored,) = r.fake.files
        assert (stored.id, stored.sha256) == (found.file_id, hashlib.sha256(content).hexdigest())
        assert (sent[0], sent[-1]) == ((0, size), (size, size))
        assert sent == sorted(set(sent))
        assert len(sent) > size // PIECE


async def test_size_of_chunks(tmp_path: Path) -> None:
    """Chunks have the requested size; the last one has the rest."""
    async with platform_rig() as r:
        await r.platform.files.upload(_sparse(tmp_path, 30 * _MB), chunk_bytes=ONE_CALL)
        assert r.calls.count("files.chunk") == 2
        await r.platform.files.upload(_sparse(tmp_path, 30 * _MB))
        assert r.calls.count("files.chunk") == 5
        assert CHUNK == 10 * _MB


@pytest.mark.parametrize(
    "fault",
    [ReplyLost("lost"), Reply(500), Reply(503), NotSent("no"), Reply(429, {"retry-after": "1"})],
    ids=str,
)
@pytest.mark.parametrize("call", ["files.start", "files.chunk", "files.complete"])
async def test_each_step_is_retried_by_itself(tmp_path: Path, call: str, fault: Any) -> None:
    """A step that fails for a passing reason is retried, and no other one."""
    async with platform_rig() as r:
        path = _sparse(tmp_path, 26 * _MB)
        r.answer(call, fault)
        sent: list[int] = []
        waiter = await begin(r.platform.files.upload(path, progress=lambda done, _: sent.append(done)))
        assert (await r.until(waiter)).size == 26 * _MB
        assert {each: r.calls.count(each) for each in set(r.calls)} == {
            "files.start": 1,
            "files.chunk": 3,
            "files.complete": 1,
        } | {call: 4 if call == "files.chunk" else 2}
        assert sent == sorted(set(sent))


def _lose_first(r: PlatformRig, call: str) -> None:
    """Lose the first answer of a call after the server has acted upon the request."""
    lost: list[str] = []

    def lose(request: Request, answer: Reply) -> Reply:
        if request.call == call and not lost:
            lost.append(call)
            raise ReplyLost("lost")
        return answer

    r.send.after = lose


@pytest.mark.parametrize("takes_again", [True, False])
async def test_chunk_whose_answer_was_lost(tmp_path: Path, takes_again: bool) -> None:
    """A chunk is sent again after its answer was lost; that the first one had arrived does no harm."""
    async with platform_rig(rules={"chunk_again": takes_again}) as r:
        _lose_first(r, "files.chunk")
        waiter = await begin(r.platform.files.upload(_sparse(tmp_path, 26 * _MB)))
        assert (await r.until(waiter)).file_id == r.fake.files[0].id
        assert r.calls.count("files.chunk") == 4
        assert r.fake.statistics().get("refused_409", 0) == (not takes_again)


async def test_last_step_whose_answer_was_lost(tmp_path: Path) -> None:
    """If the last step's answer was lost, its retry raises `NotFound`, and the file's id is unknown."""
    async with platform_rig() as r:
        _lose_first(r, "files.complete")
        waiter = await begin(r.platform.files.upload(_sparse(tmp_path, 26 * _MB)))
        with pytest.raises(NotFound) as caught:
            await r.until(waiter)
        assert (caught.value.call, caught.value.tries) == ("files.complete", 2)


async def test_refusals(tmp_path: Path) -> None:
    """A refusal of any step ends the upload."""
    async with platform_rig() as r:
        path = _sparse(tmp_path, 26 * _MB)
        r.answer("files.chunk", Reply(409, {}, b'{"message": "no"}'))
        with pytest.raises(Conflict):
            await r.platform.files.upload(path)
        assert r.calls == ["files.start", "files.chunk"]
        with pytest.raises(BadRequest):
            await r.platform.files.upload(b"x", file_name="a.exe")


async def test_step_that_fails_for_good(tmp_path: Path) -> None:
    """After the last attempt of a chunk the upload raises its error."""
    async with platform_rig() as r:
        r.answer("files.chunk", *[ReplyLost("lost")] * 5)
        waiter = await begin(r.platform.files.upload(_sparse(tmp_path, 26 * _MB)))
        with pytest.raises(ReplyLost) as caught:
            await r.until(waiter)
        assert (caught.value.tries, r.calls.count("files.complete")) == (5, 0)


async def test_progress_that_breaks() -> None:
    """An exception of the callback ends the upload."""

    def break_off(_done: int, _whole: int) -> None:
        raise ZeroDivisionError

    async with platform_rig() as r:
        with pytest.raises(ZeroDivisionError):
            await r.platform.files.upload(b"x", file_name="a.json", progress=break_off)
        assert r.fake.files == []


@pytest.mark.parametrize(
    ("call", "body", "path"),
    [
        ("files.start", b"{}", "$.sessionId"),
        ("files.start", b'{"sessionId": " "}', "$.sessionId"),
        ("files.complete", b'{"url": "x"}', "$.fileId"),
        ("files.complete", b"[]", "$"),
    ],
)
async def test_answers_that_cannot_be_read(tmp_path: Path, call: str, body: bytes, path: str) -> None:
    """An answer of the wrong shape ends the upload with an error that has the path."""
    async with platform_rig() as r:
        r.answer(call, reply(200, body))
        with pytest.raises(DecodeError) as caught:
            await r.platform.files.upload(_sparse(tmp_path, 26 * _MB))
        assert (caught.value.call, caught.value.path) == (call, path)


async def test_answers_as_sampled() -> None:
    """The vendor's samples are read: an upload session, a chunk's number as a string, a file."""
    async with platform_rig() as r:
        r.answer("files.start", sample("files_start/200-model"))
        r.answer("files.chunk", sample("files_chunk/200-text"))
        r.answer("files.complete", sample("models_import/200-says-export"))
        job = await r.platform.models.import_(b"x", file_name="m.tar")
        assert (job.id, r.send.sent[1].url) == (
            "ds-demo",
            f"{TOOLS_URL}/files/session/14aa0000-0000-4000-8000-000000000001",
        )
        r.answer("files.upload", sample("files_upload/200-wav"))
        found = await r.platform.files.upload(b"x", file_name="a.wav")
        assert (found.file_id, "s=sig" in found.url) == ("65f0aa00bb11cc22dd33ee44", True)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"context": ""}, ValueError, "context"),
        ({"file_name": None}, ValueError, "file_name"),
        ({"chunk_bytes": 0}, ValueError, "chunk_bytes"),
        ({"chunk_bytes": 25_000_001}, ValueError, "chunk_bytes"),
        ({"chunk_bytes": 1.5}, ValueError, "chunk_bytes"),
        ({"chunk_bytes": True}, ValueError, "chunk_bytes"),
        ({"file": object()}, TypeError, "expected a path"),
    ],
)
async def test_invalid_uploads(options: dict[str, Any], error: type[Exception], message: str) -> None:
    """Invalid uploads are refused before anything is sent."""
    async with platform_rig() as r:
        given: dict[str, Any] = {"file": b"x", "file_name": "a.json", **options}
        with pytest.raises(error, match=message):
            await r.platform.files.upload(given.pop("file"), **given)
        assert r.send.sent == []


async def test_streams_that_yield_no_bytes() -> None:
    """A stream of strings is refused at its first item."""

    async def texts() -> AsyncIterator[Any]:
        yield "text"

    async with platform_rig() as r:
        with pytest.raises(TypeError, match="yields bytes, not str"):
            await r.platform.files.upload(texts(), file_name="a.json")
        assert r.send.sent == []


async def test_large_file_without_an_extension(tmp_path: Path) -> None:
    """A file that is uploaded in chunks needs an extension, since the platform does."""
    async with platform_rig() as r:
        with pytest.raises(ValueError, match="extension"):
            await r.platform.files.upload(_sparse(tmp_path, 26 * _MB, "tool"))
        assert r.send.sent == []


async def test_closed_pool() -> None:
    """A closed pool sends nothing, and does not read a stream in vain."""
    async with platform_rig() as r:
        pass
    pieces = _pieces(10)
    with pytest.raises(PoolClosed):
        await r.platform.files.upload(pieces, file_name="a.json")
    assert [each async for each in pieces] == [b"x" * 10]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 3 * PIECE),
    st.integers(0, 3 * PIECE),
    st.integers(0, 3 * PIECE),
    st.sampled_from(["bytes", "path", "stream"]),
)
async def test_any_part_of_any_source(size: int, start: int, length: int, kind: str) -> None:
    """Each part of any source is the right one, in small pieces, as often as it is read."""
    content = bytes(n % 251 for n in range(251)) * (size // 251 + 1)
    content = content[:size]
    start = min(start, size)
    length = min(length, size - start)

    async def stream() -> AsyncIterator[bytes]:
        for at in range(0, size, 100_000):
            yield content[at : at + 100_000]

    async def check(what: Any, name: str | None) -> None:
        async with open_upload(what, name, is_spooled=True) as source:
            assert (source.size, source.is_once) == (size, False)
            for _ in range(2):
                pieces = [piece async for piece in source.open(start, length)]
                assert b"".join(pieces) == content[start : start + length]
                assert all(0 < len(piece) <= PIECE for piece in pieces)

    if kind == "path":
        with tempfile.NamedTemporaryFile(suffix=".json") as file:
            file.write(content)
            file.flush()
            await check(file.name, None)
    else:
        await check(content if kind == "bytes" else stream(), "a.json")
