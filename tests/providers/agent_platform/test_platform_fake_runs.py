"""The fake Agent Platform's runs: synchronous, asynchronous, announced; what is refused, what is asked of users."""

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
    PlatformAsker,
    asker,
    awaited,
    identify,
    order,
    read,
    upload,
)

_EXECUTE = f"{APP}/runs/execute"
_HOOK = "http://127.0.0.1:9/hook"
_TOOL: Mapping[str, Any] = {
    "invoke": {"tasks": [{"type": "tool", "name": "get", "toolType": "code", "agentName": "Accounts"}]},
    "input": [{"type": "tool_input", "content": {"id": 7}}],
}


def test_a_synchronous_run_is_answered_at_its_end() -> None:
    """The reply to a synchronous run is owed until the run is over, and holds what it says."""
    a = asker()
    answer = a.execute("good", now=3.0)
    assert isinstance(answer, DelayedReply)
    assert answer.until == 13.0
    told = awaited(answer)
    assert [item["type"] for item in told["output"]] == ["text"] * len(told["output"])
    info = told["sessionInfo"]
    assert (info["status"], info["sessionReference"], info["appId"]) == ("idle", "chat", "aa-demo")
    assert a.fake.ended_at(info["runId"]) == 13.0
    assert a.poll(info["runId"], now=13.0)["kwargs"]["output"] == told["output"]
    assert (a.count("starts"), a.count("runs"), a.count("dropped")) == (1, 1, 0)


def test_a_run_that_is_over_is_answered_at_once() -> None:
    """Where the run takes no time, nothing is owed."""
    assert read(asker().execute("at once"))["sessionInfo"]["status"] == "idle"


def test_a_run_that_never_ends_is_owed_for_ever() -> None:
    """A run without an end has no second at which it is answered; that a client leaves is counted."""
    a = asker()
    answer = a.execute("endless")
    assert isinstance(answer, DelayedReply)
    assert answer.until == math.inf
    assert answer.on_disconnect is not None
    answer.on_disconnect(5.0)
    assert a.count("dropped") == 1
    assert a.told("GET", f"{APP}/sessions?sessionReference=chat", now=9.0)["session"]["status"] == "busy"


def test_a_failed_run_is_a_good_reply() -> None:
    """A run that fails is told in a 200, by the session's status, with an error text or without."""
    a = asker()
    told = [awaited(a.execute("bad")) for _ in range(2)]
    assert [each["sessionInfo"]["status"] for each in told] == ["error", "error"]
    assert sorted(len(each["output"]) for each in told) == [0, 1]


def test_synchronous_answers_vary() -> None:
    """Artifacts, tags and the conversation's state come in each of their forms."""
    a = asker()
    told = [read(a.execute("at once")) for _ in range(6)]
    assert {name for each in told for name in each if name.lower() == "artifacts"} == {
        "artifacts",
        "Artifacts",
    }
    tags = [each["tags"]["session"] for each in told if "tags" in each]
    assert {type(each) for each in tags} == {dict, list}
    assert {each["sessionInfo"].get("conversationState") for each in told} == {None, "COMPLETED"}
    assert not any("debug" in each for each in told)


