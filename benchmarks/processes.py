"""Processes that run the command line and are killed: new ones, and forked ones that begin at once.

Python takes longer to start than most processes here run. As a program, this module is a fork server: it has imported
everything and forks such processes, one at a time. It prints 0 when it is ready. It reads arguments, a JSON array on
one line, or `kill`, and prints each exit code. It ends, with the process it forked, at the end of its standard input.
"""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol, Self

import orjson

ROOT: Final = Path(__file__).parent.parent
_TICK: Final = 0.002
_KILL: Final = b"kill"


class Command(Protocol):
    """One process of the command line."""

    def poll(self) -> int | None:
        """Return the exit code, None while it runs; a value below 0 is the signal that ended it."""
        ...

    def kill(self) -> int:
        """Kill the process, if it still runs, and return its exit code."""
        ...


class NewProcess:
    """A process that starts Python first."""

    def __init__(self, arguments: Sequence[str], *, environ: Mapping[str, str], errors: Path) -> None:
        with errors.open("ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "aioagents", *arguments],
                cwd=ROOT,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=file,
            )

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""
        return self._process.poll()

    def kill(self) -> int:
        """Kill the process, if it still runs, and return its exit code."""
        self._process.kill()
        return self._process.wait()


class ForkServer:
    """Forks processes that begin at once, one at a time. A context manager: leaving it ends the process."""

    def __init__(self, *, environ: Mapping[str, str], errors: Path) -> None:
        with errors.open("ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.processes"],
                cwd=ROOT,
                env=environ,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                bufsize=0,
            )
        self._code: int | None = None
        self._is_ready = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._process.wait()

    def begin(self, arguments: Sequence[str]) -> Command:
        """Fork a process; the one before must have ended."""
        if not self._is_ready:  # it is still importing modules
            self._is_ready = self._read_code() == 0
        self._code = None
        self._write_line(orjson.dumps(list(arguments)))
        return self

    def poll(self) -> int | None:
        """Return the exit code of the process that was forked last, None while it runs."""
        assert self._process.stdout is not None  # noqa: S101 - opened as a pipe
        if self._code is None and select.select([self._process.stdout], [], [], 0)[0]:
            self._read_code()
        return self._code

    def kill(self) -> int:
        """Kill that process, if it still runs, and return its exit code."""
        if self.poll() is None:
            self._write_line(_KILL)
        return self._read_code() if self._code is None else self._code

    def _write_line(self, line: bytes) -> None:
        assert self._process.stdin is not None  # noqa: S101 - opened as a pipe
        self._process.stdin.write(line + b"\n")

    def _read_code(self) -> int:
        assert self._process.stdout is not None  # noqa: S101 - opened as a pipe
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the fork server has ended")
        self._code = int(line)
        return self._code


# The program


def _fork(arguments: Sequence[str]) -> int:
    from aioagents.cli import main  # noqa: PLC0415 - only the fork server needs it

    child = os.fork()
    if child:
        return child
    code = 1
    try:
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, 0)
        os.dup2(nowhere, 1)
        code = main(arguments)
    finally:
        os._exit(code)


def _serve() -> None:
    from aioagents.cli import commands  # noqa: F401, PLC0415 - imports everything in advance

    os.write(1, b"0\n")
    requests = open(0, "rb", buffering=0, closefd=False)  # noqa: SIM115 - open until the program ends
    child = 0
    while True:
        if select.select([requests], [], [], _TICK if child else None)[0]:
            line = requests.readline().strip()
            if child and line in {_KILL, b""}:
                os.kill(child, signal.SIGKILL)
            if not line:
                return
            if line != _KILL:
                child = _fork(orjson.loads(line))
        if child:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                child = 0
                os.write(1, b"%d\n" % os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    _serve()
