"""Memory used by uploads and downloads, measured in a separate process, over sockets."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from anyio.to_thread import run_sync

_SIZE = 200_000_000
_MOST = 40 * 1024 * 1024
_STATUS = Path("/proc/self/status")

#: Uploads a small file first, so that everything is loaded; then a large one, and prints by how much memory peaked.
_PROGRAM = """
import asyncio, json, re, sys
from pathlib import Path
from aioagents import AgentPlatform, SessionPool

def memory(name):
    return int(re.search(name + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024

async def stream(path):
    with open(path, "rb") as file:
        while piece := file.read(100_000):
            yield piece

async def main(url, kind, path):
    async with SessionPool() as pool:
        platform = AgentPlatform(
            pool, base_url=url, app_id="a", environment="e", app_key="k", tools_key="t"
        )
        progress = []
        await platform.files.upload(b"x" * 1_000_000, file_name="a.bin")
        before = memory("VmRSS")
        if kind == "download":
            job = await platform.tools.export("t")
            await (await job.result()).save(path)
        else:
            what = path if kind == "path" else stream(path)
            report = lambda done, whole: progress.append((done, whole))
            await platform.files.upload(what, file_name="a.bin", progress=report)
        print(json.dumps({"grew": memory("VmHWM") - before, "progress": progress[-1:], "steps": len(progress)}))

asyncio.run(main(*sys.argv[1:]))
"""


class _Server:
    """Accepts uploads, of which it keeps only size and hash, and serves one large download."""

    def __init__(self) -> None:
        self.url = ""
        self.calls: list[str] = []
        self.largest = 0
        self.received = 0
        self.digest = sha256()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        path = request.path.removeprefix("/api/public").strip("/")
        self.calls.append(path)
        if path == "file":
            return await self._give(request)
        if path == "files/session/s-1":
            self._take_file(await request.read())
        return web.json_response(
            {
                "sessionId": "s-1",
                "fileId": "f-1",
                "dockStatusId": "ds-1",
                "status": "SUCCESS",
                "response": {"downloadUrl": f"{self.url}/file"},
            }
        )

    def _take_file(self, body: bytes) -> None:
        """Cut the file out of a form whose last part it is."""
        begin = body.index(b"\r\n\r\n", body.index(b'name="file"')) + 4
        file = memoryview(body)[begin : body.rindex(b"\r\n--", 0, -2)]
        self.largest = max(self.largest, len(file))
        self.received += len(file)
        self.digest.update(file)

    async def _give(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-length": str(_SIZE)})
        await response.prepare(request)
        piece = bytes(1_000_000)
        for _ in range(_SIZE // len(piece)):
            await response.write(piece)
        return response


@asynccontextmanager
async def _server() -> AsyncIterator[_Server]:
    server = _Server()
    app = web.Application(client_max_size=0)
    app.router.add_route("*", "/{path:.*}", server.serve)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield server
    finally:
        await runner.cleanup()


async def _run(url: str, kind: str, path: Path) -> Any:
    done = await run_sync(
        lambda: subprocess.run(
            [sys.executable, "-W", "error", "-c", _PROGRAM, url, kind, str(path)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.skipif(
    not _STATUS.exists(), reason="the path of a process's memory figures depends on the system"
)
@pytest.mark.parametrize("kind", ["path", "stream"])
async def test_large_upload_takes_little_memory(tmp_path: Path, kind: str) -> None:
    """A file of 200 MB is uploaded in chunks of 10 MB, completely, with less than 40 MB of memory."""
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        file.truncate(_SIZE)
    async with _server() as server:
        measured = await _run(server.url, kind, path)
        assert server.calls.count("files/session/s-1") == 20
        assert (server.received, server.largest) == (_SIZE, 10_000_000)
        assert server.digest.digest() == await asyncio.to_thread(_digest_of_nothing)
    assert measured["progress"] == [[_SIZE, _SIZE]]
    assert measured["steps"] > 200
    assert measured["grew"] < _MOST


def _digest_of_nothing() -> bytes:
    digest, piece = sha256(), bytes(1_000_000)
    for _ in range(_SIZE // len(piece)):
        digest.update(piece)
    return digest.digest()


@pytest.mark.skipif(
    not _STATUS.exists(), reason="the path of a process's memory figures depends on the system"
)
async def test_large_download_takes_little_memory(tmp_path: Path) -> None:
    """An export of 200 MB is written while it is received, with less than 40 MB of memory."""
    path = tmp_path / "export.zip"
    async with _server() as server:
        measured = await _run(server.url, "download", path)
        assert server.calls[-1] == "file"
    assert path.stat().st_size == _SIZE
    assert measured["grew"] < _MOST
