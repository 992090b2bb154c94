"""The fake server: its settings, who may call which endpoint, and its counters."""

from collections.abc import Mapping, Sequence

from ....contract.fake import Call, FakeVendorWithInput, Refused, Route, RunPlan, Webhook, has_key
from .apps import AppHandlers, AppRefused
from .attachments import Attachment, Attachments
from .callbacks import Callbacks
from .connections import ConnectionHandlers
from .dock_handlers import DockHandlers
from .dock_jobs import DockJobs
from .files import Files, StoredFile
from .public_sessions import PublicSessionHandlers
from .rules import AgentPlatformRules
from .run_handlers import RunHandlers
from .runs import Runs, RunSerializer
from .session_handlers import SessionHandlers
from .sessions import Sessions
from .signins import SignIns
from .state import App, ServerState


class FakeAgentPlatform(FakeVendorWithInput):
    """Kore Agent Platform as documented: the APIs of an app and of an account. Deterministic for a seed.

    The script of a run is found by the metadata's `key`, the input's text, or `agent:<name>` and `tool:<name>` for a
    direct invocation, the first that has one; that of a dock job by `import:<tool's name, or id, or model's file
    name>`, `export:<id>`, `deploy:<id>`, `undeploy:<id>`, with a guardrail's name in place of the id. Scripts use the
    vendor's status words, for runs in any case; the status of the last step stays for ever. The plan's `pausing` and
    `history` are ignored. Synchronous runs and deployments are answered with `DelayedReply`, streams with
    `StreamedReply`. Callbacks are sent by the server that the fake runs in. `starts` are counted of `runs` and
    `dock_jobs`, `dropped` answers and streams whose client disconnected, `uploads` of attachments and files in one
    call, `chunks` that were not sent before.
    """

    vendor = "agent-platform"
    counters = (
        *("runs", "dock_jobs", "polls_without_identity", "sessions", "terminated", "streams", "dropped"),
        *("uploads", "chunked_uploads", "chunks", "chunks_again", "apps", "connections", "signins_asked"),
        *("downloads", "downloads_with_key", "webhooks_planned"),
    )

    def __init__(
        self,
        plan: RunPlan | None = None,
        *,
        app_id: str = "aa-demo",
        environment: str = "draft",
        app_key: str = "demo-app-key",
        tools_key: str = "demo-tools-key",
        rules: AgentPlatformRules | None = None,
    ) -> None:
        super().__init__(plan)
        self._rules = rules = AgentPlatformRules() if rules is None else rules
        self._app_key = app_key
        self._tools_key = tools_key
        self._app = App(app_id=app_id, environment=environment)
        self._server = server = ServerState(self.plan, rules, self._app, self.counts)
        self._serializer = serializer = RunSerializer(server)
        self._sessions = sessions = Sessions(server)
        self._signins = SignIns(server)
        self._attachments = Attachments(server, sessions)
        self._runs = Runs(server)
        self._callbacks = Callbacks(server, serializer)
        self._dock_jobs = DockJobs(server)
        self._files = Files(server, self._dock_jobs)
        self._run_handlers = RunHandlers(
            server,
            sessions=sessions,
            signins=self._signins,
            attachments=self._attachments,
            runs=self._runs,
            serializer=serializer,
            callbacks=self._callbacks,
            count_start=self.count_start,
        )
        self._routes = self._make_routes()

    @property
    def files(self) -> Sequence[StoredFile]:
        """Return the account's files, in order of upload."""
        return list(self._files)

    @property
    def attachments(self) -> Sequence[Attachment]:
        """Return the attachments that were not deleted, in order of upload."""
        return list(self._attachments)

    def environment(self, url: str) -> Mapping[str, str]:
        """Return the `AGENT_PLATFORM_*` variables."""
        given = {
            "AGENT_PLATFORM_BASE_URL": f"{url}/api/v2",
            "AGENT_PLATFORM_TOOLS_URL": f"{url}/api/public",
            "AGENT_PLATFORM_APP_ID": self._app.app_id,
            "AGENT_PLATFORM_ENVIRONMENT": self._app.environment,
            "AGENT_PLATFORM_APP_KEY": self._app_key,
            "AGENT_PLATFORM_TOOLS_KEY": self._tools_key,
        }
        if self._rules.key_header != AgentPlatformRules().key_header:
            given["AGENT_PLATFORM_KEY_HEADER"] = self._rules.key_header
        if self._rules.key_prefix:
            given["AGENT_PLATFORM_KEY_PREFIX"] = self._rules.key_prefix
        return given

    def ended_at(self, run_id: str) -> float | None:
        """Return the second at which a run or dock job ends, also before then; None if unknown or without an end."""
        found = self._runs.get(run_id) or self._dock_jobs.get(run_id)
        return None if found is None else found.ended_at

    def authorize(self, user: str, provider: str | None = None) -> None:
        """Record that a user has signed in at one provider, or at all. Raises KeyError for users who never had to."""
        self._signins.authorize(user, provider)

    def install_file(self, name: str, *, context: str = "bulkImport", size: int = 1) -> str:
        """Record a file as uploaded, and return its id."""
        return self._files.add(name=name, context=context, size=size, sha256="", chunks=0).id

    def next_webhook_at(self) -> float | None:
        """Return the second at which the next run with a callback ends; None if there is none."""
        return self._callbacks.queue.next_at()

    def take_webhooks(self, now: float) -> Sequence[Webhook]:
        """Return the callbacks of the runs that have ended by now, in order of their ends, each once."""
        return self._callbacks.queue.take_due(now)

    def false_bodies(self, webhook: Webhook) -> Sequence[bytes]:
        """Return two forged bodies of this callback: one with another run's id, one with the opposite outcome."""
        return self._callbacks.false_bodies(webhook)

    def _make_routes(self) -> tuple[Route, ...]:
        server, rules = self._server, self._rules
        public = PublicSessionHandlers(server, self._sessions, self._serializer)
        apps = AppHandlers(server)
        app_calls = (
            SessionHandlers(server, self._sessions, self._signins),
            public,
            self._run_handlers,
            self._attachments,
        )
        account_calls = (
            self._files,
            self._dock_jobs,
            DockHandlers(server, self._dock_jobs, self._files),
            ConnectionHandlers(server),
        )

        def permit_app(call: Call) -> None:
            if not has_key(call, self._app_key, header=rules.key_header, prefix=rules.key_prefix):
                raise Refused(rules.wrong_key_status, "the key is not valid")
            if call.path["app_id"] != self._app.app_id:
                raise server.forbidden("the key belongs to another app")
            if call.path.get("environment", self._app.environment) != self._app.environment:
                raise server.not_found("environment")

        def has_tools_key(call: Call) -> bool:
            return has_key(
                call, self._tools_key, header=rules.tools_key_header, prefix=rules.tools_key_prefix
            )

        def permit_account(call: Call) -> None:
            if not has_tools_key(call):
                raise Refused(rules.wrong_key_status, "the key is not valid")

        def permit_creation(call: Call) -> None:
            if not has_tools_key(call):
                raise AppRefused(401, "UNAUTHORIZED", "The key is not valid.")

        # The fixed paths come first: `apps/createApp` and `tools/import` must not match as ids.
        return (
            *server.routes(apps.endpoints(), permit_creation, apps.refusal),
            *(route for calls in app_calls for route in server.routes(calls.endpoints(), permit_app)),
            *(route for calls in account_calls for route in server.routes(calls.endpoints(), permit_account)),
            *server.routes(self._dock_jobs.open_endpoints(), None),
        )


def make_fake(plan: RunPlan) -> FakeAgentPlatform:
    """Make the fake that the simulator serves by default."""
    return FakeAgentPlatform(plan)
