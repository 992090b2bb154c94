"""The fake server of Leena AI, called directly."""

import base64
from typing import Any
from urllib.parse import urlencode

import pytest

from aioagents.codec import decode_json, encode_json
from aioagents.contract.fake import RunPlan, Step, answer
from aioagents.model import Reply, Request
from aioagents.providers.leena.fake import (
    AOP_SCOPE,
    REPORT_SCOPE,
    AopRules,
    FakeLeena,
    LeenaAccount,
)

_TOKEN = "/api/v1.0/oauth/token"
_EXECUTE = "/api/v1/external/aop/execute"
_REPORT = "/api/analytics/query/external"
_GRANT = {"username": "demo-user", "password": "demo-password", "grant_type": "password"}
_DAY = "metricId=aic:totalRunsTable&responseType=table&from=2026-01-05&to=2026-01-05"


class _Client:
    """Calls one fake server as a client would, with a token it got at second 0."""

    def __init__(self, fake: FakeLeena) -> None:
        self.fake = fake
        self.token = decode_json(self.ask_token().body)["access_token"]

    def post(
        self, path: str, body: Any, *, now: float = 0.0, speed: float = 1.0, **headers: str | None
    ) -> Reply:
        sent = {"content-type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()}
        request = Request(
            method="POST",
            url=f"http://127.0.0.1{path}",
            call="",
            headers={name: value for name, value in sent.items() if value is not None},
            body=body if isinstance(body, bytes) else encode_json(body),
        )
        return answer([self.fake], request, now=now, speed=speed)

    def get(self, path: str, *, now: float = 0.0, authorization: str | None = None) -> Reply:
        signed = f"Bearer {self.token}" if authorization is None else authorization
        request = Request(
            method="GET", url=f"http://127.0.0.1{path}", call="", headers={"authorization": signed}
        )
        return answer([self.fake], request, now=now)

    def ask_token(self, *, now: float = 0.0, speed: float = 1.0) -> Reply:
        return self.post(_TOKEN, _GRANT, now=now, speed=speed, authorization=_basic())

    def execute(self, body: Any = None, *, now: float = 0.0, authorization: str | None = None) -> Reply:
        sent = {"aop_id": "triage"} if body is None else body
        signed = f"Bearer {self.token}" if authorization is None else authorization
        return self.post(_EXECUTE, sent, now=now, authorization=signed)

    def start(self, target: str = "triage", *, now: float = 0.0) -> str:
        item_id: str = decode_json(self.execute({"aop_id": target}, now=now).body)["aop_item_id"]
        return item_id

    def status(self, item_id: str, *, now: float = 0.0) -> dict[str, Any]:
        reply = self.get(_status_path(item_id), now=now)
        assert reply.status == 200
        body: dict[str, Any] = decode_json(reply.body)
        return body

    def report(self) -> Reply:
        return self.get(f"{_REPORT}?{_DAY}")


def _basic(client_id: str = "demo-client", secret: str = "demo-secret") -> str:
    return "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()


def _status_path(item_id: str) -> str:
    return f"/api/v1/external/aop/items/{item_id}/status"


def _scripted(*steps: Step, **more: Any) -> _Client:
    return _Client(FakeLeena(RunPlan(scripts={"triage": steps}), **more))


@pytest.mark.parametrize(
    ("authorization", "body", "status"),
    [
        (_basic(), _GRANT, 200),
        (_basic().replace("Basic", "basic"), _GRANT, 200),
        (_basic(), {**_GRANT, "extra": 1}, 200),
        (None, _GRANT, 401),
        ("Basic %%%", _GRANT, 401),
        ("Basic", _GRANT, 401),
        ("Basic " + base64.b64encode(b"\xff:\xff").decode(), _GRANT, 401),
        (_basic().replace("Basic", "Bearer"), _GRANT, 401),
        (_basic(secret="wrong"), _GRANT, 401),
        (_basic(client_id="wrong"), _GRANT, 401),
        (_basic(), {**_GRANT, "password": "wrong"}, 401),
        (_basic(), {**_GRANT, "username": "wrong"}, 401),
        (_basic(), {**_GRANT, "grant_type": "refresh_token"}, 400),
        (_basic(), {**_GRANT, "password": 7}, 400),
        (_basic(), {"username": "demo-user", "grant_type": "password"}, 400),
        (_basic(), {}, 400),
        (_basic(), [], 400),
        (_basic(), b"{", 400),
        (_basic(), b"", 400),
    ],
)
def test_token_statuses(authorization: str | None, body: Any, status: int) -> None:
    """The token endpoint grants a token for all four credentials, and else answers with a reason."""
    client = _Client(FakeLeena())
    reply = client.post(_TOKEN, body, authorization=authorization)
    assert reply.status == status
    body = decode_json(reply.body)
    assert set(body) == (
        {"access_token", "token_type", "refresh_token", "expires_in"} if status == 200 else {"message"}
    )


def test_token_wants_json_not_a_form() -> None:
    """A form-encoded grant is refused, as the vendor takes JSON here."""
    client = _Client(FakeLeena())
    reply = client.post(
        _TOKEN,
        urlencode(_GRANT).encode(),
        authorization=_basic(),
        content_type="application/x-www-form-urlencoded",
    )
    assert reply.status == 400


def test_token_lives_as_long_as_its_reply_says() -> None:
    """A token is accepted until its lifetime has passed, and refused from then on."""
    client = _Client(FakeLeena(token_lifetime=60))
    item = client.start()
    assert decode_json(client.ask_token().body)["expires_in"] == 60
    assert client.get(_status_path(item), now=59.9).status == 200
    assert client.get(_status_path(item), now=60.0).status == 401


def test_token_lifetime_is_in_the_clients_seconds() -> None:
    """On a server that runs ten times as fast, a token of 60 seconds lives 600 of the server's seconds."""
    client = _Client(FakeLeena(token_lifetime=60))
    item = client.start()
    client.token = decode_json(client.ask_token(speed=10.0).body)["access_token"]
    assert client.get(_status_path(item), now=599.0).status == 200
    assert client.get(_status_path(item), now=600.0).status == 401


def test_revoked_token_is_refused() -> None:
    """A revoked token gets 401 while others are accepted; revoking an unknown token returns False."""
    client = _Client(FakeLeena())
    item, old = client.start(), client.token
    client.token = decode_json(client.ask_token().body)["access_token"]
    assert client.fake.revoke(f"Bearer {old}")
    assert not client.fake.revoke(f"Bearer {old}")
    assert not client.fake.revoke(_basic())
    assert client.get(_status_path(item), authorization=f"Bearer {old}").status == 401
    assert client.get(_status_path(item)).status == 200
    assert client.fake.revoke_all() == 1
    assert client.get(_status_path(item)).status == 401


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer nonsense", "hdr", _basic()])
def test_calls_without_good_token_are_refused(authorization: str) -> None:
    """Execute, status and report answer 401 to a token that is missing or was never granted."""
    client = _Client(FakeLeena())
    item = client.start()
    client.token = ""
    assert client.execute(authorization=authorization).status == 401
    assert client.get(_status_path(item), authorization=authorization or "x").status == 401
    assert client.get(f"{_REPORT}?{_DAY}", authorization=authorization or "x").status == 401
    assert client.fake.statistics()["refused_401"] == 3


@pytest.mark.parametrize(
    ("scopes", "execute", "status", "report"),
    [
        ({AOP_SCOPE, REPORT_SCOPE}, 200, 404, 200),
        ({AOP_SCOPE}, 200, 404, 401),
        ({REPORT_SCOPE}, 403, 403, 200),
        (set(), 403, 403, 401),
    ],
)
def test_missing_scope(scopes: set[str], execute: int, status: int, report: int) -> None:
    """A missing scope is 403 on the AOP endpoints and 401 on the report."""
    client = _Client(FakeLeena(accounts=[LeenaAccount(scopes=frozenset(scopes))]))
    assert client.execute().status == execute
    assert client.get(_status_path("0" * 24)).status == status
    assert client.report().status == report


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"aop_id": "triage"}, 200),
        ({"aop_id": "triage", "message_to_start": "", "context": {}}, 200),
        ({"aop_id": "triage", "context": {"a": {"b": [1]}}, "new": None}, 200),
        ({}, 400),
        ({"aop_id": ""}, 400),
        ({"aop_id": 7}, 400),
        ({"aop_id": None}, 400),
        ({"aop_id": "triage", "message_to_start": None}, 400),
        ({"aop_id": "triage", "context": []}, 400),
        ({"aop_id": "triage", "context": None}, 400),
        ({"aop_id": "barred_aop"}, 400),
        ({"aop_id": "unknown_aop"}, 404),
        ([], 400),
        (b"", 400),
        (b"{", 400),
    ],
)
def test_execute_statuses(body: Any, status: int) -> None:
    """Execute accepts what the vendor's facts allow; a refused call is not counted as a start."""
    client = _Client(FakeLeena())
    reply = client.execute(body)
    assert reply.status == status
    assert client.fake.statistics()["starts"] == (status == 200)
    if status == 200:
        body = decode_json(reply.body)
        assert set(body) == {"aop_item_id", "request_id", "run_id", "status"}
        assert body["status"] == "accepted"
        assert len(body["aop_item_id"]) == len(body["request_id"]) == 24


