"""Finds the client for a vendor's name, and the handle for a run's reference."""

from collections.abc import Mapping

from .contract import RunClient
from .model import RunRef
from .polling import RunHandle
from .pool import SessionPool
from .providers import find_provider


class Clients:
    """The clients of one pool, by vendor. Each is made from the environment when it is first needed, and kept."""

    def __init__(self, pool: SessionPool, environ: Mapping[str, str] | None = None) -> None:
        self._pool = pool
        self._environ = environ
        self._clients: dict[str, RunClient] = {}

    def named(self, vendor: str) -> RunClient:
        """Return the vendor's client. Raise ValueError for an unknown vendor, or one that names missing settings."""
        client = self._clients.get(vendor)
        if client is None:
            client = self._clients[vendor] = find_provider(vendor).client.from_env(self._pool, self._environ)
        return client

    def attach(self, ref: RunRef | str) -> RunHandle:
        """Return a handle for a run of any vendor. Raise ValueError for a wrong reference or one of another scope."""
        parsed = RunRef.parse(ref) if isinstance(ref, str) else ref
        return self.named(parsed.vendor).attach(parsed)

    def __repr__(self) -> str:
        return f"<Clients of {', '.join(self._clients) or 'no vendor yet'}>"
