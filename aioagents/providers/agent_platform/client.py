"""Kore Agent Platform: the client."""

from collections.abc import Mapping
from typing import ClassVar, Final, Self

from ...auth import read_settings
from ...calls import Account
from ...contract import (
    BatchRow,
    Endpoint,
    RunClient,
    account_name,
    details_in,
    key_headers,
    path_segment,
)
from ...model import RunRef, Secret
from ...polling import RunHandle
from ...pool import SessionPool
from ...tracebacks import hides_locals
from . import dock_wire, run_wire
from .apps import Apps
from .attachments import Attachments
from .calls import Calls
from .connections import Connections
from .dock import Dock, DockHandle
from .dock_wire import DOCK
from .files import Files
from .models import Models
from .refusals import read_refusal
from .runs import Runs
from .session_wire import SessionUrls
from .sessions import Sessions
from .settings import (
    APP,
    APP_PATH,
    ENVIRONMENT,
    KEY_HEADER,
    REQUIRED,
    TOOLS_PATH,
    VARIABLES,
    VENDOR,
    app_base,
    origin_of,
    tools_base,
)
from .tools import Guardrails, Tools

_UNKNOWN_SESSION: Final = "no-such-session"
_UNKNOWN_ID: Final = "no-such-id"


class AgentPlatform(RunClient):
    """Client of one app of Kore Agent Platform, and of the tools, models and files of its account.

    The app's key (`app_key`, sent in `key_header` after `key_prefix`) is for `sessions`, `runs` and `attachments`;
    the account's key (`tools_key`, always sent in `x-api-key`) is for `tools`, `models`, `guardrails`, `files`,
    `connections`, `apps` and `dock_status`, which raise ValueError without it. Each key has limits of its own. `name`
    distinguishes several accounts in references. Raises ValueError for settings that cannot be sent, and for a base
    URL that is neither https nor loopback, unless `allow_insecure` is set.
    """

    vendor: ClassVar[str] = VENDOR

    @hides_locals
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
        name: str = "",
        allow_insecure: bool = False,
    ) -> None:
        super().__init__(pool)
        app_url = app_base(base_url, allow_insecure=allow_insecure)
        tools_url = tools_base(tools_url, app_url, allow_insecure=allow_insecure)
        app = path_segment(app_id, "app_id")
        app_path = f"apps/{app}/environments/{path_segment(environment, 'environment')}"
        key = Secret.of(app_key)
        headers = key_headers(key, "app_key", header=key_header, prefix=key_prefix)
        self._app = Calls(
            pool,
            f"{app_url}/{app_path}",
            "app_key",
            self._account(app_url, key, headers, f"{key_header}: {key_prefix}"),
        )
        details = {APP: app_id, ENVIRONMENT: environment}
        account = None
        if tools_key is not None:
            key = Secret.of(tools_key)
            account = self._account(
                tools_url, key, key_headers(key, "tools_key", header=KEY_HEADER, prefix="")
            )
        self._tools = Calls(pool, tools_url, "tools_key", account)
        self._dock = Dock(
            self._tools, Endpoint.at(VENDOR, tools_url, name, path=TOOLS_PATH, details={DOCK: ""})
        )
        urls = SessionUrls(
            app=self._app.url,
            newest=f"{tools_url}/apps/{app}/sessions",
            later=f"{origin_of(app_url)}/aaa/api/v1/{app_path}",
            environment=environment,
        )
        #: Conversations of the app with its users.
        self.sessions = Sessions(self._app, urls)
        #: Runs of the app in these sessions.
        self.runs = Runs(self._app, Endpoint.at(VENDOR, app_url, name, path=APP_PATH, details=details))
        #: Files that users send to the app.
        self.attachments = Attachments(self._app)
        #: The workspace's apps.
        self.apps = Apps(self._tools)
        #: The account's files, which imports use.
        self.files = Files(self._tools)
        #: The account's tools.
        self.tools = Tools(self._dock)
        #: The account's models.
        self.models = Models(self._tools, self._dock)
        #: Filters of the inputs and outputs of models.
        self.guardrails = Guardrails(self._dock)
        #: The account's connections to other companies' models.
        self.connections = Connections(self._tools)

    def _account(self, url: str, key: Secret, headers: Mapping[str, str], header: str = "") -> Account:
        return self._pool.account(
            (VENDOR, url, key, header),
            name=account_name(VENDOR, url, key),
            vendor=VENDOR,
            headers=headers,
            read_refusal=read_refusal,
        )

    @classmethod
    def from_env(cls, pool: SessionPool, environ: Mapping[str, str] | None = None, *, name: str = "") -> Self:
        """Make a client from the `AGENT_PLATFORM_*` variables, or those of the endpoint `name`.

        As `RunClient.from_env`.
        """
        found = read_settings(REQUIRED, VARIABLES, environ, name=name)
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
            name=name,
        )

    async def check(self) -> None:
        """Check the keys: read a run and, with a `tools_key`, a dock job that do not exist.

        Any answer but a refusal of the key means that it is valid. The platform has no call for this.

        Raises `AuthenticationError`, `PermissionDenied`, `ServerError`, `Throttled`, `TransportError`, `ForeignReply`
        or `DecodeError` where somebody else answers, `PoolClosed`.
        """
        self._pool.ensure_open()
        # By its id: no other identifier names a session without creating one.
        run = self.runs.get(_UNKNOWN_ID, session_id=_UNKNOWN_SESSION).ref
        await self._check_key(self._app.account, run_wire.status_request(self._app.url, run))
        if self._tools.key is not None:
            job = self._dock.follow(_UNKNOWN_ID).ref
            await self._check_key(self._tools.account, dock_wire.status_request(self._tools.url, job))

    async def start_row(self, row: BatchRow) -> RunHandle:
        """Start a run for a row of a batch: its target is the session's reference, its message the text.

        Its input, if any, is the run's metadata. Raises what `Runs.start` raises, and ValueError without a message.
        """
        if not row.message.strip():
            raise ValueError("a run of an app needs a message")
        return await self.runs.start(
            row.message, session_reference=row.target, metadata=dict(row.input) or None
        )

    def dock_status(self, job_id: str) -> DockHandle:
        """Return a handle on a dock job by its id. Raises ValueError for an invalid id."""
        return self._dock.follow(job_id)

    def attach(self, ref: RunRef | str) -> RunHandle:
        """Return a handle on a run or dock job by its reference.

        Raises BadReference for one of another vendor, endpoint, app or environment.
        """
        parsed = RunRef.parse(ref) if isinstance(ref, str) else ref
        return (self._dock.attach if DOCK in details_in(parsed.scope) else self.runs.follow)(parsed)

    def __repr__(self) -> str:
        return f"<AgentPlatform at {self._app.url}>"
