"""The fake server of Leap, called directly."""

import re
from collections.abc import Mapping
from typing import Any

import pytest

from aioagents.codec import decode_json, encode_json
from aioagents.contract.fake import RunPlan, Step, answer
from aioagents.model import Purpose, Reply, Request
from aioagents.providers.leap.fake import Dialect, FakeLeap, LeapRules, make_fake

_OLD, _NEW, _BULK = "/v1/workflows", "/v1/runs", "/v1/runs/bulk"
_CSV = "https://files.example.com/in.csv"
_MEMBERS = {
    _OLD: "id versionId status created_at started_at ended_at workflowId error input output",
    _NEW: "id version_id status created_at started_at ended_at workflow_id error input output",
    _BULK: "id version_id status created_at ended_at workflow_id input_csv_url "
    "output_csv_url error row_count",
}
_SIGNED: Mapping[str, str] = {"x-api-key": "demo-key"}


class _Client:
    """Calls one fake server as a client would."""

    def __init__(self, fake: FakeLeap) -> None:
        self.fake = fake

    def post(self, path: str, body: Any, *, now: float = 0.0, headers: Mapping[str, str] = _SIGNED) -> Reply:
        request = Request(
            method="POST",
            url=f"http://127.0.0.1{path}",
            call="",
            headers={"content-type": "application/json", **headers},
            body=body if isinstance(body, bytes) else encode_json(body),
        )
        return answer([self.fake], request, now=now)

    def get(self, path: str, *, now: float = 0.0, headers: Mapping[str, str] = _SIGNED) -> Reply:
        request = Request(method="GET", url=f"http://127.0.0.1{path}", call="", headers=headers)
        return answer([self.fake], request, now=now)

    def start(self, body: Any, path: str = _NEW, *, now: float = 0.0) -> dict[str, Any]:
        reply = self.post(path, body, now=now)
        assert reply.is_success
        run: dict[str, Any] = decode_json(reply.body)
        return run

    def poll(self, run_id: str, path: str = _NEW, *, now: float = 0.0) -> dict[str, Any]:
        reply = self.get(f"{path}/{run_id}", now=now)
        assert reply.status == 200
        run: dict[str, Any] = decode_json(reply.body)
        return run


def _scripted(*steps: Step, plan: Mapping[str, Any] | None = None, **more: Any) -> _Client:
    return _Client(FakeLeap(RunPlan(scripts={"w": steps}, **(plan or {})), **more))


def _plain() -> _Client:
    return _scripted(Step("queued", 1), Step("running", 9), Step("completed"))


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (_OLD, {"workflowId": "w"}, 200),
        (_OLD, {"workflowId": "w", "inputs": {"a": {"b": [1]}}, "webhookUrl": "https://h.example/x"}, 200),
        (_OLD, {"workflowId": "w", "inputs": None, "webhookUrl": ""}, 200),
        (_OLD, {"workflow_id": "w", "input": {}}, 400),
        (_OLD, {"workflowId": "unknown_workflow"}, 404),
        (_NEW, {"workflow_id": "w"}, 200),
        (_NEW, {"workflow_id": "w", "input": {"a": 1}, "webhook_url": "http://127.0.0.1:1/x"}, 200),
        (_NEW, {"workflow_id": "w", "inputs": {"a": 1}}, 200),
        (_NEW, {"workflowId": "w"}, 400),
        (_NEW, {"workflow_id": ""}, 400),
        (_NEW, {"workflow_id": 7}, 400),
        (_NEW, {"workflow_id": "w", "input": []}, 400),
        (_NEW, {"workflow_id": "w", "webhook_url": "hooks"}, 400),
        (_NEW, {"workflow_id": "w", "webhook_url": "http://[x"}, 400),
        (_NEW, {"workflow_id": "w", "webhook_url": 7}, 400),
        (_NEW, {"workflow_id": "unknown_workflow"}, 404),
        (_NEW, [], 400),
        (_NEW, b"{", 400),
        (_NEW, b"", 400),
        (_BULK, {"workflow_id": "w", "input_csv_url": _CSV, "webhook_url": "https://h.example"}, 200),
        (_BULK, {"workflow_id": "w"}, 400),
        (_BULK, {"workflow_id": "w", "input_csv_url": "in.csv"}, 400),
        (_BULK, {"input_csv_url": _CSV}, 400),
        (_BULK, {"workflow_id": "unknown_workflow", "input_csv_url": _CSV}, 404),
    ],
)
def test_start_statuses(path: str, body: Any, status: int) -> None:
    """A start takes what the vendor's facts allow; a refused one is not counted; its error body is as NestJS'."""
    client = _plain()
    reply = client.post(path, body)
    assert reply.status == status
    assert reply.headers["content-type"] == "application/json"
    counts, body = client.fake.statistics(), decode_json(reply.body)
    assert counts["starts"] == (status == 200)
    if status == 200:
        assert " ".join(body) == _MEMBERS[path]
    else:
        assert counts[f"refused_{status}"] == 1
        assert set(body) == {"statusCode", "message", "error"}
        assert (body["statusCode"], type(body["message"])) == (status, list if status == 400 else str)