@pytest.mark.parametrize(
    ("debug", "has_thoughts"),
    [
        ({"enable": True, "debugMode": "thoughts"}, True),
        ({"enable": True, "debugMode": "all"}, False),
        ({"enable": False, "debugMode": "thoughts"}, False),
        ({"enable": True}, False),
    ],
)
def test_thoughts_are_told_if_asked_for(debug: Mapping[str, Any], has_thoughts: bool) -> None:
    """The one debug mode that works is thoughts, some of them without a source."""
    told = read(asker().execute("at once", debug=debug))
    assert ("debug" in told) == has_thoughts
    if has_thoughts:
        assert {each["type"] for each in told["debug"]} == {"thought"}
        assert {"source" in each for each in told["debug"]} == {True, False}


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
def test_orders_are_read_strictly(changes: Mapping[str, Any]) -> None:
    """What a run is asked for has to be written as the vendor's tables have it; nothing is begun otherwise."""
    a = asker()
    assert a.reply("POST", _EXECUTE, {**order(), **changes}).status == 400
    assert (a.count("starts"), a.count("sessions"), a.count("refused_400")) == (0, 0, 1)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"{", "application/json"),
        (b"", "application/json"),
        (b"[]", "application/json"),
        (b"{}", "text/plain"),
    ],
)
def test_orders_are_json(body: bytes, content_type: str) -> None:
    """A body that is no JSON object, or says it is none, is refused."""
    reply = asker().reply("POST", _EXECUTE, body, headers={**APP_KEY, "content-type": content_type})
    assert reply.status == 400


def test_an_agent_is_invoked() -> None:
    """An agent that is named runs by its script; further tasks are of no effect, whatever they are."""
    a = asker(scripts={"agent:Accounts": (Step("running", 2), Step("success"))})
    tasks = [{"type": "agent", "name": "Accounts"}, {"type": "nothing"}]
    answer = a.execute("hello", invoke={"tasks": tasks})
    assert isinstance(answer, DelayedReply)
    assert answer.until == 2.0
    info = awaited(answer)["sessionInfo"]
    assert (info["envId"], info["envName"]) == ("env-demo", "draft")


def test_a_tool_is_invoked() -> None:
    """A tool gets its input, and says what it was given."""
    a = asker(scripts={"tool:get": (Step("success"),)})
    told = read(a.ask("POST", _EXECUTE, order(**_TOOL)))
    assert json.loads(told["output"][0]["content"]) == {"done": "tool:get", "given": {"id": 7}}


@pytest.mark.parametrize(
    "task",
    [
        {"type": "agent", "name": "unknown"},
        {"type": "tool", "name": "unknown", "toolType": "mcp", "agentName": "A"},
        {"type": "tool", "name": "get", "toolType": "workflow", "agentName": "unknown"},
    ],
)
def test_unknown_agents_and_tools_are_refused(task: Mapping[str, str]) -> None:
    """Names that the rules do not know begin nothing."""
    kind = (
        {"type": "tool_input", "content": {}} if task["type"] == "tool" else {"type": "text", "content": "x"}
    )
    a = asker()
    assert a.reply("POST", _EXECUTE, order(invoke={"tasks": [task]}, input=[kind])).status == 404
    assert a.count("starts") == 0


@pytest.mark.parametrize("acknowledged", [200, 202])
def test_an_asynchronous_run_is_acknowledged_flat(acknowledged: int) -> None:
    """The acknowledgement has the run's id, and a status that no run has; it is 200 or 202."""
    a = asker()
    replies = [a.execute(isAsync=True) for _ in range(2)]
    assert acknowledged in {reply.status for reply in replies if isinstance(reply, Reply)}
    for reply in replies:
        told = read(reply)
        assert tuple(told) == ("status", "runId", "message")
        assert told["status"] == "processing"


def test_a_run_goes_through_its_script() -> None:
    """A look tells the word that holds, in either case, and when it began to."""
    a = asker()
    run = a.start("good")
    seen = [[a.poll(run, now=now)["status"] for _ in range(2)] for now in (0.5, 1.0, 9.9, 10.0, 99.0)]
    assert [sorted(words) for words in seen] == [
        ["Pending", "pending"],
        ["Running", "running"],
        ["Running", "running"],
        ["success", "success"],
        ["success", "success"],
    ]
    assert a.poll(run, now=99.0)["updatedAt"] == "2026-01-05T09:00:10.000Z"
    assert (a.count("polls"), a.count("polls_without_identity")) == (11, 0)