def test_rules_say_which_aops_exist() -> None:
    """The AOPs that are unknown or barred can be chosen."""
    client = _Client(FakeLeena(aops=AopRules(unknown=frozenset({"a"}), barred=frozenset({"b"}))))
    statuses = [client.execute({"aop_id": name}).status for name in ("a", "b", "unknown_aop")]
    assert statuses == [404, 400, 200]


@pytest.mark.parametrize(
    ("item_id", "status"),
    [("0" * 24, 404), ("xyz", 400), ("0" * 23, 400), ("g" * 24, 400), ("%20" + "0" * 24, 400)],
)
def test_status_of_ids_that_are_none(item_id: str, status: int) -> None:
    """An id of the wrong form is 400, an unknown one 404."""
    assert _Client(FakeLeena()).get(_status_path(item_id)).status == status


def test_status_body_as_in_the_sample() -> None:
    """Dates have microseconds and no zone, and the end is null until the run has ended."""
    client = _scripted(Step("in_progress", 5), Step("completed"))
    item = client.start(now=1.5)
    assert client.status(item, now=2.0) == {
        "aop_item_id": item,
        "reference_id": "OPS000000",
        "status": "in_progress",
        "initiated_at": "2026-01-05T09:00:01.500000",
        "completed_at": None,
    }
    assert client.status(item, now=6.5)["completed_at"] == "2026-01-05T09:00:06.500000"
    assert client.status(item.upper(), now=6.5)["aop_item_id"] == item


