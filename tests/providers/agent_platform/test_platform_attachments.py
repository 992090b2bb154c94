"""Attachments against the fake: uploaded from any source, used by runs, deleted; which calls are retried."""

import hashlib
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from aioagents import BadRequest, DecodeError, NotFound, PoolClosed, ReplyError, ReplyLost
from aioagents.contract.uploads import PIECE, file_form
from aioagents.model import Purpose, Reply, Request
from tests.polling.rig import begin, reply
from tests.providers.agent_platform.platform_rig import APP_URL, PlatformRig, platform_rig, sample

_CONTENT = bytes(range(256)) * 2000  # more than one piece
_USER = "cust-42"


async def _stream(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def _source(kind: str, folder: Path) -> Any:
    path = folder / "a.pdf"
    path.write_bytes(_CONTENT)
    return {
        "path": path,
        "text": str(path),
        "bytes": _CONTENT,
        "bytearray": bytearray(_CONTENT),
        "memoryview": memoryview(_CONTENT),
        "stream": _stream(_CONTENT[:1000], b"", _CONTENT[1000:]),
        "open file": BytesIO(_CONTENT),
    }[kind]


_KINDS = ["path", "text", "bytes", "bytearray", "memoryview", "stream", "open file"]


@pytest.mark.parametrize("kind", _KINDS)
async def test_upload(tmp_path: Path, kind: str) -> None:
    """A file from any source arrives completely, under its name, for its user."""
    async with platform_rig() as r:
        name = None if kind in {"path", "text"} else "a.pdf"
        waiter = await begin(
            r.platform.attachments.upload(_source(kind, tmp_path), user_reference=_USER, file_name=name)
        )
        found = await waiter
        (stored,) = r.fake.attachments
        assert stored.sha256 == hashlib.sha256(_CONTENT).hexdigest()
        assert (stored.name, stored.user, stored.mime_type) == ("a.pdf", _USER, "application/pdf")
        assert (found.file_id, found.size, found.extension) == (stored.id, len(_CONTENT), "pdf")
        assert found.uploaded_at is not None
        assert (r.last.method, r.last.url, r.last.purpose) == (
            "POST",
            f"{APP_URL}/attachments/upload",
            Purpose.CALL,
        )
        assert r.last.headers["x-api-key"] == "demo-app-key"
        assert "a.pdf" not in repr(found)


async def test_forms() -> None:
    """The size of a form is exact if that of its file is known; a form can be read as often as its file."""
    form = file_form({"a": "ü"}, "b.pdf", lambda: _stream(b"12", b"345"), size=5)
    for _ in range(2):
        body = b"".join([piece async for piece in form.body.open()])
        assert (len(body), body.count(b"12345")) == (form.body.size, 1)
    unsized = file_form({}, "b.pdf", lambda: _stream(b"12345"), size=None, is_once=True)
    assert (unsized.body.size, unsized.body.is_once, form.body.is_once) == (None, True, False)
    assert b"Content-Type: application/pdf" in body
    odd = file_form({}, "b.unknown-kind", lambda: _stream(b""), size=0)
    assert b"application/octet-stream" in b"".join([piece async for piece in odd.body.open()])


@pytest.mark.parametrize("name", ['a"b\r\nc.pdf', "grün ✓.pdf", "a b;c=d.pdf", "%22.pdf"])
async def test_odd_names(name: str) -> None:
    """No character of a name can end its header; names arrive as browsers send them."""
    async with platform_rig() as r:
        await r.platform.attachments.upload(b"x", user_reference='u"\r\n1', file_name=name)
        (stored,) = r.fake.attachments
        assert stored.name == name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
        assert stored.user == 'u"\r\n1'
        assert (r.last.body or b"").count(b"Content-Disposition") == 3


async def test_boundaries_differ() -> None:
    """Each form has a boundary of its own that cannot be guessed."""
    async with platform_rig() as r:
        for _ in range(5):
            await r.platform.attachments.upload(b"x", user_reference=_USER, file_name="a.pdf")
        assert len({request.headers["content-type"] for request in r.send.sent}) == 5


@pytest.mark.parametrize("kind", _KINDS)
async def test_lost_answer(tmp_path: Path, kind: str) -> None:
    """After a lost answer a file that can be read again is sent again; for a stream the error is raised."""
    async with platform_rig() as r:
        r.answer("attachments.upload", ReplyLost("lost"))
        waiter = await begin(
            r.platform.attachments.upload(_source(kind, tmp_path), user_reference=_USER, file_name="a.pdf")
        )
        if kind in {"stream", "open file"}:
            with pytest.raises(ReplyLost):
                await r.until(waiter)
            assert len(r.send.sent) == 1
            return
        await r.until(waiter)
        assert len(r.send.sent) == 2
        assert r.fake.attachments[0].sha256 == hashlib.sha256(_CONTENT).hexdigest()


async def test_source_that_breaks() -> None:
    """The upload raises what its stream raises, and nothing is stored."""

    async def breaking() -> AsyncIterator[bytes]:
        yield b"x"
        raise ZeroDivisionError

    async with platform_rig() as r:
        with pytest.raises(ZeroDivisionError):
            await r.platform.attachments.upload(breaking(), user_reference=_USER, file_name="a.pdf")
        assert r.fake.attachments == []


async def test_file_that_shrinks(tmp_path: Path) -> None:
    """A file that became shorter than its declared size is not stored as complete."""
    path = tmp_path / "a.pdf"
    path.write_bytes(b"x" * (3 * PIECE))
    async with platform_rig() as r:

        def cut(request: Request) -> Reply | None:
            path.write_bytes(b"x" * PIECE)
            return Reply(503)

        r.send.before = cut
        waiter = await begin(r.platform.attachments.upload(path, user_reference=_USER))
        with pytest.raises(ValueError, match="upload of"):
            await r.until(waiter)
        assert r.fake.attachments == []


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"user_reference": ""}, ValueError, "user_reference"),
        ({"file": b"x", "file_name": None}, ValueError, "file_name"),
        ({"file": b"x", "file_name": " "}, ValueError, "file_name"),
        ({"file": 7}, TypeError, "expected a path"),
        ({"file": None}, TypeError, "expected a path"),
        ({"file": "/no/such/file.pdf"}, FileNotFoundError, "file.pdf"),
        ({"file": "/"}, ValueError, "no regular file"),
    ],
)
async def test_invalid_uploads(options: dict[str, Any], error: type[Exception], message: str) -> None:
    """Invalid uploads are refused before anything is sent."""
    async with platform_rig() as r:
        given = {"file": b"x", "file_name": "a.pdf", "user_reference": _USER, **options}
        with pytest.raises(error, match=message):
            await r.platform.attachments.upload(given.pop("file"), **given)
        assert r.send.sent == []


