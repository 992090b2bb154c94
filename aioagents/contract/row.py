"""What a batch starts: one row of its input."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from attrs import field, frozen

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


@frozen
class BatchRow:
    """One start. `key` is unique within its batch; `target` is what is started, in the vendor's terms.

    `message` and `input` (a JSON object) go to the run in the vendor's way; both may hold personal data and stay out
    of the repr. `line` is the row's line in the input file, from 1, where that is known. Raises ValueError for an
    empty key or target, TypeError for a value of another type.
    """

    key: str
    target: str
    message: str = field(default="", repr=False)
    input: Mapping[str, Any] = field(default=_NOTHING, repr=False)
    line: int | None = field(default=None, eq=False, repr=False, kw_only=True)

    def __attrs_post_init__(self) -> None:
        for name in ("key", "target", "message"):
            if not isinstance(getattr(self, name), str):
                raise TypeError(f"{name} has to be a string, not {type(getattr(self, name)).__name__}")
        if not (self.key and self.target):
            raise ValueError("a row needs a key and a target")
        if not isinstance(self.input, Mapping):
            raise TypeError(f"input has to be a mapping, not {type(self.input).__name__}")
