"""Requests about runs and dock jobs, and what is read from replies kept as files."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioagents import AuthorizationRequired, DecodeError, RunRef, RunState
from aioagents.codec import decode_json, encode_json
from aioagents.model import Purpose, Reply, Run
from aioagents.providers.agent_platform import DockJob, dock_wire, run_wire
from aioagents.providers.agent_platform.run_wire import reply_in
from aioagents.providers.agent_platform.states import DOCK_STATES, RUN_STATES, dock_state, run_state
from aioagents.webhooks import DeliveryClaim
from tests.providers.agent_platform.platform_rig import APP_URL, TOOLS_URL, sample, sample_body

_AT = datetime(2026, 1, 5, tzinfo=UTC)
_SCOPE = "h;app=aa;environment=draft;sessionReference=chat-7"
_REF = RunRef("agent-platform", _SCOPE, "r-demo")
_DOCK_REF = RunRef("agent-platform", "h;dock", "ds-demo")


def _run(name: str) -> Run:
    return run_wire.read_run(sample(f"runs_status/{name}"), _REF, _AT)


def _job(name: str) -> tuple[Run, DockJob]:
    run = dock_wire.read_job(sample(f"dock_status/{name}"), _DOCK_REF, _AT)
    assert isinstance(run.output, DockJob)
    return run, run.output


def _json(value: Any) -> Reply:
    return Reply(200, {}, encode_json(value))


# States


@pytest.mark.parametrize(("word", "state"), RUN_STATES.items())
def test_each_word_of_runs_has_a_sample(word: str, state: RunState) -> None:
    """Each word of the vendor's table is read as its state."""
    run = _run(f"200-{word}")
    assert (run.status, run.state) == (word, state)
    assert run.state.is_terminal == (word in {"success", "failed"})


@pytest.mark.parametrize(
    ("word", "state"),
    [("Pending", RunState.QUEUED), ("Running", RunState.RUNNING), (" SUCCESS ", RunState.COMPLETED)],
)
def test_letters_of_either_case(word: str, state: RunState) -> None:
    """Status words of runs are compared without case, which the vendor's page mixes, and kept in lower case."""
    assert run_state(word) is state
    assert _run("200-pending-capital").status == "pending"
    assert _run("200-running-capital").state is RunState.RUNNING


@pytest.mark.parametrize(("word", "state"), DOCK_STATES.items())
def test_each_word_of_jobs_has_a_sample(word: str, state: RunState) -> None:
    """Each word of dock jobs is read as its state."""
    run, job = _job(f"200-{word.lower().replace('_', '-')}")
    assert (run.status, run.state, job.status) == (word, state, word)
    assert run.state.is_terminal == (word in {"SUCCESS", "FAILED"})


@pytest.mark.parametrize("word", ["IN PROGRESS", "IN_ PROGRESS", "in_progress", " IN  PROGRESS "])
def test_spellings_of_a_job_in_progress(word: str) -> None:
    """The word that the vendor prints in three ways is one."""
    assert dock_state(word) is RunState.RUNNING


@pytest.mark.parametrize("word", ["", "expired", "cancelled", "IN_PROGRESS", "succeeded", "fail"])
def test_other_words_of_runs_are_unknown(word: str) -> None:
    """A word that is not in the table is UNKNOWN, which is not terminal."""
    assert run_state(word) is RunState.UNKNOWN
    assert _run("200-unknown-word").state is RunState.UNKNOWN


@pytest.mark.parametrize("word", ["", "QUEUED", "CANCELLED", "running", "pending"])
def test_other_words_of_jobs_are_unknown(word: str) -> None:
    """A word that is not in the table is UNKNOWN, also one of runs."""
    assert dock_state(word) is RunState.UNKNOWN


@given(st.text())
def test_no_other_text_is_an_end(word: str) -> None:
    """Only the vendor's own words are terminal."""
    assert run_state(word).is_terminal == (word.strip().lower() in {"success", "failed"})
    assert not dock_state(word).is_terminal or dock_state(word.strip().upper()).is_terminal


# Polls of runs


def test_poll_of_a_run() -> None:
    """A poll is a POST that only reads, whose body names the session."""
    request = run_wire.status_request(
        APP_URL, RunRef("agent-platform", "h;sessionId=s-1;sessionReference=a b", "r/1")
    )
    assert (request.method, request.url) == ("POST", f"{APP_URL}/runs/r%2F1/status")
    assert (request.purpose, request.is_repeatable, request.call) == (Purpose.POLL, True, "runs.status")
    assert decode_json(request.body or b"") == {
        "sessionIdentity": [
            {"type": "sessionId", "value": "s-1"},
            {"type": "sessionReference", "value": "a b"},
        ]
    }


