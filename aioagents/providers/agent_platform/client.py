"""Kore Agent Platform: the client."""

from collections.abc import Mapping
from hashlib import sha256
from typing import ClassVar, Self

from ...auth import read_settings
from ...caller import Account
from ...contract import BatchRow, RunClient, check_text, path_segment
from ...model import RunRef, Secret
from ...polling import RunHandle
from ...pool import SessionPool
from .settings import KEY_HEADER, REQUIRED, VARIABLES, VENDOR, app_base, key_headers, tools_base


class AgentPlatform(RunClient):
    """Talks to one app of Kore Agent Platform, and keeps the tools, models and files of its account.

    The app's key (`app_key`, in `key_header` after `key_prefix`) and the account's (`tools_key`) have limits of their
    own. Raises ValueError for what cannot be sent, and for a base URL that is neither https nor loopback
    (`allow_insecure` lets it through).
    """

    vendor: ClassVar[str] = VENDOR

    def __init__(
        self,
        pool: SessionPool,
        *,
        base_url: str,
        app_id: str,
        environment: str,
        app_key: str | Secret,
        tools_url: str | None = None,
        tools_key: str | Secret | None = None,
        key_header: str = KEY_HEADER,
        key_prefix: str = "",
        allow_insecure: bool = False,
    ) -> None:
        super().__init__(pool)
        self._base_url = app_base(base_url, allow_insecure=allow_insecure)
        self._tools_url = tools_base(tools_url, self._base_url, allow_insecure=allow_insecure)
        app, place = path_segment(app_id, "app_id"), path_segment(environment, "environment")
        self._app_url = f"{self._base_url}/apps/{app}/environments/{place}"
        key = Secret.of(app_key)
        headers = key_headers(key, "app_key", header=key_header, prefix=key_prefix)
        self._account = self._made(self._base_url, key, headers)
        self._tools_key = None if tools_key is None else Secret.of(tools_key)

    def _made(self, url: str, key: Secret, headers: Mapping[str, str]) -> Account:
        digest = sha256(f"{url}\n{key.reveal()}".encode()).hexdigest()[:8]
        return self._pool.account(
            (VENDOR, url, key, *headers), name=f"{VENDOR}-{digest}", vendor=VENDOR, headers=headers
        )

    @classmethod
    def from_env(cls, pool: SessionPool, environ: Mapping[str, str] | None = None) -> Self:
        """Make a client from the `AGENT_PLATFORM_*` variables. Raises ValueError naming those which are missing."""
        found = read_settings(REQUIRED, VARIABLES, environ)
        return cls(
            pool,
            base_url=found["AGENT_PLATFORM_BASE_URL"],
            app_id=found["AGENT_PLATFORM_APP_ID"],
            environment=found["AGENT_PLATFORM_ENVIRONMENT"],
            app_key=found["AGENT_PLATFORM_APP_KEY"],
            tools_url=found.get("AGENT_PLATFORM_TOOLS_URL"),
            tools_key=found.get("AGENT_PLATFORM_TOOLS_KEY"),
            key_header=found.get("AGENT_PLATFORM_KEY_HEADER", KEY_HEADER),
            key_prefix=found.get("AGENT_PLATFORM_KEY_PREFIX", ""),
        )

    async def check(self) -> None:
        """See that the platform answers and takes the keys."""
        self._pool.ensure_open()

    async def start(self, row: BatchRow) -> RunHandle:
        """Start a row of a batch: its target is the session's reference, its message the text."""
        raise ValueError(f"{check_text(row.target, 'target')} cannot be started yet")

    def attach(self, ref: RunRef | str) -> RunHandle:
        """Follow a run or dock job by its reference. Raises ValueError for one of another vendor."""
        raise ValueError(f"{ref} is not a run of {VENDOR}")

    def __repr__(self) -> str:
        return f"<AgentPlatform at {self._app_url}>"
