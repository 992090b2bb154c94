"""Every status in AGH Runtime's facts, over loopback and as the client's error: one row for each."""

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from io import BytesIO
from typing import Any, Final

import aiohttp
import pytest
from attrs import frozen

from aioagents import (
    AgentsError,
    Agh,
    AuthenticationError,
    BadRequest,
    Conflict,
    NotFound,
    PermissionDenied,
    RetryPolicy,
    RunHandle,
    RunState,
    ServerError,
    SessionPool,
    StartUnknown,
    Steady,
)
from aioagents.contract.fake import Route, RunPlan, Step, json_reply
from aioagents.observe import Event, RequestDone
from aioagents.providers.agh import Delivery
from aioagents.providers.agh.fake import AghRules, FakeAgh, job_id, sign, trigger_id
from aioagents.simulator import Simulator

_SECRET: Final = "k3y-for-docs-only"
_AUTOMATION: Final = "/api/automation"
_LIMIT: Final = {"max": 1_000_000, "window": "1h"}
_COMMON: Final[Mapping[str, Any]] = {"scope": "global", "agent_name": "writer", "prompt": "Do it."}
_YEARLY: Final = {"mode": "cron", "expr": "0 0 1 1 *"}
_JOB: Final[Mapping[str, Any]] = {**_COMMON, "schedule": _YEARLY}
_HOOK: Final[Mapping[str, Any]] = {**_COMMON, "event": "webhook", "webhook_secret_value": _SECRET}

#: The statuses of each call by sections 6.1 to 6.9, 9.6 and 10.1 to 10.6 of the facts, those called extra included.
FACTS: Final[Mapping[str, set[int]]] = {
    "jobs.list": {200, 400, 403, 500, 503},
    "jobs.create": {201, 400, 403, 409, 413, 500, 503},
    "jobs.get": {200, 403, 404, 500, 503},
    "jobs.update": {200, 400, 403, 404, 409, 413, 500, 503},
    "jobs.delete": {204, 400, 403, 404, 409, 500, 503},
    "jobs.runs": {200, 400, 403, 404, 500, 503},
    "jobs.trigger": {200, 403, 404, 409, 500, 503},
    "runs.list": {200, 400, 403, 500, 503},
    "runs.get": {200, 403, 404, 500, 503},
    "triggers.list": {200, 400, 403, 500, 503},
    "triggers.create": {201, 400, 403, 409, 413, 500, 503},
    "triggers.get": {200, 403, 404, 500, 503},
    "triggers.update": {200, 400, 403, 404, 409, 413, 500, 503},
    "triggers.delete": {204, 400, 403, 404, 409, 500, 503},
    "triggers.runs": {200, 400, 403, 404, 500, 503},
    "webhooks.deliver": {200, 400, 401, 403, 404, 409, 413, 500, 503},
}
_ERRORS: Final[Mapping[int, type[AgentsError]]] = {
    400: BadRequest,
    401: AuthenticationError,
    403: PermissionDenied,
    404: NotFound,
    409: Conflict,
    413: BadRequest,
    500: ServerError,
    503: ServerError,
}
_STARTS: Final = {"jobs.create", "jobs.trigger", "triggers.create", "webhooks.deliver"}
_RULES: Final[Mapping[str, AghRules]] = {
    "usual": AghRules(concurrency=100),
    "off": AghRules(is_enabled=False),
    "idle": AghRules(has_engine=False),
    "exposed": AghRules(is_exposed=True),
    "full": AghRules(concurrency=0),
    "named": AghRules(unique_names=True),
}


class _Broken(FakeAgh):
    """A daemon that fails internally at every call."""

    def __init__(self) -> None:
        super().__init__()
        self._routes = tuple(
            Route(
                method=route.method,
                path=route.path,
                call=route.call,
                purpose=route.purpose,
                handler=lambda _: json_reply({"error": "Internal Server Error"}, 500),
            )
            for route in self._routes
        )