def test_words_of_scripts_are_the_vendors_own() -> None:
    """A word that nobody knows is told as it is, and ends nothing; an end may be in any case."""
    a = asker(scripts={"new": (Step("archived", 5), Step("SUCCESS", 5), Step("failed"))})
    run = a.start("new")
    assert [a.poll(run, now=now)["status"] for now in (0.0, 5.0, 50.0)] == ["archived", "SUCCESS", "SUCCESS"]
    assert a.fake.ended_at(run) == 5.0


def test_a_record_echoes_what_was_asked() -> None:
    """A status record has its id as `_id`, what was asked under `kwargs`, and the callback's token as it came."""
    a = asker()
    more: dict[str, Any] = {"debug": {"enable": False}, "stream": {"enable": False, "streamMode": "messages"}}
    run = a.start("good", callbackUrl=_HOOK, callbackToken="hush", **more)
    record = a.poll(run, now=10.0)
    assert (record["_id"], record["multitaskStrategy"], record["__v"]) == (run, "reject", 0)
    assert record["kwargs"]["input"] == [{"type": "text", "content": "good"}]
    assert {name: record["kwargs"][name] for name in more} == more
    context = record["metadata"]["runtimeContext"]
    assert (context["userReference"], context["sessionReference"]) == ("chat", "chat")
    assert (context["asyncConfig"]["post_url"], context["asyncConfig"]["app_token"]) == (_HOOK, "hush")


def test_what_a_failed_run_leaves_varies() -> None:
    """Where error details sit is open: a text, an object, a string, nothing."""
    a = asker()
    run = a.start("bad")
    kinds = {type(a.poll(run, now=10.0)["kwargs"]["output"]) for _ in range(5)}
    assert kinds == {list, dict, str, type(None)}
    early = [a.poll(run, now=2.0)["kwargs"].get("output") for _ in range(2)]
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
def test_a_run_is_told_to_its_session(identity: Mapping[str, str], status: int, is_over: bool) -> None:
    """The identity of a status call has to lead to the run's session, also once that has ended."""
    a = asker()
    body = order("good", isAsync=True, sessionIdentity=identify(sessionReference="chat", userReference="u"))
    run = a.told("POST", _EXECUTE, body)["runId"]
    session_id = a.poll(run)["sessionId"]
    other = a.create(sessionReference="elsewhere", userReference="u")["session"]["sessionId"]
    if is_over:
        named = {"sessionIdentity": identify(sessionReference="chat")}
        a.told("POST", f"{APP}/sessions/terminate", named)
    ids = {"{id}": session_id, "{other}": other}
    named = {"sessionIdentity": identify(**{kind: ids.get(text, text) for kind, text in identity.items()})}
    assert a.reply("POST", f"{APP}/runs/{run}/status", named).status == status


@pytest.mark.parametrize(("rules", "status"), [({}, 200), ({"status_needs_identity": True}, 400)])
@pytest.mark.parametrize("body", [{}, None])
def test_a_poll_without_identity_is_counted(
    rules: Mapping[str, Any], status: int, body: Mapping[str, Any] | None
) -> None:
    """A status call that names no session, or has no body, is let through and counted unless the rules refuse it."""
    a = asker(**rules)
    run = a.start()
    assert a.reply("POST", f"{APP}/runs/{run}/status", body).status == status
    assert a.count("polls_without_identity") == a.count("polls") == (status == 200)


def test_unknown_runs_are_not_found() -> None:
    """A look at a run that does not exist is refused and is no poll."""
    a = asker()
    body = {"sessionIdentity": identify(sessionReference="chat")}
    assert a.reply("POST", f"{APP}/runs/r-0/status", body).status == 404
    assert (a.count("polls"), a.count("refused_404")) == (0, 1)


