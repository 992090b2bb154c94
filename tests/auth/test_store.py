"""Tokens shared among processes through a file that nobody else can read and that is never half written."""

import asyncio
import builtins
import json
import os
import stat
import subprocess
import sys
import textwrap
import traceback
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from aioagents.auth import FileTokenStore, MemoryTokenStore, StoredToken, TokenCache, TokenSource
from aioagents.observe import Event, TokenStoreFailed
from aioagents.tasks import Supervisor

TOKEN = StoredToken(value="hunter2", lifetime=3600.0, expires_at=2e9)
OTHER = StoredToken(value="hunter3", lifetime=60.0, expires_at=1e9)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the name of a file that does not exist yet."""
    return tmp_path / "tokens.json"


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _write(path: Path, content: bytes, mode: int = 0o600) -> None:
    path.write_bytes(content)
    path.chmod(mode)


def _opened(path: Path) -> BinaryIO:
    return path.open("rb")


def _inode(path: Path) -> int:
    return path.stat().st_ino


def _read(path: Path) -> Any:
    return json.loads(path.read_bytes())


async def test_keeps_tokens_of_many_accounts(path: Path) -> None:
    """What is saved is loaded, account by account, also by another store on the same file."""
    store = FileTokenStore(path)
    assert await store.load("a") is None
    await store.save("a", TOKEN)
    await store.save("b", OTHER)
    await store.save("a", OTHER)
    again = FileTokenStore(str(path))
    assert (await again.load("a"), await again.load("b"), await again.load("c")) == (OTHER, OTHER, None)
    assert "hunter" not in f"{store!r} {OTHER!r}"


async def test_file_is_its_owners_alone(path: Path) -> None:
    """The file has mode 0600, also where one existed that others could read; lock files too; nothing else is left."""
    _write(path, b"{}", 0o644)
    store = FileTokenStore(path)
    async with store.lock("a"):
        await store.save("a", TOKEN)
    assert _mode(path) == 0o600
    assert all(_mode(each) == 0o600 for each in path.parent.iterdir())
    assert all(each == path or each.suffix == ".lock" for each in path.parent.iterdir())
    assert all(b"hunter" not in each.read_bytes() for each in path.parent.glob("*.lock"))


async def test_file_is_replaced_in_one_step(path: Path) -> None:
    """A reader that has the old file open sees all of it, and the new one is another file."""
    store = FileTokenStore(path)
    await store.save("a", TOKEN)
    before = _inode(path)
    with _opened(path) as reader:
        await store.save("a", OTHER)
        assert json.loads(reader.read())["a"]["value"] == "hunter2"
    assert _inode(path) != before


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"null",
        b'{"a": 3}',
        b'{"a": {"value": "x"}}',
        b'{"a": {"value": 3, "lifetime": 1, "expires_at": 1}}',
        b'{"a": {"value": "x", "lifetime": "1", "expires_at": 1}}',
        b'{"a": {"value": "x", "lifetime": null, "expires_at": 1}}',
    ],
)
async def test_damaged_files_count_as_empty(path: Path, content: bytes) -> None:
    """A file that is damaged or foreign contains no token, and is replaced by the next save."""
    _write(path, content)
    store = FileTokenStore(path)
    assert await store.load("a") is None
    await store.save("a", TOKEN)
    assert await store.load("a") == TOKEN


def _link(path: Path, target: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(target, target_is_directory=target.is_dir())


def _remove_link(path: Path) -> None:
    assert path.is_symlink()
    path.unlink()


async def test_links_are_not_followed(path: Path, tmp_path: Path) -> None:
    """A symbolic link in place of the file or of a lock is an error: nothing is read, emptied or replaced."""
    elsewhere = tmp_path / "elsewhere"
    await FileTokenStore(elsewhere).save("a", TOKEN)
    _link(path, elsewhere)
    store = FileTokenStore(path)
    with pytest.raises(OSError, match="symbolic link"):
        await store.load("a")
    with pytest.raises(OSError, match="symbolic link"):
        await store.save("a", OTHER)
    _remove_link(path)
    for lock in (tmp_path / "tokens.json.lock", tmp_path / "tokens.json.ca978112ca1bbdca.lock"):
        _link(lock, elsewhere)
    with pytest.raises(OSError, match="symbolic link"):
        await store.save("a", OTHER)
    with pytest.raises(OSError, match="symbolic link"):
        async with store.lock("a"):
            pass
    assert await FileTokenStore(elsewhere).load("a") == TOKEN


async def test_folders_may_be_links(tmp_path: Path) -> None:
    """The folder of the file may be a link."""
    await FileTokenStore(tmp_path / "real" / "other.json").save("a", TOKEN)
    _link(tmp_path / "link", tmp_path / "real")
    store = FileTokenStore(tmp_path / "link" / "tokens.json")
    await store.save("a", TOKEN)
    assert await store.load("a") == TOKEN


@pytest.mark.parametrize("call", ["load", "save"])
async def test_errors_show_no_token(path: Path, call: str) -> None:
    """An error of the file shows no token in the local variables of its traceback."""
    store = FileTokenStore(path)
    await FileTokenStore(path / "other.json").save("a", TOKEN)  # so that the path becomes a folder
    with pytest.raises(OSError) as caught:  # noqa: PT011 - which one depends on the system
        await (store.load("a") if call == "load" else store.save("a", TOKEN))
    shown = [
        repr(frame.f_locals)
        for frame, _ in traceback.walk_tb(caught.tb)
        if "/tests/" not in frame.f_code.co_filename
    ]
    assert shown
    assert not [each for each in shown if TOKEN.value in each]


async def test_saves_at_the_same_time_lose_nothing(path: Path) -> None:
    """Many savers of many accounts at once keep each other's tokens."""
    stores = [FileTokenStore(path) for _ in range(3)]
    await asyncio.gather(*(stores[number % 3].save(str(number), TOKEN) for number in range(12)))
    assert sorted(_read(path), key=int) == [str(number) for number in range(12)]