def test_start_wants_json() -> None:
    """A body under another content type is refused."""
    sent = {**_SIGNED, "content-type": "text/plain"}
    assert _plain().post(_NEW, {"workflow_id": "w"}, headers=sent).status == 400


@pytest.mark.parametrize("path", ["/v1/runs/rnp_x", "/v1/runs/bulk", "/v1/runs/bulk/bulk_x"])
def test_unknown_runs_are_not_found(path: str) -> None:
    """A poll of a run that does not exist, `bulk` among the ids, is 404."""
    client = _plain()
    assert client.get(path).status == 404
    counts = client.fake.statistics()
    assert (counts["polls"], counts["bulk_polls"], counts["refused_404"]) == (0, 0, 1)


@pytest.mark.parametrize(
    "headers", [{}, {"x-api-key": ""}, {"x-api-key": "other"}, {"authorization": "Bearer demo-key"}]
)
def test_calls_without_the_key_are_refused(headers: Mapping[str, str]) -> None:
    """Without the right X-Api-Key each call is 401 with an empty body."""
    client = _plain()
    run = client.start({"workflow_id": "w"})["id"]
    replies = [client.post(path, {}, headers=headers) for path in (_OLD, _NEW, _BULK)]
    replies += [client.get(f"{path}/{run}", headers=headers) for path in (_NEW, _BULK)]
    assert [(reply.status, reply.body) for reply in replies] == [(401, b"")] * 5
    assert client.fake.statistics()["refused_401"] == 5


def test_rules_say_how_it_refuses() -> None:
    """The key, the body of a 401, and which workflows are unknown with which status can be chosen."""
    rules = LeapRules(unknown=frozenset({"w"}), unknown_status=400, unauthorized={"message": "Unauthorized"})
    client = _scripted(Step("running"), api_key="mine", rules=rules)
    assert decode_json(client.post(_NEW, {}).body) == {"message": "Unauthorized"}
    reply = client.post(_NEW, {"workflow_id": "w"}, headers={"x-api-key": "mine"})
    assert (reply.status, decode_json(reply.body)["error"]) == (400, "Bad Request")


def test_success_may_be_any_2xx() -> None:
    """Accepted POSTs have the chosen status, polls have 200; a status that is no success is refused."""
    client = _scripted(Step("running"), success_status=201)
    reply = client.post(_OLD, {"workflowId": "w"})
    assert reply.status == 201
    assert client.get(f"{_NEW}/{decode_json(reply.body)['id']}").status == 200
    assert client.post(_BULK, {"workflow_id": "w", "input_csv_url": _CSV}).status == 201
    with pytest.raises(ValueError, match="2xx"):
        FakeLeap(success_status=302)


def test_routes_have_names_and_purposes() -> None:
    """Each endpoint has its call name, and is a start or a poll."""
    assert {route.call: route.purpose for route in FakeLeap().routes} == {
        "workflows.run": Purpose.START,
        "runs.run": Purpose.START,
        "runs.get": Purpose.POLL,
        "bulk.run": Purpose.START,
        "bulk.get": Purpose.POLL,
    }


def test_scripted_run() -> None:
    """A scripted run is queued, runs and completes, and its dates have microseconds and an offset."""
    client = _plain()
    first = client.start({"workflow_id": "w", "input": {"topic": "tea"}}, now=1.5)
    assert first == {
        "id": first["id"],
        "version_id": first["version_id"],
        "status": "queued",
        "created_at": "2026-01-05T09:00:01.500000+00:00",
        "started_at": None,
        "ended_at": None,
        "workflow_id": "w",
        "error": None,
        "input": {"topic": "tea"},
        "output": None,
    }
    began = {"status": "running", "started_at": "2026-01-05T09:00:02.500000+00:00"}
    ended = {**began, "status": "completed", "ended_at": "2026-01-05T09:00:11.500000+00:00"}
    assert client.poll(first["id"], now=2.4) == first
    assert client.poll(first["id"], now=2.5) == client.poll(first["id"], now=11.4) == {**first, **began}
    last = client.poll(first["id"], now=99.0)
    assert last == {**first, **ended, "output": last["output"]}
    assert client.fake.ended_at(first["id"]) == 11.5
    assert client.fake.statistics() == {
        **dict.fromkeys(("token_requests", "bulk_starts", "bulk_polls"), 0),
        "starts": 1,
        "polls": 4,
        "ignored_members": 0,
        "webhooks_planned": 0,
    }


