"""Prints results to stdout and messages to stderr, or JSON lines to stdout. The only module that calls print."""

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

from .. import codec
from ..auth import read_settings
from ..errors import AgentsError, Conflict, StartUnknown
from ..model import Run
from ..providers import all_providers
from .exits import code_of

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")
_SECRET: Final = re.compile(r".*(SECRET|PASSWORD|TOKEN|KEY)$")
_SHORTEST_SECRET: Final = 4
#: Attributes of errors that are printed in JSON, if they are set.
_FACTS: Final = (
    *("vendor", "call", "status", "retry_after", "request_id", "target", "sent_at", "advice"),
    *("reason", "retry_at", "active", "limit"),
)


def escape_unencodable() -> None:
    """Make stdout and stderr escape characters that their encoding lacks, instead of raising."""
    for stream in (sys.stdout, sys.stderr):
        if (reconfigure := getattr(stream, "reconfigure", None)) is not None:
            reconfigure(errors="backslashreplace")


def close_stdout() -> None:
    """Discard all further output: the reader of stdout is gone."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def is_terminal(stream: Any) -> bool:
    """Return whether `stream` is a terminal on which lines can be redrawn."""
    return bool(stream.isatty()) and read_settings((), ["TERM"]).get("TERM", "dumb") not in {
        "dumb",
        "unknown",
    }


def one_line(text: str) -> str:
    """Return `text` as one line without control characters."""
    return _CONTROL.sub(" ", text).rstrip()


def _secret_settings() -> Iterator[str]:
    names = [name for each in all_providers().values() for name in each.variables if _SECRET.fullmatch(name)]
    return _long_enough(read_settings((), names).values())


def _long_enough(secrets: Iterable[str]) -> Iterator[str]:
    return (value for value in secrets if len(value) >= _SHORTEST_SECRET)


class Output:
    """The output of one command. With `is_json`, stdout has JSON lines and nothing else.

    Texts in `hidden`, like the values of secret settings, are replaced in messages of servers.
    """

    def __init__(self, *, is_json: bool = False, hidden: Iterable[str] = ()) -> None:
        self.is_json = is_json
        # Read now: printing an error must not depend on anything that can fail.
        self._secrets = (*_secret_settings(), *_long_enough(hidden))

    @property
    def is_live(self) -> bool:
        """Return whether results are printed on a terminal."""
        return not self.is_json and is_terminal(sys.stdout)

    def line(self, text: str = "") -> None:
        """Print a line of results for people, and flush."""
        if not self.is_json:
            print(one_line(text) if text else "", file=sys.stdout, flush=True)  # noqa: T201

    def block(self, text: str) -> None:
        """Print lines that are formatted already."""
        if not self.is_json:
            print(text, file=sys.stdout, flush=True)  # noqa: T201

    def piece(self, text: str) -> None:
        """Print a part of a text, and flush. Its line breaks are kept, and none is added."""
        if not self.is_json:
            safe = "\n".join(_CONTROL.sub(" ", line) for line in text.split("\n"))
            print(safe, end="", file=sys.stdout, flush=True)  # noqa: T201

    def document(self, value: Mapping[str, Any]) -> None:
        """Print one JSON value on one line, and flush."""
        if self.is_json:
            self.raw(codec.encode_deep(value) + b"\n")
            self.flush()

    def raw(self, content: bytes) -> None:
        """Write bytes to stdout, without flushing."""
        sys.stdout.buffer.write(content)

    def flush(self) -> None:
        """Flush stdout."""
        sys.stdout.flush()

    def note(self, text: str) -> None:
        """Print a text on stderr, unchanged. If stderr is closed, do nothing."""
        with suppress(OSError):
            print(text, file=sys.stderr, flush=True)  # noqa: T201

    def hide(self, text: str) -> str:
        """Replace the values of secret settings, in case a server repeats one."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def warn(self, text: str) -> None:
        """Print a message in one line on stderr."""
        self.note(f"aioagents: {self.hide(one_line(text))}")

    def error(self, error: BaseException) -> None:
        """Print an error on stderr, with the server's own message below; with `is_json` also on stdout."""
        message, ref = message_of(error), str(getattr(error, "ref", None) or "")
        self.warn(message if ref in message else f"{ref}: {message}")
        for label, text in _details(error):
            self.note(f"  {label}: {self.hide(one_line(text))}")
        self.document({"error": describe_error(error, self.hide)})


def message_of(error: BaseException) -> str:
    """Return an error's message, which is never empty."""
    if isinstance(error, OSError) and error.strerror and not isinstance(error, AgentsError):
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) or type(error).__name__


def _details(error: BaseException) -> Iterable[tuple[str, str]]:
    if isinstance(error, StartUnknown):
        yield "target", error.target
        if error.sent_at is not None:
            yield "sent at", moment(error.sent_at)
        if error.advice not in str(error):
            yield "advice", error.advice
    if isinstance(error, Conflict) and error.reason:
        yield "reason", error.reason
        if error.retry_at is not None:
            yield "retry at", moment(error.retry_at)
    detail = getattr(error, "detail", "") or getattr(error.__cause__, "detail", "")
    if detail:
        yield "the server says", detail


def describe_error(error: BaseException, hide: Callable[[str], str]) -> dict[str, Any]:
    """Return the members of an error for JSON, texts passed through `hide`; members without a value are left out."""
    facts: dict[str, Any] = {
        "type": type(error).__name__,
        "message": hide(message_of(error)),
        "exit_code": int(code_of(error)),
    }
    for name in _FACTS:
        value = getattr(error, name, None)
        if value not in (None, ""):
            facts[name] = value
    detail = getattr(error, "detail", "") or getattr(error.__cause__, "detail", "")
    if detail:
        facts["detail"] = hide(detail)
    if (ref := getattr(error, "ref", None)) is not None:
        facts["ref"] = str(ref)
    if (run := getattr(error, "run", None)) is not None:
        facts["run"] = describe_run(run)
    return facts


def describe_run(run: Run) -> dict[str, Any]:
    """Return the members of a run for JSON; `raw` is the vendor's reply as received."""
    return {
        "ref": str(run.ref),
        "vendor": run.ref.vendor,
        "id": run.id,
        "state": run.state.value,
        "status": run.status,
        "is_terminal": run.state.is_terminal,
        "created_at": run.created_at,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "seen_at": run.seen_at,
        "output": run.output,
        "error": run.error,
        "asks": list(run.asks),
        "raw": run.raw,
    }


def moment(when: datetime | None) -> str:
    """Return a time as text that people and programs can read, in the zone that it has."""
    return "-" if when is None else when.isoformat(sep=" ", timespec="seconds")
