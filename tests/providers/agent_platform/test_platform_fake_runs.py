"""The fake Agent Platform's runs: synchronous, asynchronous, with callbacks; refusals, sign-ins, attachments."""

import json
import math
from collections.abc import Mapping
from typing import Any

import pytest

from aioagents.codec import decode_json, encode_json
from aioagents.contract.fake import Call, DelayedReply, Route, Step
from aioagents.model import Reply, Request
from aioagents.providers.agent_platform.fake import CALLBACK_FORMS
from tests.providers.agent_platform.platform_fake_rig import (
    APP,
    APP_KEY,
    JSON,
    FakeClient,
    execute_body,
    fake_client,
    identify,
    read,
    read_held,
    upload,
)

_EXECUTE = f"{APP}/runs/execute"
_HOOK = "http://127.0.0.1:9/hook"
_TOOL: Mapping[str, Any] = {
    "invoke": {"tasks": [{"type": "tool", "name": "get", "toolType": "code", "agentName": "Accounts"}]},
    "input": [{"type": "tool_input", "content": {"id": 7}}],
}


def test_a_synchronous_run_is_answered_at_its_end() -> None:
    """The reply to a synchronous run is held until the run is over, and has its output."""
    client = fake_client()
    answer = client.execute("good", now=3.0)
    assert isinstance(answer, DelayedReply)
    assert answer.until == 13.0
    body = read_held(answer)
    assert [item["type"] for item in body["output"]] == ["text"] * len(body["output"])
    info = body["sessionInfo"]
    assert (info["status"], info["sessionReference"], info["appId"]) == ("idle", "chat", "aa-demo")
    assert client.fake.ended_at(info["runId"]) == 13.0
    assert client.poll(info["runId"], now=13.0)["kwargs"]["output"] == body["output"]
    assert (client.count("starts"), client.count("runs"), client.count("dropped")) == (1, 1, 0)


def test_a_run_that_is_over_is_answered_at_once() -> None:
    """A run that takes no time is answered immediately."""
    assert read(fake_client().execute("at once"))["sessionInfo"]["status"] == "idle"


def test_a_run_that_never_ends_is_held_for_ever() -> None:
    """The reply to a run without an end is due at infinity; clients that disconnect are counted."""
    client = fake_client()
    answer = client.execute("endless")
    assert isinstance(answer, DelayedReply)
    assert answer.until == math.inf
    assert answer.on_disconnect is not None
    answer.on_disconnect(5.0)
    assert client.count("dropped") == 1
    assert client.body("GET", f"{APP}/sessions?sessionReference=chat", now=9.0)["session"]["status"] == "busy"


def test_a_failed_run_is_a_good_reply() -> None:
    """A failed run is answered with 200 and the session's status, with or without an error text."""
    client = fake_client()
    answers = [read_held(client.execute("bad")) for _ in range(2)]
    assert [each["sessionInfo"]["status"] for each in answers] == ["error", "error"]
    assert sorted(len(each["output"]) for each in answers) == [0, 1]


def test_synchronous_answers_vary() -> None:
    """Artifacts, tags and the conversation's state have each of their forms."""
    client = fake_client()
    answers = [read(client.execute("at once")) for _ in range(6)]
    assert {name for each in answers for name in each if name.lower() == "artifacts"} == {
        "artifacts",
        "Artifacts",
    }
    tags = [each["tags"]["session"] for each in answers if "tags" in each]
    assert {type(each) for each in tags} == {dict, list}
    assert {each["sessionInfo"].get("conversationState") for each in answers} == {None, "COMPLETED"}
    assert not any("debug" in each for each in answers)


