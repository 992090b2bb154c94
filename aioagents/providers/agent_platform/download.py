"""Kore Agent Platform: what an export gave, to be fetched."""

from attrs import field, frozen

from .calls import Calls


@frozen
class Download:
    """A file that an export made. `url` may hold a signature, and is shown nowhere."""

    url: str = field(repr=False)
    _calls: Calls = field(repr=False, eq=False)
