"""Processes that run the command line and are to be killed: fresh ones, and forked ones that begin at once.

Python takes longer to start than a life is to last. As a program, this forks such processes, one at a time, from one
that has imported everything and runs nothing. It tells 0 when it is ready. It is told the arguments, a JSON array on
one line, or `kill`, and tells each exit code. It ends when its standard input does, and its process with it.
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


class Life(Protocol):
    """One process of the command line."""

    def poll(self) -> int | None:
        """Return its exit code, None while it lives; below 0 is the signal that it died of."""
        ...

    def kill(self) -> int:
        """Kill it, if it still lives, and give its exit code."""
        ...


class Fresh:
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
        """Return its exit code, None while it lives."""
        return self._process.poll()

    def kill(self) -> int:
        """Kill it, if it still lives, and give its exit code."""
        self._process.kill()
        return self._process.wait()


class Nursery:
    """Where lives begin at once, one at a time. A context manager: leaving it ends what lives."""

    def __init__(self, *, environ: Mapping[str, str], errors: Path) -> None:
        with errors.open("ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.lives"],
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

    def begin(self, arguments: Sequence[str]) -> Life:
        """Have a life begin; the one before has to be over."""
        if not self._is_ready:  # until now it has imported what lives need
            self._is_ready = self._hear() == 0
        self._code = None
        self._say(orjson.dumps(list(arguments)))
        return self

    def poll(self) -> int | None:
        """Return the exit code of the life that was begun last, None while it lives."""
        assert self._process.stdout is not None  # noqa: S101 - it was asked for
        if self._code is None and select.select([self._process.stdout], [], [], 0)[0]:
            self._hear()
        return self._code

    def kill(self) -> int:
        """Kill that life, if it still lives, and give its exit code."""
        if self.poll() is None:
            self._say(_KILL)
        return self._hear() if self._code is None else self._code

    def _say(self, line: bytes) -> None:
        assert self._process.stdin is not None  # noqa: S101 - it was asked for
        self._process.stdin.write(line + b"\n")

    def _hear(self) -> int:
        assert self._process.stdout is not None  # noqa: S101 - it was asked for
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the program that forks has ended")
        self._code = int(line)
        return self._code


# The program


def _fork(arguments: Sequence[str]) -> int:
    from aioagents.cli import main  # noqa: PLC0415 - who only speaks to the program needs none of it

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
    from aioagents.cli import commands  # noqa: F401, PLC0415 - imports all there is

    os.write(1, b"0\n")
    asked = open(0, "rb", buffering=0, closefd=False)  # noqa: SIM115 - for as long as the program lives
    child = 0
    while True:
        if select.select([asked], [], [], _TICK if child else None)[0]:
            line = asked.readline().strip()
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