def test_run_that_succeeded() -> None:
    """At the end the run has its output and dates."""
    run = _run("200-success")
    assert run.output == [{"type": "text", "content": "It ships today."}]
    assert run.created_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert run.ended_at == datetime(2026, 1, 2, 3, 4, 12, tzinfo=UTC)
    assert (run.started_at, run.error, run.ref, run.seen_at) == (None, None, _REF, _AT)


def test_run_that_goes_on() -> None:
    """Before the end there is no output and no end, though the record has a list and a date there."""
    run = _run("200-running")
    assert (run.output, run.ended_at, run.error) == (None, None, None)


@pytest.mark.parametrize("name", ["200-failed", "200-failed-object", "200-failed-text"])
def test_run_that_failed(name: str) -> None:
    """The reason is found in any form of the record."""
    run = _run(name)
    assert (run.state, run.error, run.output) == (RunState.FAILED, "The tool did not answer.", None)


@pytest.mark.parametrize("output", [[], None, "", {}, {"error": 7}, 7, [{"type": "image"}]])
def test_run_that_failed_without_a_reason(output: Any) -> None:
    """If the record has no reason, it is None."""
    body = sample_body("runs_status/200-failed")
    body["run"]["kwargs"] = {"output": output}
    assert run_wire.read_run(_json(body), _REF, _AT).error is None
    body["run"]["kwargs"] = None
    assert run_wire.read_run(_json(body), _REF, _AT).state is RunState.FAILED


def test_record_without_its_envelope() -> None:
    """A record without the envelope `run` is read as well."""
    body = sample_body("runs_status/200-success")["run"]
    assert run_wire.read_run(_json(body), _REF, _AT).state is RunState.COMPLETED


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "$.status"),
        ({"run": {}}, "$.run.status"),
        ({"run": None}, "$.run"),
        ({"run": []}, "$.run"),
        ({"run": {"status": 7}}, "$.run.status"),
    ],
)
def test_polls_without_a_status(body: Any, path: str) -> None:
    """A record without a status raises an error that has the path."""
    with pytest.raises(DecodeError, match=r"runs\.status") as caught:
        run_wire.read_run(_json(body), _REF, _AT)
    assert caught.value.path == path


def test_tokens_of_callbacks_are_not_kept() -> None:
    """The token that the record echoes is masked in `raw`, wherever it occurs, and nothing else is."""
    reply = sample("runs_status/200-success")
    assert b"demo-token" in reply.body
    raw = run_wire.read_run(reply, _REF, _AT).raw
    assert "demo-token" not in str(raw)
    config = raw["run"]["metadata"]["runtimeContext"]["asyncConfig"]
    assert (config["app_token"], config["post_url"]) == ("***", "https://cb.example/x")
    config["app_token"] = "demo-token"
    assert raw == decode_json(reply.body)
    nested = {"status": "success", "kwargs": {"output": [{"callbackToken": "demo-token"}, {"app_token": ""}]}}
    assert run_wire.read_run(_json(nested), _REF, _AT).raw == {
        "status": "success",
        "kwargs": {"output": [{"callbackToken": "***"}, {"app_token": ""}]},
    }


# Starts of runs


def test_acknowledgement() -> None:
    """An acknowledgement names the run; `processing` is not terminal."""
    run = run_wire.read_started(sample("runs_start/202-processing"), _SCOPE, "runs.start", _AT)
    assert (run.ref, run.state, run.status) == (_REF, RunState.QUEUED, "processing")
    assert run.output is None


@pytest.mark.parametrize(
    "body",
    [
        {"runId": "r-demo"},
        {"run_id": "r-demo", "status": 7},
        {"sessionInfo": {"runId": "r-demo"}, "status": "queued"},
        {"run": {"_id": "r-demo"}, "status": "accepted"},
    ],
)
def test_acknowledgements_in_other_forms(body: Any) -> None:
    """The id is found as in other answers of the platform; an unknown word is not terminal."""
    run = run_wire.read_started(_json(body), _SCOPE, "runs.start", _AT)
    assert (run.ref, run.state) == (_REF, RunState.UNKNOWN)


@pytest.mark.parametrize("word", ["success", "failed"])
def test_acknowledgement_is_no_end(word: str) -> None:
    """An acknowledgement has no output, so that a terminal word in it is not terminal."""
    run = run_wire.read_started(_json({"runId": "r-demo", "status": word}), _SCOPE, "runs.start", _AT)
    assert (run.state, run.status) == (RunState.QUEUED, word)


