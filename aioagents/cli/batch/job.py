"""What `batch FILE` is asked to do, and the words that ask for the same again. Pure."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from attrs import frozen

#: What the group's own commands are called: a file of such a name needs its folder.
COMMANDS: Final = ("run", "status", "unknown")

Form = Literal["jsonl", "csv"]
_FORMS: Final[dict[str, Form]] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv"}


@frozen(kw_only=True)
class BatchJob:
    """One batch, as the command line has it; `options` are the words after FILE, as they were given."""

    file: str
    form: Form
    vendor: str
    journal: str
    output: str | None
    in_flight: int
    per_second: float | None
    on_unknown: Literal["report", "resend"]
    timeout: float | None
    target: str
    is_resumed: bool
    is_strict: bool
    is_rewritten: bool
    is_json: bool
    options: Sequence[str]

    @property
    def resuming(self) -> str:
        """Return the command that goes on with this batch."""
        words = ["aioagents", "batch", _as_argument(self.file), *self.options]
        return shlex.join(words if self.is_resumed else [*words, "--resume"])

    @property
    def listing(self) -> str:
        """Return the command that lists the rows whose fate is unknown."""
        return listing(self.journal)


def listing(journal: str) -> str:
    """Return the command that lists a journal's rows whose fate is unknown."""
    return shlex.join(["aioagents", "batch", "unknown", _as_argument(journal)])


def form_of(file: str) -> Form | None:
    """Say what is in a file, as far as its name tells."""
    return _FORMS.get(Path(file).suffix.lower())


def _as_argument(path: str) -> str:
    """Return a path so that nobody takes it for an option, or for a command."""
    return f"./{path}" if (path.startswith("-") and path != "-") or path in COMMANDS else path