async def test_folders_are_made(tmp_path: Path) -> None:
    """A folder that does not exist yet is made."""
    store = FileTokenStore(tmp_path / "deep" / "down" / "tokens.json")
    async with store.lock("a"):
        await store.save("a", TOKEN)
    assert await store.load("a") == TOKEN


def test_folder_is_no_file(tmp_path: Path) -> None:
    """A folder in place of a file is refused at once."""
    with pytest.raises(IsADirectoryError, match="name a file"):
        FileTokenStore(tmp_path)


async def test_unwritable_path_is_an_error(tmp_path: Path) -> None:
    """Where nothing can be read, written or locked, the lock has no effect and the rest raises OSError."""
    _write(tmp_path / "file", b"x")
    store = FileTokenStore(tmp_path / "file" / "tokens.json")
    async with store.lock("a"):
        pass
    with pytest.raises(OSError, match=r".+"):
        await store.load("a")
    with pytest.raises(OSError, match=r".+"):
        await store.save("a", TOKEN)


async def test_unwritable_path_costs_no_token(tmp_path: Path) -> None:
    """A cache whose store cannot be used emits that, and goes on from memory."""
    _write(tmp_path / "file", b"x")
    events: list[Event] = []
    cache = TokenCache(FileTokenStore(tmp_path / "file" / "tokens.json"))
    supervisor = Supervisor()
    await supervisor.open()

    async def fetch() -> tuple[str, float]:
        return "hunter2", 3600.0

    source = TokenSource(
        key="k", name="k", vendor="v", fetch=fetch, spawn=supervisor.spawn, emit=events.append
    )
    assert (await cache.get(source)).value == "hunter2"
    assert [type(event) for event in events[:-1]] == [TokenStoreFailed, TokenStoreFailed]
    await supervisor.aclose()