@pytest.mark.parametrize(
    ("debug", "has_thoughts"),
    [
        ({"enable": True, "debugMode": "thoughts"}, True),
        ({"enable": True, "debugMode": "all"}, False),
        ({"enable": False, "debugMode": "thoughts"}, False),
        ({"enable": True}, False),
    ],
)
def test_thoughts_are_sent_on_request(debug: Mapping[str, Any], has_thoughts: bool) -> None:
    """The one debug mode that works is thoughts, some of them without a source."""
    answer = read(fake_client().execute("at once", debug=debug))
    assert ("debug" in answer) == has_thoughts
    if has_thoughts:
        assert {each["type"] for each in answer["debug"]} == {"thought"}
        assert {"source" in each for each in answer["debug"]} == {True, False}


@pytest.mark.parametrize(
    "changes",
    [
        {"input": None},
        {"input": []},
        {"input": "good"},
        {"input": ["good"]},
        {"input": [{"type": "image", "content": "x"}]},
        {"input": [{"type": "text"}]},
        {"input": [{"type": "text", "content": {"a": 1}}]},
        {"input": [{"type": "tool_input", "content": {"a": 1}}]},
        {"stream": {"enable": "true"}},
        {"stream": {"enable": True, "streamMode": "token"}},
        {"stream": True},
        {"stream": {"enable": True}, "isAsync": True},
        {"isAsync": "true"},
        {"isAsync": 1},
        {"callbackUrl": _HOOK},
        {"isAsync": True, "callbackUrl": "hook"},
        {"isAsync": True, "callbackUrl": "http://[x"},
        {"isAsync": True, "callbackUrl": "ftp://h/x"},
        {"isAsync": True, "callbackUrl": _HOOK, "callbackToken": 7},
        {"debug": {"enable": "false"}},
        {"debug": {"enable": True, "debugMode": "everything"}},
        {"attachments": {"enable": True, "includeFiles": "[f-123]"}},
        {"attachments": {"enable": True, "includeFiles": [7]}},
        {"metadata": []},
        {"source": 7},
        {"invoke": []},
        {"invoke": {}},
        {"invoke": {"tasks": []}},
        {"invoke": {"tasks": [{"type": "flow", "name": "x"}]}},
        {"invoke": {"tasks": [{"type": "agent"}]}},
        {**_TOOL, "input": [{"type": "text", "content": "x"}]},
        {**_TOOL, "invoke": {"tasks": [{"type": "agent", "name": "Accounts"}]}},
        {**_TOOL, "invoke": {"tasks": [{"type": "tool", "name": "get", "agentName": "Accounts"}]}},
        {**_TOOL, "invoke": {"tasks": [{"type": "tool", "name": "get", "toolType": "code"}]}},
        {**_TOOL, "invoke": {"tasks": [{"type": "tool", "name": "get", "toolType": "py", "agentName": "A"}]}},
    ],
)
def test_execute_calls_are_read_strictly(changes: Mapping[str, Any]) -> None:
    """A body that does not match the vendor's tables starts no run."""
    client = fake_client()
    assert client.reply("POST", _EXECUTE, {**execute_body(), **changes}).status == 400
    assert (client.count("starts"), client.count("sessions"), client.count("refused_400")) == (0, 0, 1)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"{", "application/json"),
        (b"", "application/json"),
        (b"[]", "application/json"),
        (b"{}", "text/plain"),
    ],
)
def test_execute_calls_are_json(body: bytes, content_type: str) -> None:
    """A body that is no JSON object, or has another content type, is refused."""
    reply = fake_client().reply("POST", _EXECUTE, body, headers={**APP_KEY, "content-type": content_type})
    assert reply.status == 400


def test_an_agent_is_invoked() -> None:
    """A run of an agent follows the agent's script; all tasks but the first are ignored."""
    client = fake_client(scripts={"agent:Accounts": (Step("running", 2), Step("success"))})
    tasks = [{"type": "agent", "name": "Accounts"}, {"type": "nothing"}]
    answer = client.execute("hello", invoke={"tasks": tasks})
    assert isinstance(answer, DelayedReply)
    assert answer.until == 2.0
    info = read_held(answer)["sessionInfo"]
    assert (info["envId"], info["envName"]) == ("env-demo", "draft")


