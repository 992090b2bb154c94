"""Kore Agent Platform: download of an export into a file.

The vendor documents neither whether a download needs the key nor which host serves it (Agent Platform API, section
9.0.3). So the key is sent only to the platform's own host, and only after that has refused a request without it.
"""

import os
import secrets
from collections.abc import Callable
from os import PathLike, fspath
from pathlib import Path
from typing import IO, Final, TypeAlias
from urllib.parse import quote, urljoin, urlsplit

import anyio
from anyio.to_thread import run_sync
from attrs import field, frozen

from ...calls import StartRequest, StreamingCall
from ...contract import is_loopback
from ...errors import AuthenticationError, DecodeError, PermissionDenied, ReplyLost
from ...model import Request
from .calls import Calls
from .settings import VENDOR, origin_of

_CALL: Final = "exports.download"
#: Characters of a URL that are not encoded: reserved ones, and the percent sign of what is encoded already.
_NOT_ENCODED: Final = "%/:?#[]@!$&'()*+,;=~"

#: Called with the number of bytes received and the total; None if the server does not send it.
Progress: TypeAlias = Callable[[int, int | None], object]


@frozen
class Download:
    """The file of an export. `url` may hold a signature, and is shown nowhere."""

    url: str = field(repr=False)
    _calls: Calls = field(repr=False, eq=False)

    async def save(self, path: str | PathLike[str], *, progress: Progress | None = None) -> Path:
        """Download the file to `path`, and return `path`. An existing file is replaced once all bytes have arrived.

        The bytes are written piece by piece to a temporary file in the same folder, which is removed in any case. A
        download that fails for a passing reason is retried from the beginning. The key is sent only to the platform's
        own host, and only after a 401 or 403 without it. `progress` is called with the bytes received and the total.
        Raises `ReplyError`, `TransportError`, `DecodeError` for a URL that is not safe to request, `PoolClosed`,
        OSError.
        """
        target = Path(fspath(path))
        request = Request(method="GET", url=self._safe_url(), call=_CALL, headers={"Accept": "*/*"})
        part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
        try:
            await self._fetch(request, part, progress)
            await run_sync(os.replace, part, target)
        finally:
            _remove(part)
        return target

    def _safe_url(self) -> str:
        """Return the URL to request: absolute, encoded, and https unless it is loopback or the platform's own."""
        url, is_good, is_safe = "", False, False
        try:
            url = urljoin(self._calls.url, quote(self.url, safe=_NOT_ENCODED))
            parts = urlsplit(url)
            is_safe = parts.scheme == "https" or is_loopback(parts.hostname or "")
            is_good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_good = False
        if is_good and (is_safe or self._is_own_host(url)):
            return url
        raise DecodeError(
            f"{VENDOR}: the export has a download URL that is neither https nor the platform's own",
            vendor=VENDOR,
            call=_CALL,
            path="$.response.downloadUrl",
        )

    def _is_own_host(self, url: str) -> bool:
        return origin_of(url) == origin_of(self._calls.url)

    async def _fetch(self, request: Request, part: Path, progress: Progress | None) -> None:
        pool = self._calls.pool
        pool.ensure_open()
        origin = request.origin
        account = pool.account((VENDOR, _CALL, origin), name=f"{VENDOR}-downloads", vendor=VENDOR)
        deadline, failures = anyio.current_effective_deadline(), 0
        start = StartRequest(vendor=VENDOR, request=request, target="", advice="", is_run=False)
        while True:
            try:
                async with pool.caller.stream(account, start) as reply:
                    fault = await _receive(reply, part, progress)
            except (AuthenticationError, PermissionDenied):
                if account is self._calls.key or not self._is_own_host(request.url):
                    raise
                account = self._calls.account
                continue
            if fault is None:
                return
            # Failures of the request itself were retried in `stream` already.
            failures += 1
            fault.tries = failures
            await pool.caller.wait_to_retry(account, request, fault, failures=failures, deadline=deadline)


async def _receive(reply: StreamingCall, part: Path, progress: Progress | None) -> ReplyLost | None:
    """Write the body into `part`, from its beginning; return the error that broke it off, if any."""
    length = reply.headers.get("content-length", "")
    whole = int(length) if length.isdecimal() else None
    count = 0
    file: IO[bytes]
    with await run_sync(part.open, "wb") as file:
        try:
            async for piece in reply.pieces():
                await run_sync(file.write, piece)
                count += len(piece)
                if progress is not None:
                    progress(count, whole)
        except ReplyLost as error:
            return error
        await run_sync(_sync, file)
    return None


def _sync(file: IO[bytes]) -> None:
    """Write everything to the disk, so that a crash cannot leave an empty file after the replacement."""
    file.flush()
    os.fsync(file.fileno())


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
