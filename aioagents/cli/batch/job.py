"""The arguments of `batch FILE`, and the commands that are printed for people to run next. Pure."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from attrs import frozen

#: The commands of the group: a file with such a name has to be given with its folder.
COMMANDS: Final = ("backup", "check", "run", "status", "unknown")

Form = Literal["jsonl", "csv"]
_FORMS: Final[dict[str, Form]] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv"}


@frozen(kw_only=True)
class BatchJob:
    """One batch, as given on the command line; `options` are the arguments after FILE."""

    file: str
    form: Form
    vendor: str
    endpoint: str
    journal: str
    output: str | None
    in_flight: int
    per_second: float | None
    on_unknown: Literal["report", "resend"]
    timeout: float | None
    target: str
    resume: Literal["no", "yes", "if-any"]
    accepts_loss: bool
    is_strict: bool
    is_rewritten: bool
    guards_formulas: bool
    is_json: bool
    options: Sequence[str]

    @property
    def resume_command(self) -> str:
        """Return the command that continues this batch."""
        return shlex.join(["aioagents", "batch", _as_argument(self.file), *self.options, "--resume"])

    @property
    def list_command(self) -> str:
        """Return the command that lists the unknown rows."""
        return list_command(self.journal)


def list_command(journal: str) -> str:
    """Return the command that lists the unknown rows of a journal."""
    return shlex.join(["aioagents", "batch", "unknown", _as_argument(journal)])


def check_command(journal: str) -> str:
    """Return the command that checks a journal and lists the rows that may be started twice."""
    return shlex.join(["aioagents", "batch", "check", _as_argument(journal)])


def form_of(file: str) -> Form | None:
    """Return the format of a file by its name, None if the name does not say."""
    return _FORMS.get(Path(file).suffix.lower())


def _as_argument(path: str) -> str:
    """Return a path in a form that is not taken for an option or a command."""
    return f"./{path}" if (path.startswith("-") and path != "-") or path in COMMANDS else path