def test_a_tool_is_invoked() -> None:
    """A tool receives its input, and returns it."""
    client = fake_client(scripts={"tool:get": (Step("success"),)})
    answer = read(client.ask("POST", _EXECUTE, execute_body(**_TOOL)))
    assert json.loads(answer["output"][0]["content"]) == {"done": "tool:get", "given": {"id": 7}}


@pytest.mark.parametrize(
    "task",
    [
        {"type": "agent", "name": "unknown"},
        {"type": "tool", "name": "unknown", "toolType": "mcp", "agentName": "A"},
        {"type": "tool", "name": "get", "toolType": "workflow", "agentName": "unknown"},
    ],
)
def test_unknown_agents_and_tools_are_refused(task: Mapping[str, str]) -> None:
    """Names that the rules list as unknown start no run."""
    kind = (
        {"type": "tool_input", "content": {}} if task["type"] == "tool" else {"type": "text", "content": "x"}
    )
    client = fake_client()
    assert client.reply("POST", _EXECUTE, execute_body(invoke={"tasks": [task]}, input=[kind])).status == 404
    assert client.count("starts") == 0


@pytest.mark.parametrize("acknowledged", [200, 202])
def test_an_asynchronous_run_is_acknowledged_flat(acknowledged: int) -> None:
    """The acknowledgement has the run's id, and a status that no run has, with 200 or 202."""
    client = fake_client()
    replies = [client.execute(isAsync=True) for _ in range(2)]
    assert acknowledged in {reply.status for reply in replies if isinstance(reply, Reply)}
    for reply in replies:
        answer = read(reply)
        assert tuple(answer) == ("status", "runId", "message")
        assert answer["status"] == "processing"


def test_a_run_follows_its_script() -> None:
    """A poll returns the current status word, in either case, and since when it holds."""
    client = fake_client()
    run = client.start("good")
    seen = [[client.poll(run, now=now)["status"] for _ in range(2)] for now in (0.5, 1.0, 9.9, 10.0, 99.0)]
    assert [sorted(words) for words in seen] == [
        ["Pending", "pending"],
        ["Running", "running"],
        ["Running", "running"],
        ["success", "success"],
        ["success", "success"],
    ]
    assert client.poll(run, now=99.0)["updatedAt"] == "2026-01-05T09:00:10.000Z"
    assert (client.count("polls"), client.count("polls_without_identity")) == (11, 0)


def test_words_of_scripts_are_the_vendors_own() -> None:
    """An unknown status word is returned as it is, and is not final; final words may be in any case."""
    client = fake_client(scripts={"new": (Step("archived", 5), Step("SUCCESS", 5), Step("failed"))})
    run = client.start("new")
    assert [client.poll(run, now=now)["status"] for now in (0.0, 5.0, 50.0)] == [
        "archived",
        "SUCCESS",
        "SUCCESS",
    ]
    assert client.fake.ended_at(run) == 5.0


def test_a_record_echoes_the_request() -> None:
    """A status record has its id as `_id`, the request under `kwargs`, and the callback's token."""
    client = fake_client()
    more: dict[str, Any] = {"debug": {"enable": False}, "stream": {"enable": False, "streamMode": "messages"}}
    run = client.start("good", callbackUrl=_HOOK, callbackToken="hush", **more)
    record = client.poll(run, now=10.0)
    assert (record["_id"], record["multitaskStrategy"], record["__v"]) == (run, "reject", 0)
    assert record["kwargs"]["input"] == [{"type": "text", "content": "good"}]
    assert {name: record["kwargs"][name] for name in more} == more
    context = record["metadata"]["runtimeContext"]
    assert (context["userReference"], context["sessionReference"]) == ("chat", "chat")
    assert (context["asyncConfig"]["post_url"], context["asyncConfig"]["app_token"]) == (_HOOK, "hush")