def _fake(name: str) -> FakeAgh:
    if name == "broken":
        return _Broken()
    end = [Step("completed")]
    scripts = {
        "quick": end,
        "narrow": end,
        "picky": end,
        "bad": [Step("failed")],
        "vetoed": [Step("canceled")],
    }
    fake = FakeAgh(RunPlan(scripts=scripts), rules=_RULES[name])
    for each in ("quick", "bad", "vetoed", "task", "config", "package"):
        source = each if each in {"config", "package"} else "dynamic"
        task: dict[str, Any] = {"task": {}} if each == "task" else {}
        job = {**_JOB, "name": each, "fire_limit": _LIMIT, **task}
        fake.install_job(job, job_id=job_id(each), source=source)
        hook = {
            **_HOOK,
            "name": each,
            "fire_limit": _LIMIT,
            "endpoint_slug": each,
            "webhook_id": f"wbh_{each}",
        }
        fake.install_trigger(hook, trigger_id=trigger_id(each), source=source)
    narrow = {"fire_limit": {"max": 1, "window": "1h"}}
    fake.install_job({**_JOB, **narrow, "name": "narrow"}, job_id=job_id("narrow"))
    plain = {**_COMMON, "name": "plain", "event": "session.created"}
    fake.install_trigger(plain, trigger_id=trigger_id("plain"))
    hooks: Mapping[str, Mapping[str, Any]] = {
        "narrow": narrow,
        "picky": {"filter": {"data.action": "deploy"}},
        "disabled": {"enabled": False},
        "lost": {},
    }
    for each, members in hooks.items():
        hook = {**_HOOK, "name": each, "endpoint_slug": each, "webhook_id": f"wbh_{each}"}
        fake.install_trigger({**hook, **members}, trigger_id=trigger_id(each))
    fake.lose_secret(trigger_id("lost"))
    return fake


@frozen
class Stage:
    """A client of a simulated daemon, and a plain HTTP client for requests that the first would not send."""

    agh: Agh
    fake: FakeAgh
    url: str
    session: aiohttp.ClientSession
    seen: Mapping[str, list[int | None]]

    async def raw(self, method: str, path: str, body: object = None, **headers: str) -> int:
        """Send a request unchanged, check the form of a refusal, and return the status."""
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        data = None if content is None else BytesIO(content)
        async with self.session.request(method, f"{self.url}{path}", data=data, headers=headers) as reply:
            if reply.status >= 400:
                refusal = await reply.json()
                assert list(refusal) == ["error"]
                assert refusal["error"]
                if reply.status >= 500:
                    assert refusal["error"] == HTTPStatus(reply.status).phrase
            return reply.status

    async def post(self, endpoint: str, body: bytes = b"{}", *, late: int = 0, **changes: str | None) -> int:
        """Deliver a webhook with changed headers; one that is changed to None is left out."""
        at = int(time.time()) - late
        headers = {"Timestamp": str(at), "Signature": sign(_SECRET, at * 10**9, body), "Delivery-ID": "d-1"}
        changed = {name.replace("_", "-"): value for name, value in changes.items()}
        sent = {
            f"X-AGH-Webhook-{name}": value
            for name, value in {**headers, **changed}.items()
            if value is not None
        }
        return await self.raw("POST", f"/api/webhooks/{endpoint}", body, **sent)

    async def deliver(self, name: str, **options: Any) -> Delivery:
        """Deliver a webhook to the trigger of this name."""
        return await self.agh.webhooks.deliver(f"{name}--wbh_{name}", {}, **{"secret": _SECRET, **options})

    async def trigger(self, name: str) -> RunHandle:
        """Trigger the job of this name."""
        return await self.agh.jobs.trigger(job_id(name))


