"""A run as seen at one moment, the reference by which any process can find it again, and the root of all errors.

The root is in this file since references raise an error, and errors hold references and runs.
"""

import re
from contextlib import suppress
from datetime import datetime
from typing import Any, Final, Self
from urllib.parse import quote, unquote

from attrs import field, frozen

from .quick import quick
from .state import RunState

_VENDOR: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
#: Characters of scopes that references show as they are.
_READABLE: Final = ":@;="
#: Vendors' JSON may hold lone surrogates: they are encoded as if UTF-8 allowed them.
_SURROGATES: Final = "surrogatepass"


@frozen(weakref_slot=False)
class RunRef:
    """Names one run: the vendor, the scope within the vendor (its endpoint) and the vendor's id.

    The string form, `leena:us-east-1/0123abcd`, is stable: store it or pass it to another process, where
    `RunRef.parse` returns an equal value, whatever the texts of scope and id. It contains no secret.
    """

    vendor: str
    scope: str
    id: str

    def __hash__(self) -> int:
        return hash(self.id)  # which the string caches; nearly all runs differ in their ids

    def __str__(self) -> str:
        scope = quote(self.scope, safe=_READABLE, errors=_SURROGATES)
        return f"{self.vendor}:{scope}/{quote(self.id, safe='', errors=_SURROGATES)}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the reference of a string form. Raises BadReference, which says what the form is."""
        vendor, colon, rest = text.strip().partition(":")
        scope, slash, run_id = rest.partition("/")
        if _VENDOR.fullmatch(vendor) and colon and slash and run_id and "/" not in run_id:
            with suppress(UnicodeError):
                rest.encode()  # refuses lone surrogates, which are in no text that `str` returns
                return cls(vendor, unquote(scope, errors=_SURROGATES), unquote(run_id, errors=_SURROGATES))
        raise BadReference(f"not a run reference: {text!r}; the form is vendor:scope/id")


@quick
@frozen(kw_only=True, weakref_slot=False)
class Run:
    """One run at one moment. A later poll returns a new Run; this one never changes.

    `status` is the vendor's own word and `raw` the body as read. Moments are aware datetimes; where a vendor sends no
    time zone, UTC is assumed, and `raw` has the text. `seen_at` is when the reply was read. `asks` are the answers of
    which the run waits for one (`RunHandle.answer`), empty for nearly all runs. `output` and `raw` may contain
    personal data, and are not in the repr.
    """

    ref: RunRef
    state: RunState
    status: str
    created_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    output: Any = field(default=None, repr=False)
    error: str | None = field(default=None, repr=False)
    raw: Any = field(default=None, repr=False)
    seen_at: datetime
    asks: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Return the vendor's id."""
        return self.ref.id

    def is_same_as(self, other: "Run | None") -> bool:
        """Return whether the two differ in nothing but the time of the poll."""
        return (
            other is not None
            and self.status == other.status
            and self.state is other.state
            and self.error == other.error
            and self.asks == other.asks
            and _is_equal(self.output, other.output)
        )


def _is_equal(one: Any, other: Any) -> bool:
    """Return whether two outputs are equal, however deep they are nested."""
    try:
        return bool(one == other)
    except RecursionError:
        pairs = [(one, other)]
    while pairs:
        one, other = pairs.pop()
        if isinstance(one, dict) and isinstance(other, dict):
            if one.keys() != other.keys():
                return False
            pairs += [(value, other[key]) for key, value in one.items()]
        elif isinstance(one, list) and isinstance(other, list):
            if len(one) != len(other):
                return False
            pairs += zip(one, other, strict=True)
        elif one != other:
            return False
    return True


class AgentsError(Exception):
    """Root of all errors of this package; `aioagents.errors` draws the tree.

    Attributes, each `None` or empty where it does not apply: `vendor`, `call` (`aop.status`), `ref` and `run` (the
    last `Run` seen), `status` (HTTP), `retry_after` (seconds the server asked for), `request_id` (the vendor's, for
    its support), `detail` (the server's own message, at most 500 characters, never printed), `tries` (how many
    attempts were made), `host` (who answered, where that may not have been the vendor).
    """

    vendor: str = ""
    call: str = ""
    ref: RunRef | None = None
    run: Run | None = None
    status: int | None = None
    retry_after: float | None = None
    request_id: str | None = None
    detail: str = ""
    tries: int = 1
    host: str = ""
    #: Whether the same call may succeed later.
    is_passing: bool = False
    #: Whether the answer is in no form of the vendor's: a gateway, a proxy or another server may have given it.
    is_foreign: bool = False

    def __init__(self, message: str = "", **facts: object) -> None:
        super().__init__(message)
        for name, value in facts.items():
            setattr(self, name, value)


class BadReference(AgentsError, ValueError):
    """A text is no run reference, or the run is not one of the client's vendor and endpoint. Nothing was sent."""