def test_error_details_vary() -> None:
    """Error details have no fixed form: an output text, an object, a string, nothing."""
    client = fake_client()
    run = client.start("bad")
    kinds = {type(client.poll(run, now=10.0)["kwargs"]["output"]) for _ in range(5)}
    assert kinds == {list, dict, str, type(None)}
    early = [client.poll(run, now=2.0)["kwargs"].get("output") for _ in range(2)]
    assert sorted(early, key=bool) in ([None, []], [[], None])


@pytest.mark.parametrize(
    ("identity", "status"),
    [
        ({"sessionReference": "chat"}, 200),
        ({"userReference": "u"}, 200),
        ({"sessionId": "s-0", "userReference": "u"}, 200),
        ({"sessionId": "{id}"}, 200),
        ({"sessionId": "{id}", "sessionReference": "none"}, 200),
        ({"sessionId": "s-0", "sessionReference": "chat"}, 200),
        ({"sessionId": "{other}"}, 403),
        ({"sessionId": "{other}", "sessionReference": "chat"}, 403),
        ({"sessionReference": "elsewhere"}, 403),
        ({"sessionReference": "chat", "userReference": "v"}, 403),
        ({"userReference": "v"}, 403),
        ({"sessionReference": "none"}, 403),
        ({"sessionId": "s-0"}, 403),
    ],
)
@pytest.mark.parametrize("is_over", [False, True])
def test_a_run_belongs_to_its_session(identity: Mapping[str, str], status: int, is_over: bool) -> None:
    """The identity of a status call has to match the run's session, also a terminated one."""
    client = fake_client()
    body = execute_body(
        "good", isAsync=True, sessionIdentity=identify(sessionReference="chat", userReference="u")
    )
    run = client.body("POST", _EXECUTE, body)["runId"]
    session_id = client.poll(run)["sessionId"]
    other = client.create(sessionReference="elsewhere", userReference="u")["session"]["sessionId"]
    if is_over:
        named = {"sessionIdentity": identify(sessionReference="chat")}
        client.body("POST", f"{APP}/sessions/terminate", named)
    ids = {"{id}": session_id, "{other}": other}
    named = {"sessionIdentity": identify(**{kind: ids.get(text, text) for kind, text in identity.items()})}
    assert client.reply("POST", f"{APP}/runs/{run}/status", named).status == status


@pytest.mark.parametrize(("rules", "status"), [({}, 200), ({"status_needs_identity": True}, 400)])
@pytest.mark.parametrize("body", [{}, None])
def test_a_poll_without_identity_is_counted(
    rules: Mapping[str, Any], status: int, body: Mapping[str, Any] | None
) -> None:
    """A status call without a session, or without a body, is answered and counted unless the rules refuse it."""
    client = fake_client(**rules)
    run = client.start()
    assert client.reply("POST", f"{APP}/runs/{run}/status", body).status == status
    assert client.count("polls_without_identity") == client.count("polls") == (status == 200)


def test_unknown_runs_are_not_found() -> None:
    """A poll of a run that does not exist is refused and not counted as a poll."""
    client = fake_client()
    body = {"sessionIdentity": identify(sessionReference="chat")}
    assert client.reply("POST", f"{APP}/runs/r-0/status", body).status == 404
    assert (client.count("polls"), client.count("refused_404")) == (0, 1)


def test_runs_are_counted_by_key() -> None:
    """Runs are counted by the `key` of their metadata, however they start; scripts are found by it first."""
    client = fake_client(scripts={"k1": (Step("failed"),), "good": (Step("success"),)})
    assert read(client.execute("good", metadata={"key": "k1"}))["sessionInfo"]["status"] == "error"
    client.start("good", metadata={"key": "k1"})
    client.start("good", metadata={"key": 7})
    client.start("good", metadata={"other": 7})
    client.execute("good", metadata={"key": "s"}, stream={"enable": True})
    assert client.reply("POST", _EXECUTE, execute_body(metadata={"key": "k1"}, isAsync="no")).status == 400
    assert client.fake.starts_by_key == {"k1": 2, "7": 1, "s": 1}
    assert client.count("starts") == 5