@asynccontextmanager
async def _stage(name: str) -> AsyncIterator[Stage]:
    seen: dict[str, list[int | None]] = defaultdict(list)

    def note(event: Event) -> None:
        if isinstance(event, RequestDone):
            seen[event.call].append(event.status)

    async with (
        asyncio.timeout(60),
        Simulator(fakes=[_fake(name)]) as simulator,
        aiohttp.ClientSession() as session,
        SessionPool(retry=RetryPolicy(attempts=1), hooks=[note], cadence=Steady(0.05)) as pool,
    ):
        agh = Agh(pool, base_url=simulator.url)
        fake = simulator.fake("agh")
        assert isinstance(fake, FakeAgh)
        yield Stage(agh, fake, simulator.url, session, seen)


Act = Callable[[Stage], Awaitable[Any]]
Row = tuple[str, int, str, Act]


async def _in_order(first: Awaitable[Any], then: Awaitable[Any]) -> Any:
    """Await `first`, and return the result of `then`."""
    await first
    return await then


async def _read(runs: Any) -> list[Any]:
    return [run async for run in runs]


def _rows_of(
    resource: str, new: Mapping[str, Any], item: Callable[[str], str], verbs: Callable[[Agh], Any]
) -> list[Row]:
    """Return the rows that jobs and triggers have in common: sections 6.1 to 6.6 and 10.1 to 10.6."""
    path, call = f"{_AUTOMATION}/{resource}", resource
    large = b'{"name": "' + b"x" * 4_194_304 + b'"}'
    rows: list[Row] = [
        (f"{call}.list", 200, "usual", lambda s: verbs(s.agh).list()),
        (f"{call}.list", 400, "usual", lambda s: s.raw("GET", f"{path}?limit=some")),
        (f"{call}.list", 400, "usual", lambda s: s.raw("GET", f"{path}?scope=planet")),
        (f"{call}.create", 201, "usual", lambda s: verbs(s.agh).create(**new)),
        (f"{call}.create", 400, "usual", lambda s: s.raw("POST", path, b"{")),
        (f"{call}.create", 400, "usual", lambda s: s.raw("POST", path, {**new, "scope": "planet"})),
        (f"{call}.create", 409, "named", lambda s: verbs(s.agh).create(**{**new, "name": "quick"})),
        (f"{call}.create", 413, "usual", lambda s: s.raw("POST", path, large)),
        (f"{call}.get", 200, "usual", lambda s: verbs(s.agh).get(item("quick"))),
        (f"{call}.get", 404, "usual", lambda s: verbs(s.agh).get("nothing")),
        (f"{call}.update", 200, "usual", lambda s: verbs(s.agh).update(item("quick"), name="other")),
        (f"{call}.update", 200, "usual", lambda s: verbs(s.agh).update(item("config"), enabled=False)),
        (f"{call}.update", 400, "usual", lambda s: s.raw("PATCH", f"{path}/{item('quick')}", {})),
        (f"{call}.update", 400, "usual", lambda s: s.raw("PATCH", f"{path}/{item('quick')}", b"[")),
        (f"{call}.update", 400, "usual", lambda s: verbs(s.agh).update(item("config"), name="other")),
        (f"{call}.update", 404, "usual", lambda s: verbs(s.agh).update("nothing", name="other")),
        (f"{call}.update", 409, "usual", lambda s: verbs(s.agh).update(item("package"), enabled=False)),
        (f"{call}.update", 413, "usual", lambda s: s.raw("PATCH", f"{path}/{item('quick')}", large)),
        (f"{call}.delete", 204, "usual", lambda s: verbs(s.agh).delete(item("quick"))),
        (f"{call}.delete", 400, "usual", lambda s: verbs(s.agh).delete(item("config"))),
        (f"{call}.delete", 404, "usual", lambda s: verbs(s.agh).delete("nothing")),
        (f"{call}.delete", 409, "usual", lambda s: verbs(s.agh).delete(item("package"))),
        (f"{call}.runs", 200, "usual", lambda s: _read(verbs(s.agh).runs(item("quick")))),
        (f"{call}.runs", 400, "usual", lambda s: s.raw("GET", f"{path}/{item('quick')}/runs?status=done")),
        (f"{call}.runs", 400, "usual", lambda s: s.raw("GET", f"{path}/{item('quick')}/runs?since=now")),
        (f"{call}.runs", 404, "usual", lambda s: _read(verbs(s.agh).runs("nothing"))),
        (f"{call}.runs", 404, "usual", lambda s: s.raw("GET", f"{path}/nothing/runs?status=done")),
        (f"{call}.runs", 500, "usual", lambda s: s.raw("GET", f"{path}/{item('quick')}/runs?limit=-1")),
    ]
    for status, fake in ((403, "exposed"), (500, "broken"), (503, "off")):
        rows += [
            (f"{call}.list", status, fake, lambda s: verbs(s.agh).list()),
            (f"{call}.create", status, fake, lambda s: verbs(s.agh).create(**new)),
            (f"{call}.get", status, fake, lambda s: verbs(s.agh).get(item("quick"))),
            (f"{call}.update", status, fake, lambda s: verbs(s.agh).update(item("quick"), name="other")),
            (f"{call}.delete", status, fake, lambda s: verbs(s.agh).delete(item("quick"))),
            (f"{call}.runs", status, fake, lambda s: _read(verbs(s.agh).runs(item("quick")))),
        ]
    return rows


