"""Kore Agent Platform in memory: what it is set up with, who may call it, and what was counted."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from ....contract.fake import Call, Refused, Route, RunPlan, Webhook
from .apps import AppCalls, AppRefused
from .attachments import Attachment, Attachments
from .callbacks import Callbacks
from .connections import ConnectionCalls
from .courses import Courses
from .desk import Desk, Place
from .dock import Dock
from .docked import DockCalls
from .execute import RunCalls
from .files import Files, StoredFile
from .public_sessions import PublicSessionCalls
from .rules import AgentPlatformRules
from .runs import Dispatcher, Runs
from .session_calls import SessionCalls
from .sessions import Sessions
from .signins import SignIns

_COUNTS: Final = (
    "token_requests starts runs dock_jobs polls polls_without_identity sessions terminated streams dropped uploads "
    "chunked_uploads chunks chunks_again apps connections signins_asked downloads downloads_with_key webhooks_planned"
)


class FakeAgentPlatform:
    """Kore Agent Platform as its facts describe it: an app's APIs and an account's. Deterministic by seed.

    Scripts of runs go by the metadata's `key`, the input's text, or `agent:<name>` and `tool:<name>` for what is
    invoked, the first that there is; those of dock jobs by `import:<tool's name, or id, or model's file name>`,
    `export:<id>`, `deploy:<id>`, `undeploy:<id>`, or a guardrail's name in place of the id. Their words are the
    vendor's, for runs in any case; after the last step all stays as it is. Synchronous runs and deployments are
    answered with `DelayedReply`, streams with `StreamedReply`. The plan's `pausing` and `history` have no meaning
    here. It implements `SendsWebhooks`: who serves it takes what is due for callbacks and sends it.
    """

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
        plan = RunPlan() if plan is None else plan
        self._rules = rules = AgentPlatformRules() if rules is None else rules
        self._app_key = app_key
        self._tools_key = tools_key
        self._place = Place(app_id=app_id, environment=environment)
        self._desk = desk = Desk(plan, rules, self._place)
        courses = Courses(plan, desk.chance, at_once=rules.at_once)
        self._teller = teller = Dispatcher(desk)
        self._sessions = sessions = Sessions(desk)
        self._signins = SignIns(desk)
        self._attachments = Attachments(desk, sessions)
        self._runs = Runs(desk, courses)
        self._callbacks = Callbacks(desk, teller)
        self._dock = Dock(desk, courses)
        self._files = Files(desk, self._dock)
        self._run_calls = RunCalls(
            desk,
            sessions=sessions,
            signins=self._signins,
            attachments=self._attachments,
            runs=self._runs,
            teller=teller,
            callbacks=self._callbacks,
        )
        self._routes = self._make_routes()

    @property
    def vendor(self) -> str:
        """Return `agent-platform`."""
        return "agent-platform"

    @property
    def routes(self) -> Sequence[Route]:
        """Return the endpoints of both keys, and the downloads."""
        return self._routes

    @property
    def starts_by_key(self) -> Mapping[str, int]:
        """Return how many runs were begun for each value of the metadata's member `key`."""
        return MappingProxyType(self._run_calls.by_key)

    @property
    def files(self) -> Sequence[StoredFile]:
        """Return the account's files, in the order in which they were there."""
        return list(self._files)

    @property
    def attachments(self) -> Sequence[Attachment]:
        """Return the attachments that were not deleted, in the order in which they were there."""
        return list(self._attachments)

    def statistics(self) -> Mapping[str, int]:
        """Return what was counted.

        `starts` are `runs` and `dock_jobs` begun, `polls` the reads of either's status. `dropped` are answers and
        streams whose client left. `uploads` are attachments and whole files, `chunks` those that were new.
        `refused_<status>` are the refusals. `token_requests` is 0.
        """
        return dict.fromkeys(_COUNTS.split(), 0) | dict(self._desk.counts)

    def environment(self, url: str) -> Mapping[str, str]:
        """Return the `AGENT_PLATFORM_*` variables."""
        given = {
            "AGENT_PLATFORM_BASE_URL": f"{url}/api/v2",
            "AGENT_PLATFORM_TOOLS_URL": f"{url}/api/public",
            "AGENT_PLATFORM_APP_ID": self._place.app_id,
            "AGENT_PLATFORM_ENVIRONMENT": self._place.environment,
            "AGENT_PLATFORM_APP_KEY": self._app_key,
            "AGENT_PLATFORM_TOOLS_KEY": self._tools_key,
        }
        if self._rules.key_header != AgentPlatformRules().key_header:
            given["AGENT_PLATFORM_KEY_HEADER"] = self._rules.key_header
        if self._rules.key_prefix:
            given["AGENT_PLATFORM_KEY_PREFIX"] = self._rules.key_prefix
        return given

    def revoke(self, authorization: str) -> bool:  # noqa: ARG002 - the signature is every world's
        """Return False: there are no tokens."""
        return False

    def ended_at(self, run_id: str) -> float | None:
        """Return the world's second at which a run or dock job ends, also before it has come; None for never."""
        found = self._runs.get(run_id) or self._dock.get(run_id)
        end = None if found is None else found.end
        return None if end is None else end[0]

    def authorize(self, user: str, provider: str | None = None) -> None:
        """Let a user have signed in at one provider, or at all. Raises KeyError for who never had to."""
        self._signins.authorize(user, provider)

    def install_file(self, name: str, *, context: str = "bulkImport", size: int = 1) -> str:
        """Put a file in, as an upload would; gives its id."""
        return self._files.keep(name=name, context=context, size=size, sha256="", chunks=0).id

    def next_webhook_at(self) -> float | None:
        """Return the world's second at which the next run with a callback ends; None when there is none."""
        return self._callbacks.next_at()

    def take_webhooks(self, now: float) -> Sequence[Webhook]:
        """Return the announcements of the runs that have ended by now, in the order of their ends, each once."""
        return self._callbacks.take(now)

    def false_bodies(self, webhook: Webhook) -> Sequence[bytes]:
        """Return the same announcement with another run's id, and with an end that is not how it ended."""
        return self._callbacks.false_bodies(webhook)

    def _make_routes(self) -> tuple[Route, ...]:
        desk, rules = self._desk, self._rules
        public = PublicSessionCalls(desk, self._sessions, self._teller)
        apps = AppCalls(desk)
        app_calls = (
            SessionCalls(desk, self._sessions, self._signins),
            public,
            self._run_calls,
            self._attachments,
        )
        account_calls = (
            self._files,
            self._dock,
            DockCalls(desk, self._dock, self._files),
            ConnectionCalls(desk),
        )
        app_key = _bearing(rules.key_header, rules.key_prefix, self._app_key)
        tools_key = _bearing(rules.tools_key_header, rules.tools_key_prefix, self._tools_key)

        def permit_app(call: Call) -> None:
            if not app_key(call):
                raise Refused(rules.wrong_key_status, "the key is not valid")
            if call.path["app_id"] != self._place.app_id:
                raise desk.foreign("the key is another app's")
            if call.path.get("environment", self._place.environment) != self._place.environment:
                raise desk.missing("environment")

        def permit_account(call: Call) -> None:
            if not tools_key(call):
                raise Refused(rules.wrong_key_status, "the key is not valid")

        def permit_creation(call: Call) -> None:
            if not tools_key(call):
                raise AppRefused(401, "UNAUTHORIZED", "The key is not valid.")

        # The fixed paths come first: `apps/createApp` and `tools/import` must not be taken for an id.
        return (
            *desk.routes(apps.endpoints(), permit_creation, apps.tell),
            *(route for calls in app_calls for route in desk.routes(calls.endpoints(), permit_app)),
            *(route for calls in account_calls for route in desk.routes(calls.endpoints(), permit_account)),
            *desk.routes(self._dock.open_endpoints(), None),
        )


def _bearing(header: str, prefix: str, key: str) -> Callable[[Call], bool]:
    """Say of calls whether they bear a key."""
    wanted = f"{prefix} {key}" if prefix[-1:].isalnum() else f"{prefix}{key}"
    return lambda call: call.header(header.lower()) == wanted


def make_fake(plan: RunPlan) -> FakeAgentPlatform:
    """Make the world that the simulator serves unless it is told otherwise."""
    return FakeAgentPlatform(plan)
