"""Downloads of exports: complete or not at all, and the key is sent to no other host."""

import os
import stat
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import pytest

from aioagents import (
    AuthenticationError,
    DecodeError,
    ForeignReply,
    NotFound,
    PermissionDenied,
    PoolClosed,
    ReplyLost,
    TransportError,
)
from aioagents.model import Reply, Request
from aioagents.providers.agent_platform import Download
from tests.fakes import FakeSend, FakeStream
from tests.polling.rig import begin, reply
from tests.providers.agent_platform.platform_rig import HELLO, URL, PlatformRig, platform_rig

_CALL = "exports.download"
_ELSEWHERE = "https://files.example.com/x?s=1"


async def _download(r: PlatformRig, url: str | None = None) -> Download:
    """Return the download of an export, at a URL of the test's if there is one."""
    job = await r.platform.tools.export(HELLO)
    waiter = await begin(job.result())
    await r.clock.advance(15)
    found: Download = await waiter
    return found if url is None else Download(url, found._calls)  # noqa: SLF001 - no call gives another URL


def _keys(r: PlatformRig) -> list[bool]:
    return ["x-api-key" in each.headers for each in r.send.calls(_CALL)]


def _names(folder: Path) -> list[str]:
    return [each.name for each in folder.iterdir()]


@pytest.mark.parametrize("as_text", [True, False])
async def test_save(tmp_path: Path, as_text: bool) -> None:
    """The file is complete when the call returns, and the key was sent to nobody."""
    async with platform_rig(("IN_PROGRESS", 5.0), "SUCCESS") as r:
        download = await _download(r)
        reported: list[tuple[int, int | None]] = []
        path = tmp_path / "tool.zip"
        path.write_bytes(b"older")
        saved = await download.save(
            str(path) if as_text else path, progress=lambda *now: reported.append(now)
        )
        assert saved == path
        with ZipFile(BytesIO(path.read_bytes())) as archive:
            assert "app_definition.json" in archive.namelist()
        assert _names(tmp_path) == ["tool.zip"]
        assert reported[-1][0] == path.stat().st_size
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~_umask()
        assert (_keys(r), r.fake.statistics()["downloads_with_key"]) == ([False], 0)
        assert r.pool.statistics().starts == 1


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("status", [401, 403])
async def test_key_for_the_platform_alone(tmp_path: Path, status: int) -> None:
    """The key is sent only if the platform's own host asks for it."""
    async with platform_rig(("IN_PROGRESS", 5.0), "SUCCESS") as r:
        download = await _download(r)
        r.answer(_CALL, Reply(status, {}, b'{"message": "no"}'))
        await download.save(tmp_path / "a.zip")
        assert _keys(r) == [False, True]
        r.answer(_CALL, *[Reply(status, {}, b'{"message": "no"}')] * 2)
        with pytest.raises((AuthenticationError, PermissionDenied)):
            await download.save(tmp_path / "b.zip")
        assert _keys(r)[2:] == [False, True]
        elsewhere = await _download(r, _ELSEWHERE)
        r.answer(_CALL, Reply(status, {}, b'{"message": "no"}'))
        with pytest.raises((AuthenticationError, PermissionDenied)):
            await elsewhere.save(tmp_path / "c.zip")
        assert _keys(r)[4:] == [False]
        assert _names(tmp_path) == ["a.zip"]


async def test_downloads_are_retried(tmp_path: Path) -> None:
    """A passing failure, also within the file, restarts the download; an existing file stays until its end."""
    async with platform_rig(("IN_PROGRESS", 5.0), "SUCCESS") as r:
        download = await _download(r)
        path = tmp_path / "tool.zip"
        path.write_bytes(b"older")
        r.answer(_CALL, ReplyLost("lost"), Reply(503))
        waiter = await begin(download.save(path))
        assert path.read_bytes() == b"older"
        await r.until(waiter)
        assert path.read_bytes()[:2] == b"PK"
        assert len(r.send.calls(_CALL)) == 3


class _CutStream(FakeStream):
    """A reply that breaks off after its first bytes."""

    _given = False

    async def __anext__(self) -> bytes:
        if self._given:
            raise ReplyLost("lost", call=self.request.call)
        self._given = True
        return (await super().__anext__())[:10]


class _CutSend(FakeSend):
    """Loses the connection in the middle of the first downloads."""

    cuts = 2

    def stream(
        self, request: Request, *, headers: Mapping[str, str], on_sent: Callable[[], None] | None = None
    ) -> FakeStream:
        stream = super().stream(request, headers=headers, on_sent=on_sent)
        if request.call != _CALL or not self.cuts:
            return stream
        self.cuts -= 1
        return _CutStream(self, stream.request, on_sent)