def test_run_is_read_in_the_dialect_of_its_start() -> None:
    """A run that was started in the first dialect is read back in it, with `input` in the singular."""
    client = _plain()
    for path, body in (
        (_OLD, {"workflowId": "w", "inputs": {"a": 1}}),
        (_NEW, {"workflow_id": "w", "input": {"a": 1}}),
    ):
        run = client.start(body, path)
        assert run["input"] == {"a": 1}
        assert " ".join(client.poll(run["id"], now=99.0)) == _MEMBERS[path]


def test_drawn_runs_before_their_beginning() -> None:
    """A drawn run that has not begun is queued in the second dialect, and running in the first."""
    client = _Client(FakeLeap(RunPlan(delay=5.0)))
    old, new = client.start({"workflowId": "w"}, _OLD), client.start({"workflow_id": "w"})
    assert (old["status"], new["status"]) == ("running", "queued")
    assert old["started_at"] is new["started_at"] is None
    assert client.poll(new["id"], now=4.9)["status"] == "queued"


def test_drawn_runs_end_by_their_outcomes() -> None:
    """The plan's outcomes come in the vendor's words; a failed run has an error, and some have no end's date."""
    plan = RunPlan(outcomes={"completed": 1.0, "failed": 1.0, "aborted": 1.0})
    client = _Client(FakeLeap(plan))
    ids = [client.start({"workflow_id": "w"})["id"] for _ in range(300)]
    seen: dict[str, list[dict[str, Any]]] = {}
    for run_id in ids:
        run = client.poll(run_id, now=1e6)
        seen.setdefault(run["status"], []).append(run)
    assert set(seen) == {"completed", "failed", "cancelled"}
    assert {run["ended_at"] is None for run in seen["failed"]} == {True, False}
    assert all("\n" in run["error"] and run["output"] is None for run in seen["failed"])
    assert all(run["ended_at"] and run["error"] is None for run in seen["completed"] + seen["cancelled"])
    kinds = {type(run["output"]) for run in seen["completed"]}
    assert kinds == {dict, str, list, type(None), int, bool}


@pytest.mark.parametrize(
    ("steps", "begun", "ended"),
    [
        ([Step("running", 5)], True, None),
        ([Step("completed")], True, 0.0),
        ([Step("queued", 5), Step("cancelled")], False, 5.0),
        ([Step("queued", 5), Step("failed")], False, 5.0),
        ([Step("queued", 5), Step("cancelled", 5), Step("running")], False, 5.0),
        ([Step("running", 5), Step("failed", 5), Step("running")], True, 5.0),
        ([Step("queued", 5), Step("thinking", 5), Step("completed")], True, 10.0),
    ],
)
def test_scripts_say_when_a_run_begins_and_ends(steps: list[Step], begun: bool, ended: float | None) -> None:
    """A script may never end, end without beginning, or use a word of its own; no word follows an end."""
    client = _scripted(*steps)
    run = client.start({"workflow_id": "w"})
    assert client.fake.ended_at(run["id"]) == ended
    assert (client.poll(run["id"], now=99.0)["started_at"] is not None) is begun


def test_script_without_steps_is_refused() -> None:
    """A script has to have a step."""
    with pytest.raises(ValueError, match="no steps"):
        _scripted()


def test_delay_holds_the_first_step() -> None:
    """The plan's delay is added to a script's first step."""
    client = _scripted(Step("running", 5), Step("completed"), plan={"delay": 2.0})
    run = client.start({"workflow_id": "w"})
    assert (run["started_at"], client.fake.ended_at(run["id"])) == (None, 7.0)
    assert client.poll(run["id"], now=2.0)["started_at"] == "2026-01-05T09:00:02.000000+00:00"


def test_payload_may_be_called_result() -> None:
    """The payload's member and the outputs can be chosen; while a run goes on it is null or an empty object."""
    rules = LeapRules(payload="result", outputs=[{"a": 1}, "text"])
    client = _scripted(Step("running", 5), Step("completed"), rules=rules)
    ids = [client.start({"workflow_id": "w"})["id"] for _ in range(3)]
    assert [client.poll(each)["result"] for each in ids] == [None, {}, None]
    ended = [client.poll(each, now=5.0) for each in ids]
    assert [run["result"] for run in ended] == [{"a": 1}, "text", {"a": 1}]
    assert not any("output" in run for run in ended)


