"""The value by which a vendor's folder describes itself; `providers` collects those of all folders."""

from collections.abc import Mapping

from attrs import frozen

from .client import RunClient


@frozen(kw_only=True)
class Provider:
    """A vendor: its name in run references, its client, and the variables that set it up (name to meaning).

    The name is that of the vendor's folder, with hyphens for underscores; variables begin with it, in capitals.
    """

    name: str
    title: str
    client: type[RunClient]
    variables: Mapping[str, str]