async def test_refused_upload() -> None:
    """A file that the platform refuses raises its refusal."""
    async with platform_rig() as r:
        with pytest.raises(BadRequest):
            await r.platform.attachments.upload(b"x", user_reference=_USER, file_name="a.exe")
        r.answer("attachments.upload", reply(200, b'{"fileName": "a.pdf"}'))
        with pytest.raises(DecodeError) as caught:
            await r.platform.attachments.upload(b"x", user_reference=_USER, file_name="a.pdf")
        assert caught.value.path == "$.fileId"
        r.answer("attachments.upload", sample("attachments_upload/200-pdf"))
        found = await r.platform.attachments.upload(b"x", user_reference=_USER, file_name="a.pdf")
        assert (found.file_id, found.size, found.path) == ("f-demo", 62996, "AppFileSystem/f-demo.pdf")


# Deleted


async def _uploaded(r: PlatformRig) -> str:
    return (await r.platform.attachments.upload(b"x", user_reference=_USER, file_name="a.pdf")).file_id


async def test_delete() -> None:
    """A file is deleted by its id; the session, if given, is named by the members of this call."""
    async with platform_rig() as r:
        first, second = await _uploaded(r), await _uploaded(r)
        await r.platform.attachments.delete(first)
        assert (r.last.method, r.last.url, r.last.body) == ("DELETE", f"{APP_URL}/attachments/{first}", None)
        session = await r.platform.sessions.create(session_reference=_USER)
        await r.platform.attachments.delete(second, session_id=session.session_id, session_reference=_USER)
        assert r.body == {"sessionId": session.session_id, "sessionReference": _USER}
        assert r.fake.attachments == []
        with pytest.raises(NotFound):
            await r.platform.attachments.delete(first)
        with pytest.raises(ValueError, match="file_id"):
            await r.platform.attachments.delete("")
        with pytest.raises(ValueError, match="session_id"):
            await r.platform.attachments.delete("f-1", session_id="")


async def test_delete_whose_answer_was_lost() -> None:
    """A file that an earlier attempt deleted counts as deleted: NotFound is no error then."""
    async with platform_rig() as r:
        file = await _uploaded(r)

        def lose(request: Request, answer: Reply) -> Reply:
            if r.calls.count("attachments.delete") == 1 and request.call == "attachments.delete":
                raise ReplyLost("lost")
            return answer

        r.send.after = lose
        waiter = await begin(r.platform.attachments.delete(file))
        await r.until(waiter)
        assert r.fake.attachments == []


async def test_answers_to_a_deletion() -> None:
    """`success` is a string in the vendor's sample; "false" is an error, an empty answer is success."""
    async with platform_rig() as r:
        r.answer("attachments.delete", sample("attachments_delete/200-deleted"), Reply(204))
        await r.platform.attachments.delete("f-demo")
        await r.platform.attachments.delete("f-demo")
        r.answer("attachments.delete", sample("attachments_delete/200-not-deleted"))
        with pytest.raises(ReplyError, match="nothing was deleted") as caught:
            await r.platform.attachments.delete("f-demo")
        assert caught.value.detail == "it is in use"


async def test_closed_pool() -> None:
    """A closed pool sends nothing."""
    async with platform_rig() as r:
        pass
    with pytest.raises(PoolClosed):
        await r.platform.attachments.upload(b"x", user_reference=_USER, file_name="a.pdf")
    with pytest.raises(PoolClosed):
        await r.platform.attachments.delete("f-1")