def test_members_of_the_other_dialect_are_ignored_and_counted() -> None:
    """A wrong key for the inputs is ignored silently, as a server may do, and counted."""
    client = _plain()
    assert client.start({"workflow_id": "w", "inputs": {"a": 1}})["input"] == {}
    assert client.start({"workflowId": "w", "input": {"a": 1}, "webhook_url": "x"}, _OLD)["input"] == {}
    assert client.fake.statistics()["ignored_members"] == 3


def test_ids_have_the_vendors_form() -> None:
    """Run ids have 15 or 18 letters and digits, and a workflow keeps its version."""
    client = _Client(FakeLeap())
    runs = [client.start({"workflow_id": name}) for name in "abab" * 10]
    ids = [run["id"] for run in runs]
    assert all(re.fullmatch(r"rnp_([A-Za-z0-9]{15}|[A-Za-z0-9]{18})", each) for each in ids)
    assert ({len(each) for each in ids}, len(set(ids))) == ({19, 22}, 40)
    assert len({(run["workflow_id"], run["version_id"]) for run in runs}) == 2
    assert runs[0]["version_id"].startswith("vsp_")
    assert client.start({"workflow_id": "a", "input_csv_url": _CSV}, _BULK)["id"].startswith("bulk_")


def test_starts_are_counted_by_key() -> None:
    """Starts are counted by the inputs' member `key`, to see how often a client really started something."""
    client = _plain()
    client.start({"workflowId": "w", "inputs": {"key": "a"}}, _OLD)
    client.start({"workflow_id": "w", "input": {"key": "a"}})
    client.start({"workflow_id": "w", "input": {"key": 7}})
    client.start({"workflow_id": "w", "input": None})
    assert client.fake.starts_by_key == {"a": 2, "7": 1}


@pytest.mark.parametrize(("end", "csv", "error"), [("completed", True, False), ("failed", False, True)])
def test_scripted_bulk_run(end: str, csv: bool, error: bool) -> None:
    """A bulk run has its rows from the start, and the URL of its output when it completed."""
    client = _scripted(Step("queued", 1), Step(end))
    first = client.start({"workflow_id": "w", "input_csv_url": _CSV}, _BULK)
    assert 0 < first["row_count"] <= 20
    assert (first["input_csv_url"], first["output_csv_url"], first["ended_at"]) == (_CSV, None, None)
    last = client.poll(first["id"], _BULK, now=1.0)
    assert " ".join(last) == _MEMBERS[_BULK]
    assert (last["status"], last["output_csv_url"] is not None, last["error"] is not None) == (
        end,
        csv,
        error,
    )
    assert last["ended_at"] == "2026-01-05T09:00:01.000000+00:00"
    assert client.fake.ended_at(first["id"]) == 1.0
    counts = client.fake.statistics()
    assert (counts["starts"], counts["bulk_starts"], counts["polls"], counts["bulk_polls"]) == (1, 1, 1, 1)


def test_fresh_run_may_be_hidden() -> None:
    """A run may not be found until some time after its start."""
    client = _scripted(Step("running"), rules=LeapRules(hidden_for=2.0))
    run = client.start({"workflow_id": "w"}, now=1.0)
    assert client.get(f"{_NEW}/{run['id']}", now=2.9).status == 404
    assert client.get(f"{_NEW}/{run['id']}", now=3.0).status == 200


def test_same_seed_same_runs() -> None:
    """For the same seed the same starts make the same runs, for another seed others."""

    def polled_runs(seed: int) -> list[Any]:
        client = _Client(make_fake(RunPlan(seed=seed)))
        runs = [client.start({"workflow_id": "w"}) for _ in range(10)]
        return [client.poll(run["id"], now=20.0) for run in runs]

    assert polled_runs(1) == polled_runs(1) != polled_runs(2)


def test_environment() -> None:
    """The environment has the key and the URL; there are no tokens to revoke; unknown runs never end."""
    fake = FakeLeap(api_key="mine")
    assert fake.vendor == "leap"
    assert fake.environment("http://127.0.0.1:1") == {
        "LEAP_API_KEY": "mine",
        "LEAP_BASE_URL": "http://127.0.0.1:1",
    }
    assert not fake.revoke("Bearer mine")
    assert fake.ended_at("rnp_x") is None


def test_dialects_name_their_members() -> None:
    """The two dialects differ in four names."""
    assert Dialect.WORKFLOWS.value.inputs == "inputs"
    assert Dialect.RUNS.value.inputs == "input"