async def test_failed_write_leaves_no_litter(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where replacing fails, the old file stays, and no part of a new one is left."""
    store = FileTokenStore(path)
    await store.save("a", TOKEN)

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        await store.save("a", OTHER)
    monkeypatch.undo()
    assert await store.load("a") == TOKEN
    assert all(each == path or each.suffix == ".lock" for each in path.parent.iterdir())


@pytest.mark.parametrize("kind", ["file", "memory"])
async def test_lock_keeps_others_out(path: Path, kind: str) -> None:
    """One renewal of an account goes on at a time; those of other accounts are not held up."""
    stores: list[Any] = (
        [FileTokenStore(path), FileTokenStore(path)] if kind == "file" else [MemoryTokenStore()] * 2
    )
    order: list[str] = []

    async def renew(name: str, store: Any) -> None:
        async with store.lock("a"):
            order.append(f"{name} in")
            await asyncio.sleep(0.002)
            order.append(f"{name} out")

    async with stores[0].lock("b"):
        await asyncio.gather(renew("one", stores[0]), renew("two", stores[1]))
    assert order in (
        ["one in", "one out", "two in", "two out"],
        ["two in", "two out", "one in", "one out"],
    )


@pytest.mark.parametrize("kind", ["file", "memory"])
async def test_cancelled_lock_is_free(path: Path, kind: str) -> None:
    """A task that is cancelled while holding the lock, or while waiting for it, leaves it free."""
    store: Any = FileTokenStore(path) if kind == "file" else MemoryTokenStore()

    async def hold() -> None:
        async with store.lock("a"):
            await asyncio.Event().wait()

    for pause in (0.0, 0.001, 0.02):
        tasks = [asyncio.ensure_future(hold()) for _ in range(2)]
        await asyncio.sleep(pause)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        async with store.lock("a"):
            pass


_PROCESS = textwrap.dedent(
    """
    import asyncio, sys
    from aioagents.auth import FileTokenStore, TokenCache, TokenSource
    from aioagents.tasks import Supervisor

    async def main(path, count):
        async def fetch():
            with open(count, "a") as file:
                file.write("x")
            await asyncio.sleep(0.05)
            return "hunter2", 3600.0

        supervisor = Supervisor()
        await supervisor.open()
        cache = TokenCache(FileTokenStore(path))
        print("ready", flush=True)
        sys.stdin.readline()
        source = TokenSource(key="k", name="k", vendor="v", fetch=fetch, spawn=supervisor.spawn, emit=lambda _: None)
        tokens = await asyncio.gather(*(cache.get(source) for _ in range(20)))
        assert {token.value for token in tokens} == {"hunter2"}
        await supervisor.aclose()

    asyncio.run(main(*sys.argv[1:]))
    """
)
_HOLDER = textwrap.dedent(
    """
    import asyncio, os, sys
    from aioagents.auth import FileTokenStore

    async def main(path):
        async with FileTokenStore(path).lock("a"):
            print("held", flush=True)
            sys.stdin.readline()
            os._exit(1)

    asyncio.run(main(*sys.argv[1:]))
    """
)


def _spawn(program: str, *arguments: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def test_processes_renew_once_between_them(path: Path, tmp_path: Path) -> None:
    """Processes that ask at the same time make one token request between them."""
    count = tmp_path / "count"
    processes = [_spawn(_PROCESS, path, count) for _ in range(2)]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            process.communicate("go\n", timeout=30)
        assert [process.returncode for process in processes] == [0, 0]
        assert count.read_text() == "x"
    finally:
        for process in processes:
            process.kill()
            process.wait()


async def test_crashed_holder_frees_the_lock(path: Path) -> None:
    """A process that dies while holding the lock does not keep it."""
    process = _spawn(_HOLDER, path)
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == "held\n"
        entered = asyncio.Event()

        async def enter() -> None:
            async with FileTokenStore(path).lock("a"):
                entered.set()

        task = asyncio.ensure_future(enter())
        await asyncio.sleep(0.005)
        assert not entered.is_set()
        await asyncio.to_thread(process.communicate, "die\n")
        await task
        assert process.returncode == 1
    finally:
        process.kill()
        process.wait()


def test_needs_filelock(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the optional package, making the store says what to install."""
    real = builtins.__import__

    def without(name: str, *arguments: Any) -> Any:
        if name == "filelock":
            raise ImportError(name)
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"aioagents\[store\]"):
        FileTokenStore(path)