async def _first_run(stage: Stage) -> Any:
    run = await stage.trigger("quick")
    return await stage.agh.runs.get(run.id)


_LATE: Final = f"{_AUTOMATION}/runs?since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z"
_TRIGGER: Final = f"{_AUTOMATION}/jobs/{job_id('quick')}/trigger"
_RUNS: list[Row] = [
    ("jobs.trigger", 200, "usual", lambda s: s.trigger("quick")),
    ("jobs.trigger", 200, "usual", lambda s: s.trigger("task")),
    ("jobs.trigger", 200, "usual", lambda s: s.trigger("vetoed")),
    ("jobs.trigger", 404, "usual", lambda s: s.raw("POST", f"{_AUTOMATION}/jobs/nothing/trigger")),
    ("jobs.trigger", 409, "full", lambda s: s.trigger("quick")),
    (
        "jobs.trigger",
        409,
        "usual",
        lambda s: _in_order(
            s.raw("POST", _TRIGGER.replace(job_id("quick"), job_id("narrow"))), s.trigger("narrow")
        ),
    ),
    ("jobs.trigger", 500, "usual", lambda s: s.trigger("bad")),
    ("jobs.trigger", 403, "exposed", lambda s: s.raw("POST", _TRIGGER)),
    ("jobs.trigger", 500, "broken", lambda s: s.raw("POST", _TRIGGER)),
    ("jobs.trigger", 503, "off", lambda s: s.raw("POST", _TRIGGER)),
    ("runs.list", 200, "usual", lambda s: _read(s.agh.runs.list())),
    ("runs.list", 400, "usual", lambda s: s.raw("GET", f"{_AUTOMATION}/runs?limit=some")),
    ("runs.list", 500, "usual", lambda s: s.raw("GET", _LATE)),
    ("runs.get", 200, "usual", _first_run),
    ("runs.get", 404, "usual", lambda s: s.agh.runs.get("nothing")),
]
for _status, _name in ((403, "exposed"), (500, "broken"), (503, "off")):
    _RUNS += [
        ("runs.list", _status, _name, lambda s: _read(s.agh.runs.list())),
        ("runs.get", _status, _name, lambda s: s.agh.runs.get("any")),
    ]