def test_fresh_item_can_be_hidden() -> None:
    """An item may be unknown to the status endpoint for a while after its start."""
    client = _Client(FakeLeena(aops=AopRules(hidden_for=2.0)))
    item = client.start(now=10.0)
    assert client.get(_status_path(item), now=11.9).status == 404
    assert client.get(_status_path(item), now=12.0).status == 200


def test_end_is_known_for_known_items_alone() -> None:
    """The end of a run is known from its start on; an unknown id has none."""
    client = _scripted(Step("in_progress", 5), Step("failed"))
    assert client.fake.ended_at(client.start(now=2.0)) == 7.0
    assert client.fake.ended_at("0" * 24) is None


def test_counts_what_it_saw() -> None:
    """Token requests, accepted starts, polls, reports and refusals by status are counted."""
    client = _Client(FakeLeena())
    for key in ("a", "a", "b", 3):
        client.execute({"aop_id": "triage", "context": {"key": key}})
    item = client.start()
    client.execute({})
    client.status(item)
    client.get(_status_path("0" * 24))
    client.report()
    assert client.fake.statistics() == {
        "token_requests": 1,
        "starts": 5,
        "polls": 1,
        "reports": 1,
        "refused_400": 1,
        "refused_404": 1,
    }
    assert client.fake.starts_by_key == {"a": 2, "b": 1, "3": 1}


def test_environment_lets_a_client_in() -> None:
    """The variables name the first account and put all three surfaces on one URL."""
    account = LeenaAccount(client_id="c", client_secret="s", username="u", password="p")
    assert FakeLeena(accounts=[account]).environment("http://127.0.0.1:1") == {
        "LEENA_REGION": "",
        "LEENA_CLIENT_ID": "c",
        "LEENA_CLIENT_SECRET": "s",
        "LEENA_USERNAME": "u",
        "LEENA_PASSWORD": "p",
        "LEENA_TOKEN_URL": "http://127.0.0.1:1",
        "LEENA_AOP_URL": "http://127.0.0.1:1",
        "LEENA_REPORT_URL": "http://127.0.0.1:1",
    }
    assert "s" not in repr(account).split("=")[2:3]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        (_DAY, 200),
        (f"{_DAY}&filters[timestamp][gt]=2026-01-05T09:00:04Z", 200),
        ("", 400),
        ("metricId=x", 400),
    ],
)
def test_report_statuses(query: str, status: int) -> None:
    """A report is 400 when a parameter is missing or malformed; raw brackets are accepted."""
    reply = _Client(FakeLeena()).get(f"{_REPORT}?{query}")
    assert reply.status == status
    assert ("result" in decode_json(reply.body)) == (status == 200)


def test_report_fails_on_demand() -> None:
    """A failure on demand is a 200 with `isSuccess` false and no result, and then it is over."""
    client = _Client(FakeLeena())
    client.fake.fail_reports(2, after=1, message="metric unavailable")
    bodies = [decode_json(client.report().body) for _ in range(4)]
    assert [body["isSuccess"] for body in bodies] == [True, False, False, True]
    assert bodies[1] == {"isSuccess": False, "message": "metric unavailable"}