def test_runs_are_counted_by_key() -> None:
    """Runs whose metadata has a `key` are counted by it, however they begin; scripts go by it first."""
    a = asker(scripts={"k1": (Step("failed"),), "good": (Step("success"),)})
    assert read(a.execute("good", metadata={"key": "k1"}))["sessionInfo"]["status"] == "error"
    a.start("good", metadata={"key": "k1"})
    a.start("good", metadata={"key": 7})
    a.start("good", metadata={"other": 7})
    a.execute("good", metadata={"key": "s"}, stream={"enable": True})
    assert a.reply("POST", _EXECUTE, order(metadata={"key": "k1"}, isAsync="no")).status == 400
    assert a.fake.starts_by_key == {"k1": 2, "7": 1, "s": 1}
    assert a.count("starts") == 5


@pytest.mark.parametrize(
    ("rules", "status"), [({}, 200), ({"busy_status": 409}, 409), ({"busy_status": 429}, 429)]
)
def test_a_busy_session_may_refuse(rules: Mapping[str, Any], status: int) -> None:
    """A second run while one goes on is refused where the rules say with what; afterwards it is not."""
    a = asker(**rules)
    a.start("good")
    second = a.ask("POST", _EXECUTE, order("at once"), now=5.0)
    assert isinstance(second, Reply)
    assert second.status == status
    third = a.ask("POST", _EXECUTE, order("at once"), now=10.0)
    assert isinstance(third, Reply)
    assert third.status == 200


def _ends(seed: int, **plan: Any) -> list[tuple[float, str]]:
    a = asker(plan={"seed": seed, **plan}, scripts={})
    runs = [a.start("x") for _ in range(40)]
    ends = [a.fake.ended_at(run) or 0.0 for run in runs]
    return [(end, a.poll(run, now=end)["status"]) for run, end in zip(runs, ends, strict=True)]


def test_drawn_runs_follow_the_plan() -> None:
    """Without a script, how long a run takes and how it ends is drawn from the plan; an abortion is a failure."""
    assert _ends(1) == _ends(1) != _ends(2)
    assert {status for _, status in _ends(1, outcomes={"aborted": 1.0})} == {"failed"}
    assert set(_ends(1, outcomes={"completed": 1.0}, median=10.0, spread=0.0, delay=5.0)) == {
        (15.0, "success")
    }


def _hook(a: PlatformAsker, text: str = "good", **more: Any) -> str:
    return a.start(text, callbackUrl=_HOOK, **more)


def test_an_end_is_announced_in_each_form() -> None:
    """A callback is due at the run's end, once, in one of four forms in turn, all of which name the run."""
    a = asker()
    runs = [_hook(a, callbackToken="hush") for _ in CALLBACK_FORMS]
    assert (a.fake.next_webhook_at(), a.fake.take_webhooks(9.9)) == (10.0, [])
    sent = a.fake.take_webhooks(30.0)
    assert [(each.run, each.url, each.at) for each in sent] == [(run, _HOOK, 10.0) for run in runs]
    assert all(each.run in each.body.decode() for each in sent)
    assert {each.headers["authorization"] for each in sent} == {"Bearer hush"}
    shapes = {tuple(sorted(decode_json(each.body)))[:2] for each in sent}
    assert len(shapes) == 4
    assert (a.fake.take_webhooks(99.0), a.fake.next_webhook_at()) == ([], None)
    assert a.count("webhooks_planned") == 4


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
def test_lies_are_other_than_the_truth(form: str, members: set[str], text: str) -> None:
    """In each form, a lie is of another run, or tells an end that was not."""
    a = asker(callbacks=(form,))
    first = _hook(a, text)
    (webhook,) = a.fake.take_webhooks(10.0)
    assert members <= set(decode_json(webhook.body))
    assert "authorization" not in webhook.headers
    other, untrue = a.fake.false_bodies(webhook)
    assert first.encode() not in other
    assert _end(decode_json(untrue)) != _end(decode_json(webhook.body))
    second = _hook(a, text)
    assert second.encode() in a.fake.false_bodies(webhook)[0]


def _end(body: dict[str, Any]) -> str:
    record = body.get("run", body)
    end: str = record["status"] if "status" in record else record["sessionInfo"]["status"]
    return end