_DELIVERIES: Final[list[Row]] = [
    ("webhooks.deliver", status, fake, act)
    for status, fake, act in (
        (200, "usual", lambda s: s.deliver("quick")),
        (200, "usual", lambda s: s.deliver("picky")),
        (200, "exposed", lambda s: s.deliver("quick")),
        (400, "usual", lambda s: s.post("global/quick")),
        (400, "usual", lambda s: s.post("global/quick--wbh_quick", Timestamp=None)),
        (400, "usual", lambda s: s.post("global/quick--wbh_quick", Timestamp="soon")),
        (400, "usual", lambda s: s.post("global/quick--wbh_quick", Signature=None)),
        (400, "usual", lambda s: s.post("global/quick--wbh_quick", Delivery_ID=None)),
        (400, "usual", lambda s: s.deliver("lost")),
        (401, "usual", lambda s: s.deliver("quick", secret="another")),
        (401, "usual", lambda s: s.post("global/quick--wbh_quick", late=302)),
        (403, "usual", lambda s: s.raw("POST", "/api/webhooks/global/a--wbh_a", Origin="http://example.com")),
        (404, "usual", lambda s: s.deliver("nothing")),
        (404, "usual", lambda s: s.deliver("disabled")),
        (404, "usual", lambda s: s.deliver("quick", workspace_id="ws-1")),
        (
            409,
            "usual",
            lambda s: _in_order(s.post("global/quick--wbh_quick"), s.deliver("quick", delivery_id="d-1")),
        ),
        (409, "usual", lambda s: _in_order(s.post("global/narrow--wbh_narrow"), s.deliver("narrow"))),
        (409, "full", lambda s: s.deliver("quick")),
        (413, "usual", lambda s: s.post("global/quick--wbh_quick", b" " * 1_048_577)),
        (500, "usual", lambda s: s.deliver("bad")),
        (500, "usual", lambda s: s.deliver("bad", trigger_id=trigger_id("bad"))),
        (500, "broken", lambda s: s.deliver("quick")),
        (503, "off", lambda s: s.deliver("quick")),
        (503, "idle", lambda s: s.deliver("quick")),
    )
]
_NEW_TRIGGER: Final[Mapping[str, Any]] = {**_HOOK, "name": "new", "endpoint_slug": "new"}
ROWS: Final[list[Row]] = [
    *_rows_of("jobs", {**_JOB, "name": "new"}, job_id, lambda agh: agh.jobs),
    *_rows_of("triggers", _NEW_TRIGGER, trigger_id, lambda agh: agh.triggers),
    *_RUNS,
    *_DELIVERIES,
    # Unlike a job's, a trigger's change that does not go with what stays is a 500; a `webhook_id` is one trigger's.
    (
        "triggers.update",
        500,
        "usual",
        lambda s: s.agh.triggers.update(trigger_id("plain"), webhook_secret_value="a"),
    ),
    (
        "triggers.create",
        409,
        "usual",
        lambda s: s.agh.triggers.create(**{**_NEW_TRIGGER, "webhook_id": "wbh_quick"}),
    ),
    ("jobs.update", 400, "usual", lambda s: s.agh.jobs.update(job_id("quick"), workspace_id="ws-1")),
]


def test_every_status_of_the_facts_has_a_row() -> None:
    """The rows cover the statuses of all calls, and no others."""
    covered: dict[str, set[int]] = defaultdict(set)
    for call, status, _, _ in ROWS:
        covered[call].add(status)
    assert covered == FACTS


@pytest.mark.parametrize(
    ("call", "status", "fake", "act"),
    ROWS,
    ids=[f"{n}-{row[0]}-{row[1]}-{row[2]}" for n, row in enumerate(ROWS)],
)
async def test_status(call: str, status: int, fake: str, act: Act) -> None:
    """The daemon answers with the status, and the client raises its error; a hidden end is found or unknown."""
    async with _stage(fake) as stage:
        outcome: Any
        try:
            outcome = await act(stage)
        except AgentsError as error:
            outcome = error
        if isinstance(outcome, int):  # what the client would not send
            assert outcome == status
            return
        assert stage.seen[call] == [status]
        if isinstance(outcome, StartUnknown):
            assert (outcome.status, outcome.status == 500, call in _STARTS) == (status, True, True)
        elif isinstance(outcome, AgentsError):
            assert type(outcome) is _ERRORS[status]
            assert (outcome.vendor, outcome.call, outcome.status) == ("agh", call, status)
            assert outcome.detail not in str(outcome)
        elif status >= 400:  # the run is known all the same
            assert isinstance(outcome, RunHandle | Delivery)