@pytest.mark.parametrize(
    ("rules", "status"), [({}, 200), ({"busy_status": 409}, 409), ({"busy_status": 429}, 429)]
)
def test_a_busy_session_may_refuse(rules: Mapping[str, Any], status: int) -> None:
    """A second run during another is refused if the rules have a status for that; afterwards it is not."""
    client = fake_client(**rules)
    client.start("good")
    second = client.ask("POST", _EXECUTE, execute_body("at once"), now=5.0)
    assert isinstance(second, Reply)
    assert second.status == status
    third = client.ask("POST", _EXECUTE, execute_body("at once"), now=10.0)
    assert isinstance(third, Reply)
    assert third.status == 200


def _ends(seed: int, **plan: Any) -> list[tuple[float, str]]:
    client = fake_client(plan={"seed": seed, **plan}, scripts={})
    runs = [client.start("x") for _ in range(40)]
    ends = [client.fake.ended_at(run) or 0.0 for run in runs]
    return [(end, client.poll(run, now=end)["status"]) for run, end in zip(runs, ends, strict=True)]


def test_drawn_runs_follow_the_plan() -> None:
    """Without a script, duration and end of a run are drawn from the plan; aborted means failed."""
    assert _ends(1) == _ends(1) != _ends(2)
    assert {status for _, status in _ends(1, outcomes={"aborted": 1.0})} == {"failed"}
    assert set(_ends(1, outcomes={"completed": 1.0}, median=10.0, spread=0.0, delay=5.0)) == {
        (15.0, "success")
    }


def _hook(client: FakeClient, text: str = "good", **more: Any) -> str:
    return client.start(text, callbackUrl=_HOOK, **more)


def test_callbacks_have_each_form() -> None:
    """A callback is due at the run's end, once, in one of four forms that all name the run."""
    client = fake_client()
    runs = [_hook(client, callbackToken="hush") for _ in CALLBACK_FORMS]
    assert (client.fake.next_webhook_at(), client.fake.take_webhooks(9.9)) == (10.0, [])
    sent = client.fake.take_webhooks(30.0)
    assert [(each.run, each.url, each.at) for each in sent] == [(run, _HOOK, 10.0) for run in runs]
    assert all(each.run in each.body.decode() for each in sent)
    assert {each.headers["authorization"] for each in sent} == {"Bearer hush"}
    shapes = {tuple(sorted(decode_json(each.body)))[:2] for each in sent}
    assert len(shapes) == 4
    assert (client.fake.take_webhooks(99.0), client.fake.next_webhook_at()) == ([], None)
    assert client.count("webhooks_planned") == 4


@pytest.mark.parametrize(
    ("form", "members"),
    [
        ("record", {"run"}),
        ("run", {"_id", "sessionId", "status", "kwargs"}),
        ("reply", {"messageId", "output", "sessionInfo"}),
        ("digest", {"runId", "sessionId", "status", "output"}),
    ],
)
@pytest.mark.parametrize("text", ["good", "bad"])
def test_lies_differ_from_the_callback(form: str, members: set[str], text: str) -> None:
    """In each form, a lie names another run, or another outcome."""
    client = fake_client(callbacks=(form,))
    first = _hook(client, text)
    (webhook,) = client.fake.take_webhooks(10.0)
    assert members <= set(decode_json(webhook.body))
    assert "authorization" not in webhook.headers
    other, untrue = client.fake.false_bodies(webhook)
    assert first.encode() not in other
    assert _end(decode_json(untrue)) != _end(decode_json(webhook.body))
    second = _hook(client, text)
    assert second.encode() in client.fake.false_bodies(webhook)[0]


def _end(body: dict[str, Any]) -> str:
    record = body.get("run", body)
    end: str = record["status"] if "status" in record else record["sessionInfo"]["status"]
    return end