@pytest.mark.parametrize("cuts", [1, 4, 5])
async def test_cut_downloads(tmp_path: Path, cuts: int) -> None:
    """A download that breaks off is restarted, as often as other calls are retried."""
    async with platform_rig(("IN_PROGRESS", 5.0), "SUCCESS", send=_CutSend) as r:
        assert isinstance(r.send, _CutSend)
        r.send.cuts = cuts
        download = await _download(r)
        reported: list[int] = []
        waiter = await begin(download.save(tmp_path / "x", progress=lambda done, _: reported.append(done)))
        if cuts < 5:
            await r.until(waiter)
            assert reported[:cuts] == [10] * cuts
            assert (tmp_path / "x").stat().st_size == reported[-1] > 10
            return
        with pytest.raises(ReplyLost) as caught:
            await r.until(waiter)
        assert (caught.value.tries, _names(tmp_path)) == (5, [])


async def test_final_errors(tmp_path: Path) -> None:
    """After the last attempt no temporary file is left, and an existing file stays."""
    async with platform_rig(("IN_PROGRESS", 5.0), "SUCCESS") as r:
        download = await _download(r)
        path = tmp_path / "tool.zip"
        path.write_bytes(b"older")
        for fault, kind in (
            (Reply(404, {}, b'{"message": "no"}'), NotFound),
            (Reply(302, {"location": "/x"}), ForeignReply),
        ):
            r.answer(_CALL, *[fault] * 5)
            waiter = await begin(download.save(path))
            with pytest.raises(kind):
                await r.until(waiter)
        r.answer(_CALL, *[ReplyLost("lost")] * 5)
        waiter = await begin(download.save(path))
        with pytest.raises(TransportError) as caught:
            await r.until(waiter)
        assert (caught.value.tries, path.read_bytes()) == (5, b"older")
        assert _names(tmp_path) == ["tool.zip"]


async def test_file_that_cannot_be_written(tmp_path: Path) -> None:
    """A path that cannot be written to raises the system's error, and no temporary file is left."""
    async with platform_rig(("IN_PROGRESS", 5.0), "SUCCESS") as r:
        download = await _download(r)
        with pytest.raises(OSError, match="nowhere"):
            await download.save(tmp_path / "nowhere" / "tool.zip")
        (tmp_path / "folder").mkdir()
        with pytest.raises(OSError, match="folder"):
            await download.save(tmp_path / "folder")

        def break_off(_done: int, _whole: int | None) -> None:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await download.save(tmp_path / "tool.zip", progress=break_off)
        assert _names(tmp_path) == ["folder"]


@pytest.mark.parametrize(
    "url",
    [
        "http://files.example.com/x",
        "ftp://files.example.com/x",
        "https://",
        "https://h:0/x",
        "https://[/x",
        "javascript:alert(1)",
        "file:///etc/passwd",
    ],
)
async def test_unsafe_urls_are_not_requested(tmp_path: Path, url: str) -> None:
    """A URL in clear text over a network, or an invalid one, is refused without a request, and not shown."""
    async with platform_rig(("IN_PROGRESS", 5.0), "SUCCESS") as r:
        download = await _download(r, url)
        with pytest.raises(DecodeError, match="neither https nor") as caught:
            await download.save(tmp_path / "tool.zip")
        assert r.send.calls(_CALL) == []
        assert url not in f"{caught.value} {download!r}"


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("/api/v1/account/a b/x?s=a%20b&e=1", f"{URL}/api/v1/account/a%20b/x?s=a%20b&e=1"),
        ("https://files.example.com/grün", "https://files.example.com/gr%C3%BCn"),
        ("http://localhost:8080/x", "http://localhost:8080/x"),
    ],
)
async def test_urls_that_are_completed(tmp_path: Path, url: str, asked: str) -> None:
    """A URL without a host gets the platform's, and is encoded if it is not."""
    async with platform_rig(("IN_PROGRESS", 5.0), "SUCCESS") as r:
        download = await _download(r, url)
        r.answer(_CALL, reply(200, b"content"))
        await download.save(tmp_path / "x")
        assert r.last.url == asked
        assert (tmp_path / "x").read_bytes() == b"content"
        assert r.last.headers["accept"] == "*/*"


async def test_platform_over_http(tmp_path: Path) -> None:
    """If the platform itself is used over http by choice, its downloads are as well."""
    settings = {"base_url": "http://kore.lan", "allow_insecure": True}
    async with platform_rig("SUCCESS", settings=settings) as r:
        job = await r.platform.tools.export(HELLO)
        await (await job.result()).save(tmp_path / "x")
        assert r.last.url.startswith("http://kore.lan/api/v1/")


async def test_downloads_are_values(tmp_path: Path) -> None:
    """Two downloads of one URL are equal; a closed pool downloads nothing."""
    async with platform_rig(("IN_PROGRESS", 5.0), "SUCCESS") as r:
        download = await _download(r)
        assert download == Download(download.url, download._calls)  # noqa: SLF001
        assert download != Download("x", download._calls)  # noqa: SLF001
    with pytest.raises(PoolClosed):
        await download.save(tmp_path / "x")
    assert _names(tmp_path) == []
