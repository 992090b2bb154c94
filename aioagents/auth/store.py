"""Token stores: they share tokens with other pools of the process, or with other processes."""

import errno
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import anyio
import anyio.to_thread
from attrs import field, frozen

from ..codec import decode_json, encode_json
from ..tracebacks import hides_locals

if TYPE_CHECKING:
    from filelock import AsyncFileLock

# A renewal takes seconds: a process that holds the lock for longer hangs.
_LOCK_TIMEOUT: Final = 60.0
_LOCK_INTERVAL: Final = 0.05
# Windows has none; there, only administrators may make symbolic links.
_NO_LINK: Final = getattr(os, "O_NOFOLLOW", 0)


@frozen(kw_only=True)
class StoredToken:
    """A token as it is kept in a store. `expires_at` is Unix time, since no other clock is shared."""

    value: str = field(repr=False)
    lifetime: float
    expires_at: float


class TokenStore(Protocol):
    """Shares tokens. A key is opaque and stands for one account."""

    async def load(self, key: str) -> StoredToken | None:
        """Return the token that is stored, or None, also where it cannot be read. Raises OSError."""
        ...

    async def save(self, key: str, token: StoredToken) -> None:
        """Store `token` in place of any other. Raises OSError."""
        ...

    def lock(self, key: str) -> AbstractAsyncContextManager[object]:
        """Return a lock that keeps all others who share the store from renewing the same token meanwhile.

        Where it cannot be acquired or released, `TokenStoreFailed` is emitted, and the token is renewed without it.
        """
        ...


class MemoryTokenStore:
    """Shares tokens among the pools of one event loop. Nothing is written anywhere."""

    def __init__(self) -> None:
        self._tokens: dict[str, StoredToken] = {}
        self._locks: dict[str, anyio.Lock] = {}

    async def load(self, key: str) -> StoredToken | None:
        """Return the token that is stored, or None."""
        return self._tokens.get(key)

    async def save(self, key: str, token: StoredToken) -> None:
        """Store `token`."""
        self._tokens[key] = token

    def lock(self, key: str) -> AbstractAsyncContextManager[object]:
        """Return the lock for renewals of this token."""
        return self._locks.setdefault(key, anyio.Lock())

    def __repr__(self) -> str:
        return f"<MemoryTokenStore tokens={len(self._tokens)}>"


class FileTokenStore:
    """Shares tokens among processes through one JSON file. Needs the package `filelock` (`aioagents[store]`).

    Only its owner can read the file (mode 0600). It is replaced atomically, so that a reader never sees half of it.
    Beside it are empty lock files: `<name>.lock`, and one for each account. Tokens are written in clear text;
    passwords are not written. A symbolic link in place of one of these files raises OSError: in a folder where others
    may write, it could lead to tokens of theirs, or to a file of ours that would be emptied.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        try:
            from filelock import AsyncFileLock  # noqa: PLC0415 - optional, and never loaded by the core
        except ImportError as exc:
            raise ImportError("FileTokenStore needs filelock: pip install 'aioagents[store]'") from exc
        self._path = Path(path)
        if self._path.is_dir():
            raise IsADirectoryError(f"{self._path} is a directory; name a file for the tokens in it")
        self._lock_class = AsyncFileLock

    @hides_locals
    async def load(self, key: str) -> StoredToken | None:
        """Return the token that is stored, or None; a damaged file counts as empty."""
        return _stored((await anyio.to_thread.run_sync(self._read)).get(key))

    @hides_locals
    async def save(self, key: str, token: StoredToken) -> None:
        """Store `token`. Raises OSError when the file cannot be written."""
        async with self._new_lock(".lock"):
            await anyio.to_thread.run_sync(self._write, key, token)

    @asynccontextmanager
    async def lock(self, key: str) -> AsyncIterator[None]:
        """Hold the lock for renewing this token; after a minute, or where files cannot be locked, go on without."""
        name = sha256(key.encode()).hexdigest()[:16]
        lock = self._new_lock(f".{name}.lock")
        is_held = False
        try:
            await lock.acquire()
            is_held = True
        except OSError:
            pass  # a Timeout included: two renewals do less harm than none
        try:
            yield
        finally:
            if is_held:
                with anyio.CancelScope(shield=True):  # releasing is local and waits for nothing
                    await lock.release()

    def _new_lock(self, suffix: str) -> "AsyncFileLock":
        path = Path(f"{self._path}{suffix}")
        _refuse_link(path)  # not every filelock does
        return self._lock_class(path, timeout=_LOCK_TIMEOUT, poll_interval=_LOCK_INTERVAL, mode=0o600)

    def _read(self) -> dict[str, Any]:
        _refuse_link(self._path)
        try:
            with open(self._path, "rb", opener=_open_no_link) as file:
                content = decode_json(file.read())
        except (FileNotFoundError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def _write(self, key: str, token: StoredToken) -> None:
        content = self._read()
        content[key] = {"value": token.value, "lifetime": token.lifetime, "expires_at": token.expires_at}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # mkstemp makes the file with mode 0600; in the same folder, so that replacing is atomic.
        handle, name = tempfile.mkstemp(prefix=f".{self._path.name}.", dir=self._path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(encode_json(content))
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self._path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def __repr__(self) -> str:
        return f"FileTokenStore({str(self._path)!r})"


def _open_no_link(path: str, flags: int) -> int:
    return os.open(path, flags | _NO_LINK)


def _refuse_link(path: Path) -> None:
    if path.is_symlink():
        raise OSError(errno.ELOOP, "a symbolic link is not followed", str(path))


def _stored(entry: Any) -> StoredToken | None:
    if not isinstance(entry, dict):
        return None
    match entry:
        case {
            "value": str() as value,
            "lifetime": int() | float() as life,
            "expires_at": int() | float() as end,
        }:
            return StoredToken(value=value, lifetime=float(life), expires_at=float(end))
    return None