@pytest.mark.parametrize("body", [{}, {"runId": ""}, {"runId": "  "}, {"runId": 7}, {"status": "processing"}])
def test_acknowledgement_without_a_run(body: Any) -> None:
    """An acknowledgement that names no run raises an error."""
    with pytest.raises(DecodeError) as caught:
        run_wire.read_started(_json(body), _SCOPE, "runs.start", _AT)
    assert caught.value.path == "$.runId"


def test_acknowledgement_that_asks_for_a_sign_in() -> None:
    """An acknowledgement with a sign-in in place of a run raises AuthorizationRequired."""
    with pytest.raises(AuthorizationRequired, match="started no run") as caught:
        run_wire.read_started(sample("runs_start/200-sign-in"), _SCOPE, "runs.start", _AT)
    (profile,) = caught.value.pending_authorizations
    assert (profile.name, profile.url) == ("Google", "https://idp.example/r/abc123")
    assert "idp.example" not in str(caught.value)
    run = run_wire.read_started(sample("runs_start/202-sign-in-and-id"), _SCOPE, "runs.start", _AT)
    assert run.ref == _REF


def test_execute_requests() -> None:
    """Synchronous requests are long and have a timeout of their own; asynchronous ones are not."""
    request = run_wire.execute_request(APP_URL, "runs.execute", {"isAsync": False}, 600.0)
    assert (request.is_long, request.timeout, request.purpose) == (True, 600.0, Purpose.START)
    request = run_wire.execute_request(
        APP_URL, "runs.start", {"isAsync": True, "callbackToken": "demo-token"}
    )
    assert (request.is_long, request.timeout, request.purpose) == (False, None, Purpose.START)
    assert request.url == f"{APP_URL}/runs/execute"
    assert "demo-token" not in repr(request)
    assert run_wire.shown_body({"isAsync": True, "callbackToken": "demo-token"}) == b'{"isAsync":true}'


# Answers


def test_answer_with_everything() -> None:
    """Thoughts, artifacts, tags, states and files of an answer are read, in the vendor's mixed spellings."""
    found = reply_in(sample("runs_execute/200-all"), "runs.execute")
    assert found.text == "It ships today.\nAnything else?"
    assert [(each.text, each.source) for each in found.thoughts] == [
        ("An order.", "Orchestrator"),
        ("It is told.", ""),
    ]
    assert (found.artifacts, found.message_id, found.run_id) == (({"order": 12},), "msg-demo", "r-demo")
    assert found.tags["session"] == [{"topic": "order"}]
    session = found.session
    assert (session.session_id, session.user_id, session.environment) == ("s-demo", "u-demo", "draft")
    assert (session.conversation_state, session.status, found.is_error) == ("COMPLETED", "idle", False)
    (file,) = found.attachments
    assert (file.file_id, file.file_name, file.mime_type) == ("f-1", "a.pdf", "application/pdf")
    assert (file.is_active, file.tokens, file.error) == (True, 900000, "the text is too large")
    assert (len(found.pending_authorizations), len(found.events)) == (0, 0)
    assert "ships" not in repr(found)


def test_answer_of_a_run_that_went_wrong() -> None:
    """A failure is an attribute of the answer."""
    found = reply_in(sample("runs_execute/200-error"), "runs.execute")
    assert (found.is_error, found.text) == (True, "")


@pytest.mark.parametrize("name", ["200-sign-in", "200-sign-in-bare"])
def test_answer_with_a_sign_in(name: str) -> None:
    """Pending sign-ins are read along with the output; completed ones are left out."""
    found = reply_in(sample(f"runs_execute/{name}"), "runs.execute")
    (profile,) = found.pending_authorizations
    assert (profile.name, profile.sso_type, profile.is_authorized) == ("Google", "oauth2", False)
    assert "idp.example" not in repr(found)
    assert (found.text, found.run_id) == (("Welcome.", "r-demo") if name == "200-sign-in" else ("", ""))


@pytest.mark.parametrize("body", [{}, {"output": []}, {"status": "ok"}, {"sessionInfo": None}])
def test_answers_that_hold_nothing(body: Any) -> None:
    """An answer without any known member raises an error."""
    with pytest.raises(DecodeError):
        reply_in(_json(body), "runs.execute")


# Deliveries


@pytest.mark.parametrize("form", ["record", "run", "reply", "digest"])
def test_deliveries(form: str) -> None:
    """In any form of a callback's body, the run and the status are found."""
    found = run_wire.read_delivery(sample_body(f"webhook/{form}"))
    assert found == DeliveryClaim("r-demo", "idle" if form == "reply" else "success")