def test_runs_without_end_or_callback_have_no_webhook() -> None:
    """No callback is planned for a run that never ends, or without a callback URL."""
    client = fake_client()
    client.start("good")
    _hook(client, "endless")
    assert client.fake.next_webhook_at() is None


def test_a_callbacks_acknowledgement_may_hide_the_run() -> None:
    """With such rules only the callback has the id of the run."""
    client = fake_client(hides_run_id=True)
    assert "runId" not in read(client.execute(isAsync=True, callbackUrl=_HOOK))
    assert "runId" in read(client.execute(isAsync=True))
    (webhook,) = client.fake.take_webhooks(10.0)
    assert webhook.run.startswith("r-")


def _call_execute(
    client: FakeClient, body: dict[str, Any], *, ends_at_start: bool
) -> tuple[dict[str, Any], list[str]]:
    asked: list[str] = []

    def end_at_start(run: str) -> bool:
        asked.append(run)
        return ends_at_start

    route: Route = next(route for route in client.fake.routes if route.call == "runs.execute")
    request = Request(
        method="POST", url=_EXECUTE, call="", headers={**APP_KEY, **JSON}, body=encode_json(body)
    )
    path = {"app_id": "aa-demo", "environment": "draft"}
    answer = route.handler(
        Call(request=request, path=path, query={}, now=4.0, should_end_at_start=end_at_start)
    )
    return read(answer), asked


@pytest.mark.parametrize("ends_at_start", [False, True])
def test_a_run_with_a_callback_may_end_at_once(ends_at_start: bool) -> None:
    """The server is asked once whether a run with a callback is over at its start; for others never."""
    client = fake_client()
    answer, asked = _call_execute(
        client, execute_body(isAsync=True, callbackUrl=_HOOK), ends_at_start=ends_at_start
    )
    assert asked == [answer["runId"]]
    assert client.fake.next_webhook_at() == (4.0 if ends_at_start else 14.0)
    assert _call_execute(client, execute_body(isAsync=True), ends_at_start=ends_at_start)[1] == []


def _signed_out(*forms: str, **rules: Any) -> FakeClient:
    return fake_client(signins=frozenset({"chat"}), signin_forms=forms, **rules)


def test_a_run_may_go_on_without_a_sign_in() -> None:
    """The answer of a run that goes on without the sign-in has both its output and the event."""
    client = _signed_out("proceeds")
    answer = read_held(client.execute())
    assert (answer["events"][0]["type"], bool(answer["output"])) == ("IDP_Redirect", True)
    acknowledged = read(client.execute(isAsync=True))
    assert (set(acknowledged), client.count("starts")) == ({"status", "runId", "message", "events"}, 2)
    client.fake.authorize("chat")
    assert "events" not in read_held(client.execute())


@pytest.mark.parametrize(
    ("form", "members"), [("stops", {"messageId", "events", "sessionInfo"}), ("bare", {"events"})]
)
@pytest.mark.parametrize("more", [{}, {"isAsync": True}])
def test_a_run_may_stop_for_a_sign_in(form: str, members: set[str], more: Mapping[str, Any]) -> None:
    """A run that stops for a sign-in never starts: the answer has the event, maybe the session, and no run id."""
    client = _signed_out(form)
    answer = read(client.execute(**more))
    assert set(answer) == members
    assert "runId" not in answer.get("sessionInfo", {})
    assert (client.count("starts"), client.count("sessions")) == (0, 1)
    client.fake.authorize("chat")
    client.execute()
    assert (client.count("starts"), client.count("sessions"), client.count("signins_asked")) == (1, 1, 1)


def test_sign_ins_have_each_form() -> None:
    """By default the three forms are used one after the other."""
    client = fake_client(signins=frozenset({"chat"}))
    answers = [client.execute() for _ in range(3)]
    assert sum(isinstance(answer, DelayedReply) for answer in answers) == 1
    assert sorted(len(read(answer)) for answer in answers if isinstance(answer, Reply)) == [1, 3]


