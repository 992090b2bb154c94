"""A run as seen at one moment, and the reference by which any process can find it again."""

from datetime import datetime
from typing import Any, Self
from urllib.parse import quote, unquote

from attrs import field, frozen

from .quick import quick
from .state import RunState


@frozen(weakref_slot=False)
class RunRef:
    """Names one run: the vendor, the scope within the vendor (a region, may be empty) and the vendor's id.

    The string form, `leena:us-east-1/0123abcd`, is stable: store it or pass it to another process, where
    `RunRef.parse` returns an equal value. It contains no secret.
    """

    vendor: str
    scope: str
    id: str

    def __hash__(self) -> int:
        return hash(self.id)  # which the string caches; nearly all runs differ in their ids

    def __str__(self) -> str:
        return f"{self.vendor}:{quote(self.scope, safe='')}/{quote(self.id, safe='')}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the reference of a string form. Raises ValueError, saying what the form is."""
        vendor, colon, rest = text.strip().partition(":")
        scope, slash, run_id = rest.partition("/")
        if not (vendor and colon and slash and run_id) or "/" in run_id:
            raise ValueError(
                f"not a run reference: {text!r}; the form is vendor:scope/id, scope may be empty"
            )
        return cls(vendor, unquote(scope), unquote(run_id))


@quick
@frozen(kw_only=True, weakref_slot=False)
class Run:
    """One run at one moment. A later poll returns a new Run; this one never changes.

    `status` is the vendor's own word and `raw` the body as read. Moments are aware datetimes; where a vendor sends no
    time zone, UTC is assumed, and `raw` has the text. `seen_at` is when the reply was read. `output` and `raw` may
    contain personal data, and are not in the repr.
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