def test_runs_without_end_or_callback_are_not_announced() -> None:
    """Nothing is planned for a run that never ends, nor for one that nobody is to be told of."""
    a = asker()
    a.start("good")
    _hook(a, "endless")
    assert a.fake.next_webhook_at() is None


def test_a_callbacks_acknowledgement_may_hide_the_run() -> None:
    """With such rules the id of a run is told to its callback alone."""
    a = asker(hides_run_id=True)
    assert "runId" not in read(a.execute(isAsync=True, callbackUrl=_HOOK))
    assert "runId" in read(a.execute(isAsync=True))
    (webhook,) = a.fake.take_webhooks(10.0)
    assert webhook.run.startswith("r-")


def _call_execute(
    a: PlatformAsker, body: dict[str, Any], *, hastens: bool
) -> tuple[dict[str, Any], list[str]]:
    asked: list[str] = []

    def hasten(run: str) -> bool:
        asked.append(run)
        return hastens

    route: Route = next(route for route in a.fake.routes if route.call == "runs.execute")
    request = Request(
        method="POST", url=_EXECUTE, call="", headers={**APP_KEY, **JSON}, body=encode_json(body)
    )
    path = {"app_id": "aa-demo", "environment": "draft"}
    answer = route.handler(Call(request=request, path=path, query={}, now=4.0, should_end_at_start=hasten))
    return read(answer), asked


@pytest.mark.parametrize("hastens", [False, True])
def test_an_announced_end_may_be_hastened(hastens: bool) -> None:
    """Who serves the world is asked once whether a run with a callback is to be over at once; for others never."""
    a = asker()
    told, asked = _call_execute(a, order(isAsync=True, callbackUrl=_HOOK), hastens=hastens)
    assert asked == [told["runId"]]
    assert a.fake.next_webhook_at() == (4.0 if hastens else 14.0)
    assert _call_execute(a, order(isAsync=True), hastens=hastens)[1] == []


def _signed_out(*forms: str, **rules: Any) -> PlatformAsker:
    return asker(signins=frozenset({"chat"}), signin_forms=forms, **rules)


def test_a_run_may_go_on_without_a_sign_in() -> None:
    """The answer of a run that goes on has both its output and the event."""
    a = _signed_out("proceeds")
    told = awaited(a.execute())
    assert (told["events"][0]["type"], bool(told["output"])) == ("IDP_Redirect", True)
    acknowledged = read(a.execute(isAsync=True))
    assert (set(acknowledged), a.count("starts")) == ({"status", "runId", "message", "events"}, 2)
    a.fake.authorize("chat")
    assert "events" not in awaited(a.execute())


@pytest.mark.parametrize(
    ("form", "members"), [("stops", {"messageId", "events", "sessionInfo"}), ("bare", {"events"})]
)
@pytest.mark.parametrize("more", [{}, {"isAsync": True}])
def test_a_run_may_stop_for_a_sign_in(form: str, members: set[str], more: Mapping[str, Any]) -> None:
    """A run that stops was not begun: at once there is the event, with or without the session, and no run's id."""
    a = _signed_out(form)
    told = read(a.execute(**more))
    assert set(told) == members
    assert "runId" not in told.get("sessionInfo", {})
    assert (a.count("starts"), a.count("sessions")) == (0, 1)
    a.fake.authorize("chat")
    a.execute()
    assert (a.count("starts"), a.count("sessions"), a.count("signins_asked")) == (1, 1, 1)


def test_sign_ins_come_in_all_forms() -> None:
    """By default the three forms come in turn."""
    a = asker(signins=frozenset({"chat"}))
    answers = [a.execute() for _ in range(3)]
    assert sum(isinstance(answer, DelayedReply) for answer in answers) == 1
    assert sorted(len(read(answer)) for answer in answers if isinstance(answer, Reply)) == [1, 3]