@pytest.mark.parametrize(
    ("status", "is_news"),
    [
        ("running", False),
        ("PENDING", False),
        ("processing", False),
        ("success", True),
        ("failed", True),
        ("paused", True),
        ("", True),
        (None, True),
        (7, True),
    ],
)
def test_deliveries_that_are_news(status: Any, is_news: bool) -> None:
    """A run that goes on is no news; ends, unknown words and a status that cannot be read are."""
    found = run_wire.read_delivery({"runId": "r-demo", "status": status})
    assert found is not None
    assert (found.run_id, found.is_news) == ("r-demo", is_news)


@pytest.mark.parametrize(
    ("body", "found"), [({}, DeliveryClaim("")), ([], None), ("x", None), (None, None), (7, None)]
)
def test_deliveries_in_other_forms(body: Any, found: Any) -> None:
    """Any other object is about the run of its URL; anything but an object is no delivery."""
    assert run_wire.read_delivery(body) == found
    assert run_wire.read_delivery(sample_body("webhook/nameless")) == DeliveryClaim("")


# Dock jobs


_STARTED = {
    "tools_import_new/200-in-progress": RunState.RUNNING,
    "tools_import_into/200-success": RunState.COMPLETED,
    "tools_export/200-in-progress": RunState.RUNNING,
    "tools_deploy/200-success": RunState.COMPLETED,
    "tools_undeploy/200-success": RunState.COMPLETED,
    "models_import/200-says-export": RunState.RUNNING,
    "models_export/200-success": RunState.COMPLETED,
    "models_deploy/200-in-progress": RunState.RUNNING,
    "models_undeploy/200-success": RunState.COMPLETED,
    "guardrails_deploy/200-success": RunState.COMPLETED,
    "guardrails_undeploy/200-success": RunState.COMPLETED,
}


@pytest.mark.parametrize(("name", "state"), _STARTED.items())
def test_starts_of_jobs(name: str, state: RunState) -> None:
    """The answer to each start names its job, in any spelling, and may be its end."""
    run = dock_wire.read_started(sample(name), "h;dock", "tools.deploy", _AT)
    assert (run.ref, run.state) == (_DOCK_REF, state)
    assert run.output.job_id == "ds-demo"
    assert run.output.tool_id or run.output.model_id


@pytest.mark.parametrize("body", [{}, {"_id": ""}, {"dockStatusId": 7}, {"toolId": "a-demo"}])
def test_starts_of_jobs_without_an_id(body: Any) -> None:
    """An answer that names no job raises an error."""
    with pytest.raises(DecodeError) as caught:
        dock_wire.read_started(_json(body), "h;dock", "tools.deploy", _AT)
    assert caught.value.path == "$.dockStatusId"


def test_start_of_a_job_without_a_status() -> None:
    """A job whose start has only an id is not terminal."""
    run = dock_wire.read_started(_json({"dockStatusId": "ds-demo"}), "h;dock", "tools.deploy", _AT)
    assert (run.state, run.status) == (RunState.UNKNOWN, "")


def test_poll_of_a_job() -> None:
    """A poll is a GET by the job's id."""
    request = dock_wire.status_request(TOOLS_URL, RunRef("agent-platform", "h;dock", "ds/1"))
    assert (request.method, request.url) == ("GET", f"{TOOLS_URL}/dock-status/ds%2F1")
    assert (request.purpose, request.body) == (Purpose.POLL, None)


@pytest.mark.parametrize(
    "reply",
    [
        sample("dock_status/200-export"),
        sample("models_export/200-success"),
        sample("tools_export/200-in-progress"),
    ],
)
def test_exports(reply: Reply) -> None:
    """The download URL is read without its leading space, in either spelling, and is in no repr."""
    job = dock_wire.read_started(reply, "h;dock", "models.export", _AT).output
    assert job.download_url == "https://host.example/api/v1/account/x"
    assert job.progress in {100.0, None}
    assert "host.example" not in repr(job)


def test_job_that_failed() -> None:
    """A failed job has its reason, if there is one."""
    assert _job("200-failed")[0].error is None
    run, job = _job("200-failed-with-reason")
    assert (run.error, job.model_id, job.action) == ("no machine", "cm-demo", "DEPLOY")
    other = dock_wire.read_job(
        _json({"status": "FAILED", "response": {"message": "no room"}}), _DOCK_REF, _AT
    )
    assert other.error == "no room"
    fine = dock_wire.read_job(_json({"status": "SUCCESS", "message": "done"}), _DOCK_REF, _AT)
    assert fine.error is None


@pytest.mark.parametrize("body", [{}, {"status": None}, {"status": {}}])
def test_polls_of_jobs_without_a_status(body: Any) -> None:
    """A record without a status raises an error."""
    with pytest.raises(DecodeError, match=r"dock\.status"):
        dock_wire.read_job(_json(body), _DOCK_REF, _AT)