def _attach(client: FakeClient, name: str, size: int, user: str = "chat") -> str:
    body, headers = upload(b"x" * size, name, userReference=user, uploadType="runtime")
    file_id: str = read(
        client.reply("POST", f"{APP}/attachments/upload", body, headers={**APP_KEY, **headers})
    )["fileId"]
    return file_id


def _used(
    client: FakeClient, include: list[str], exclude: list[str] | None = None, **more: Any
) -> dict[str, Any]:
    files = {"enable": True, "includeFiles": include, "excludeFiles": exclude or []}
    info = read(client.execute("at once", attachments={**files, **more}))["sessionInfo"]
    return {each["fileName"]: each for each in info["attachments"]}


def test_attachments_stay_until_they_are_excluded() -> None:
    """A file is used from the run that includes it until one excludes it, also if that is too early."""
    client = fake_client()
    notes, picture = _attach(client, "a.txt", 40), _attach(client, "b.png", 40)
    assert _used(client, []) == {}
    used = _used(client, [notes, picture])
    assert used["a.txt"] == {
        "fileId": notes,
        "isActive": True,
        "fileName": "a.txt",
        "mimetype": "text/plain",
        "Metadata": {"tokens": 10},
    }
    assert "Metadata" not in used["b.png"]
    assert [each["isActive"] for each in _used(client, []).values()] == [True, True]
    assert [each["isActive"] for each in _used(client, [], [notes, "f-0"]).values()] == [False, True]
    assert [each["isActive"] for each in _used(client, [notes]).values()] == [True, True]
    path = f"{APP}/sessions?sessionReference=chat"
    answers = [client.body("GET", path)["session"]["attachments"] for _ in range(2)]
    assert {type(each["isActive"]) for files in answers for each in files} == {bool, str}
    ended = client.body(
        "POST", f"{APP}/sessions/terminate", {"sessionIdentity": identify(sessionReference="chat")}
    )
    assert [tuple(each) for each in ended["attachments"]] == [("fileId", "fileName", "fileType")] * 2


def test_a_file_too_large_is_reported_in_a_good_reply() -> None:
    """A file with too many tokens has an error in the answer, and is not used."""
    client = fake_client(max_tokens=15)
    small, other = _attach(client, "a.txt", 40), _attach(client, "b.json", 40)
    used = _used(client, [small, other])
    assert "error" not in used["a.txt"]["Metadata"]
    assert used["b.json"]["Metadata"] == {"tokens": 10, "error": "the file's text has too many tokens"}
    assert used["b.json"]["isActive"] is False
    used = _used(client, [other, small], [small])
    assert [each["isActive"] for each in used.values()] == [False, True]


def test_attachments_belong_to_the_user_and_are_limited() -> None:
    """A file of another user, an unknown one, or one too many starts no run."""
    client = fake_client(max_file_count=1)
    mine, also_mine, foreign = (
        _attach(client, "a.txt", 4),
        _attach(client, "b.txt", 4),
        _attach(client, "c.txt", 4, "v"),
    )
    for files, status in (([foreign], 404), (["f-0"], 404), ([mine, also_mine], 400), ([mine], 200)):
        body = execute_body("at once", attachments={"enable": True, "includeFiles": files})
        assert client.reply("POST", _EXECUTE, body).status == status
    assert _used(client, [mine, also_mine], enable=False) == _used(client, [])
    assert [each["isActive"] for each in _used(client, [also_mine], [mine]).values()] == [False, True]


def test_a_response_processor_does_not_stream() -> None:
    """With such an app a stream is one plain answer, held until the run's end."""
    client = fake_client(has_response_processor=True)
    answer = read_held(client.execute(stream={"enable": True, "streamMode": "messages"}))
    assert set(answer) >= {"messageId", "output", "sessionInfo"}
    assert client.count("streams") == 0
    b = _signed_out("stops", has_response_processor=True)
    assert set(read(b.execute(stream={"enable": True}))) == {"messageId", "events", "sessionInfo"}
