"""Kore Agent Platform: what an export gave, fetched into a file.

Whether a download needs the key is not published, nor where it lies (Agent Platform API, section 9.0.3). So the key
is kept from whoever keeps the files, unless that is the platform's own host, and it asked for it.
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
#: Characters of a URL that stay as they are: what is encoded already, and what has a meaning.
_AS_THEY_ARE: Final = "%/:?#[]@!$&'()*+,;=~"

#: Is told how many bytes have come, and of how many; None where the server does not say.
Progress: TypeAlias = Callable[[int, int | None], object]


@frozen
class Download:
    """A file that an export made. `url` may hold a signature, and is shown nowhere."""

    url: str = field(repr=False)
    _calls: Calls = field(repr=False, eq=False)

    async def save(self, path: str | PathLike[str], *, progress: Progress | None = None) -> Path:
        """Fetch the file into `path`, and give that; what was there before is replaced once all has come.

        It is written beside, a piece at a time, under a name of its own, which is gone whatever happens. Passing
        faults are tried again from the beginning. The key is sent only to the platform's own host, and only after a
        401 or 403 without it. `progress` is called with the bytes that have come, and how many there are. Raises
        `ReplyError`, `TransportError`, `DecodeError` for a URL that cannot be asked safely, `PoolClosed`, OSError.
        """
        target = Path(fspath(path))
        request = Request(method="GET", url=self._checked(), call=_CALL, headers={"Accept": "*/*"})
        part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
        try:
            await self._fetch(request, part, progress)
            await run_sync(os.replace, part, target)
        finally:
            _forget(part)
        return target

    def _checked(self) -> str:
        """Return the URL as it is asked for: whole, encoded, and not in clear text over a network."""
        url, is_good, is_safe = "", False, False
        try:
            url = urljoin(self._calls.url, quote(self.url, safe=_AS_THEY_ARE))
            parts = urlsplit(url)
            is_safe = parts.scheme == "https" or is_loopback(parts.hostname or "")
            is_good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_good = False
        if is_good and (is_safe or self._is_at_home(url)):
            return url
        raise DecodeError(
            f"{VENDOR}: the export has a download URL that is neither https nor the platform's own",
            vendor=VENDOR,
            call=_CALL,
            path="$.response.downloadUrl",
        )

    def _is_at_home(self, url: str) -> bool:
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
                if account is self._calls.key or not self._is_at_home(request.url):
                    raise
                account = self._calls.account
                continue
            if fault is None:
                return
            # What befell the request itself was tried again there.
            failures += 1
            fault.tries = failures
            await pool.caller.wait_to_retry(account, request, fault, failures=failures, deadline=deadline)


async def _receive(reply: StreamingCall, part: Path, progress: Progress | None) -> ReplyLost | None:
    """Write what comes into `part`, from its beginning; gives what broke it off."""
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
        await run_sync(_settle, file)
    return None


def _settle(file: IO[bytes]) -> None:
    """Have all of it on the disk, before it takes the place of what was there."""
    file.flush()
    os.fsync(file.fileno())


def _forget(path: Path) -> None:
    path.unlink(missing_ok=True)