@pytest.mark.parametrize(
    ("reason", "fake", "act"),
    [
        ("concurrency", "full", lambda s: s.trigger("quick")),
        ("concurrency", "full", lambda s: s.deliver("quick")),
        ("fire", "usual", lambda s: _in_order(s.trigger("narrow"), s.trigger("narrow"))),
        ("fire", "usual", lambda s: _in_order(s.deliver("narrow"), s.deliver("narrow"))),
        ("read-only", "usual", lambda s: s.agh.jobs.delete(job_id("package"))),
        ("read-only", "usual", lambda s: s.agh.triggers.update(trigger_id("package"), enabled=False)),
        (
            "webhook-id",
            "usual",
            lambda s: s.agh.triggers.create(**{**_NEW_TRIGGER, "webhook_id": "wbh_quick"}),
        ),
        ("name", "named", lambda s: s.agh.jobs.create(**{**_JOB, "name": "quick"})),
    ],
)
async def test_reasons_of_conflicts(reason: str, fake: str, act: Act) -> None:
    """Each reason of a 409 is recognized, with its numbers for a limit; no run is started by it."""
    async with _stage(fake) as stage:
        with pytest.raises(Conflict) as caught:
            await act(stage)
        error = caught.value
        assert error.reason == reason
        assert (error.limit is not None) is (error.active is not None) is (reason in {"concurrency", "fire"})
        assert (error.retry_at is not None) is (reason == "fire")
        assert stage.fake.statistics()["starts"] == (reason == "fire")


async def test_repeated_delivery_is_no_error() -> None:
    """The sixth reason, a used delivery id, means that the delivery has arrived."""
    async with _stage("usual") as stage:
        first = await stage.deliver("quick", delivery_id="d-1")
        again = await stage.deliver("quick", delivery_id="d-1", trigger_id=trigger_id("quick"))
        assert (first.is_replay, again.is_replay) == (False, True)
        assert again.run is not None
        assert [run.id for run in first.runs] == [again.run.id]
        assert stage.fake.starts_by_target[trigger_id("quick")] == 1


async def test_what_the_blocking_calls_hide() -> None:
    """A run that failed, one that a hook vetoed and one that was delegated are known by their own records."""
    async with _stage("usual") as stage:
        handles = [await stage.trigger(name) for name in ("quick", "bad", "vetoed")]
        assert [(await handle).state for handle in handles] == [
            RunState.COMPLETED,
            RunState.FAILED,
            RunState.ABORTED,
        ]
        hidden = await stage.deliver("bad", trigger_id=trigger_id("bad"))
        assert hidden.run is not None
        assert (await hidden.run).state is RunState.FAILED
        delegated = await stage.trigger("task")
        assert delegated.accepted is not None
        assert delegated.accepted.raw["run"]["status"] == "delegated"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", f"{_AUTOMATION}/nothing", 404),
        ("PUT", f"{_AUTOMATION}/jobs", 404),
        ("GET", _TRIGGER, 404),
        ("GET", f"{_AUTOMATION}/jobs/", 301),
        ("POST", f"{_TRIGGER}/", 307),
    ],
)
async def test_paths_that_are_none(method: str, path: str, status: int) -> None:
    """An unknown path and a wrong method are a 404 in plain text, an extra slash is redirected."""
    async with (
        _stage("usual") as stage,
        stage.session.request(method, f"{stage.url}{path}", allow_redirects=False) as reply,
    ):
        assert (reply.status, reply.content_type) == (status, "text/plain")


async def test_foreign_origins() -> None:
    """A request with a foreign `Origin` is refused, and the client never sends that header."""
    async with _stage("usual") as stage:
        assert await stage.raw("GET", f"{_AUTOMATION}/jobs", Origin="http://example.com") == 403
        assert await stage.raw("GET", f"{_AUTOMATION}/jobs", Origin=stage.url) == 200