def _attach(a: PlatformAsker, name: str, size: int, user: str = "chat") -> str:
    body, headers = upload(b"x" * size, name, userReference=user, uploadType="runtime")
    file_id: str = read(a.reply("POST", f"{APP}/attachments/upload", body, headers={**APP_KEY, **headers}))[
        "fileId"
    ]
    return file_id


def _used(
    a: PlatformAsker, include: list[str], exclude: list[str] | None = None, **more: Any
) -> dict[str, Any]:
    files = {"enable": True, "includeFiles": include, "excludeFiles": exclude or []}
    info = read(a.execute("at once", attachments={**files, **more}))["sessionInfo"]
    return {each["fileName"]: each for each in info["attachments"]}


def test_attachments_stay_until_they_are_excluded() -> None:
    """A file is used from the run that lists it on, until one excludes it, which may be too early."""
    a = asker()
    notes, picture = _attach(a, "a.txt", 40), _attach(a, "b.png", 40)
    assert _used(a, []) == {}
    used = _used(a, [notes, picture])
    assert used["a.txt"] == {
        "fileId": notes,
        "isActive": True,
        "fileName": "a.txt",
        "mimetype": "text/plain",
        "Metadata": {"tokens": 10},
    }
    assert "Metadata" not in used["b.png"]
    assert [each["isActive"] for each in _used(a, []).values()] == [True, True]
    assert [each["isActive"] for each in _used(a, [], [notes, "f-0"]).values()] == [False, True]
    assert [each["isActive"] for each in _used(a, [notes]).values()] == [True, True]
    path = f"{APP}/sessions?sessionReference=chat"
    told = [a.told("GET", path)["session"]["attachments"] for _ in range(2)]
    assert {type(each["isActive"]) for files in told for each in files} == {bool, str}
    ended = a.told(
        "POST", f"{APP}/sessions/terminate", {"sessionIdentity": identify(sessionReference="chat")}
    )
    assert [tuple(each) for each in ended["attachments"]] == [("fileId", "fileName", "fileType")] * 2


def test_a_file_too_large_is_told_in_a_good_reply() -> None:
    """Text beyond the tokens that there are is an error beside the file, which is not used."""
    a = asker(max_tokens=15)
    small, other = _attach(a, "a.txt", 40), _attach(a, "b.json", 40)
    used = _used(a, [small, other])
    assert "error" not in used["a.txt"]["Metadata"]
    assert used["b.json"]["Metadata"] == {"tokens": 10, "error": "the file's text has too many tokens"}
    assert used["b.json"]["isActive"] is False
    used = _used(a, [other, small], [small])
    assert [each["isActive"] for each in used.values()] == [False, True]


def test_attachments_are_the_users_and_few() -> None:
    """A file of another user, an unknown one, or one too many begins no run."""
    a = asker(max_file_count=1)
    mine, also_mine, foreign = _attach(a, "a.txt", 4), _attach(a, "b.txt", 4), _attach(a, "c.txt", 4, "v")
    for files, status in (([foreign], 404), (["f-0"], 404), ([mine, also_mine], 400), ([mine], 200)):
        body = order("at once", attachments={"enable": True, "includeFiles": files})
        assert a.reply("POST", _EXECUTE, body).status == status
    assert _used(a, [mine, also_mine], enable=False) == _used(a, [])
    assert [each["isActive"] for each in _used(a, [also_mine], [mine]).values()] == [False, True]


def test_a_response_processor_gives_no_streams() -> None:
    """With such an app a stream is one plain answer, owed until the run's end."""
    a = asker(has_response_processor=True)
    told = awaited(a.execute(stream={"enable": True, "streamMode": "messages"}))
    assert set(told) >= {"messageId", "output", "sessionInfo"}
    assert a.count("streams") == 0
    b = _signed_out("stops", has_response_processor=True)
    assert set(read(b.execute(stream={"enable": True}))) == {"messageId", "events", "sessionInfo"}
