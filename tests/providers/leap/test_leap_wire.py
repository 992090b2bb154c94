"""Requests to Leap and the reading of its replies, which are kept as files."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioagents import DecodeError, RunRef, RunState
from aioagents.model import Purpose, Reply, Run
from aioagents.providers.leap import BulkOutput, Dialect, wire
from aioagents.providers.leap.states import STATES, state_of

SAMPLES = Path(__file__).parents[2] / "samples" / "leap"
_AT = datetime(2026, 1, 5, tzinfo=UTC)
_URL = "https://api.workflows.tryleap.ai"
_HOOK = "https://hooks.example.com/leap"


def sample(name: str) -> Reply:
    """Return a reply as it was received."""
    (path,) = SAMPLES.glob(f"{name}.json")
    return Reply(int(path.name[:3]), {"content-type": "application/json"}, path.read_bytes())


def _get(reply: Reply, scope: str = "h") -> Run:
    named = re.search(rb'"id": "([a-z]+[0-9]*_demo1)"', reply.body)
    run_id = "rnp_demo1" if named is None else named[1].decode()
    return wire.read_run(reply, RunRef("leap", scope, run_id), _AT)


def _started(reply: Reply, scope: str = "h") -> Run:
    return wire.read_started(reply, scope, "workflows.run", _AT)


def _json(value: Any) -> Reply:
    return Reply(200, {}, json.dumps(value).encode())


# States


@pytest.mark.parametrize(("word", "state"), STATES.items())
@pytest.mark.parametrize(("call", "scope"), [("get", "h"), ("bulk_get", "h;bulk")])
def test_each_word_has_a_sample(call: str, scope: str, word: str, state: RunState) -> None:
    """Each word of the vendor's table is read as the state it stands for, of runs and of bulk runs."""
    run = _get(sample(f"{call}/200-{word}"), scope)
    assert (run.status, run.state) == (word, state)
    assert run.raw["status"] == word
    assert run.state.is_terminal == (word in {"completed", "failed", "cancelled"})


def test_samples_and_states_are_the_same_words() -> None:
    """The vendor's five words are the ones in the table."""
    assert set(STATES) == {"queued", "running", "completed", "failed", "cancelled"}


@pytest.mark.parametrize("word", ["", "Completed", "canceled", "aborted", "success", "failed ", "paused"])
def test_other_words_are_unknown(word: str) -> None:
    """A word that differs by one letter is unknown, and polled on."""
    assert state_of(word) is RunState.UNKNOWN
    assert _get(_json({"status": word})).state is RunState.UNKNOWN
    assert _get(sample("get/200-unknown-word")).state is RunState.UNKNOWN


# Starts


def test_start_in_the_first_dialect() -> None:
    """`workflows` has camel-case members, `inputs` in the plural, and the path of the vendor's first text."""
    request = wire.run_request(_URL, Dialect.WORKFLOWS, "wkf_demo", {"topic": "tea"}, _HOOK)
    assert (request.method, request.url) == ("POST", f"{_URL}/v1/workflows")
    assert json.loads(request.body or b"") == {
        "workflowId": "wkf_demo",
        "webhookUrl": _HOOK,
        "inputs": {"topic": "tea"},
    }
    assert request.call == "workflows.run"


def test_start_in_the_second_dialect() -> None:
    """`runs` has snake-case members, `input` in the singular, and the path of the public OpenAPI."""
    request = wire.run_request(_URL, Dialect.RUNS, "wkf_demo", {"topic": "tea"}, _HOOK)
    assert (request.method, request.url) == ("POST", f"{_URL}/v1/runs")
    assert json.loads(request.body or b"") == {
        "workflow_id": "wkf_demo",
        "webhook_url": _HOOK,
        "input": {"topic": "tea"},
    }
    assert request.call == "runs.run"


def test_start_in_bulk() -> None:
    """A bulk start has its only form, in snake case."""
    request = wire.bulk_request(_URL, "wkf_demo", "https://files.example.com/in.csv", _HOOK)
    assert (request.method, request.url) == ("POST", f"{_URL}/v1/runs/bulk")
    assert json.loads(request.body or b"") == {
        "workflow_id": "wkf_demo",
        "input_csv_url": "https://files.example.com/in.csv",
        "webhook_url": _HOOK,
    }
    assert request.call == "bulk.run"


def test_what_was_not_given_is_left_out() -> None:
    """Optional members that were not given are not sent: neither as null nor as an empty text."""
    for dialect, name in ((Dialect.WORKFLOWS, "workflowId"), (Dialect.RUNS, "workflow_id")):
        request = wire.run_request(_URL, dialect, "w", None, None)
        assert json.loads(request.body or b"") == {name: "w"}
    bulk = wire.bulk_request(_URL, "w", "https://f/in.csv", None)
    assert set(json.loads(bulk.body or b"")) == {"workflow_id", "input_csv_url"}


def test_empty_inputs_are_sent() -> None:
    """Inputs that were given are sent, also an empty mapping; any mapping is accepted."""
    empty: list[Any] = [{}, MappingProxyType({})]
    for given_inputs in empty:
        request = wire.run_request(_URL, Dialect.WORKFLOWS, "w", given_inputs, None)
        assert json.loads(request.body or b"") == {"workflowId": "w", "inputs": {}}


def test_starts_are_not_repeatable_and_show_nothing() -> None:
    """Each start is a start, sent as JSON, and its repr shows no input and no webhook."""
    for request in (
        wire.run_request(_URL, Dialect.WORKFLOWS, "w", {"mail": "a@example.com"}, _HOOK),
        wire.run_request(_URL, Dialect.RUNS, "w", {"mail": "a@example.com"}, _HOOK),
        wire.bulk_request(_URL, "w", "https://f/a@example.com", _HOOK),
    ):
        assert request.purpose is Purpose.START
        assert not request.is_repeatable
        assert not request.refused_by
        assert request.headers["Content-Type"] == "application/json"
        assert "example.com" not in repr(request)


@pytest.mark.parametrize("workflow", ["", " ", None, 5])
def test_workflow_ids_that_cannot_be(workflow: Any) -> None:
    """A start needs a workflow."""
    with pytest.raises(ValueError, match="workflow_id"):
        wire.run_request(_URL, Dialect.RUNS, workflow, None, None)
    with pytest.raises(ValueError, match="workflow_id"):
        wire.bulk_request(_URL, workflow, "https://f", None)
    with pytest.raises(ValueError, match="input_csv_url"):
        wire.bulk_request(_URL, "w", workflow, None)


@pytest.mark.parametrize(
    "inputs", [[], "", "x", 5, [("a", 1)], {5: 1}, {"a": object()}, {"a": {1, 2}}, {"a": "\ud800"}]
)
def test_inputs_that_cannot_be(inputs: Any) -> None:
    """Inputs are a mapping of JSON values; an error names them and does not quote them."""
    with pytest.raises(TypeError, match="inputs has to"):
        wire.run_request(_URL, Dialect.WORKFLOWS, "w", inputs, None)


@pytest.mark.parametrize(
    "url",
    [
        "",
        " ",
        "hooks.example.com/s3cr3t",
        "/s3cr3t",
        "ftp://h/s3cr3t",
        "https://",
        "https:///s3cr3t",
        "http://[::1/s3cr3t",
        "https://h:99999/s3cr3t",
        "https://h:x/s3cr3t",
    ],
)
def test_webhook_urls_that_cannot_be(url: str) -> None:
    """A webhook is an http or https URL; anything else is refused and not quoted."""
    with pytest.raises(ValueError, match="webhook_url has to be") as caught:
        wire.run_request(_URL, Dialect.WORKFLOWS, "w", None, url)
    assert "s3cr3t" not in str(caught.value)
    with pytest.raises(ValueError, match="webhook_url has to be"):
        wire.bulk_request(_URL, "w", "https://f", url)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:80/x", "https://h", "HTTPS://h/a?b=c", "https://[::1]:1/x"]
)
def test_webhook_urls_that_can_be(url: str) -> None:
    """A URL is sent unchanged."""
    request = wire.run_request(_URL, Dialect.RUNS, "w", None, url)
    assert json.loads(request.body or b"")["webhook_url"] == url


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("200-workflows", RunState.RUNNING),
        ("200-runs", RunState.QUEUED),
        ("201-runs", RunState.QUEUED),
        ("200-over-already", RunState.COMPLETED),
        ("200-without-status", RunState.UNKNOWN),
        ("200-id-alone", RunState.UNKNOWN),
    ],
)
def test_accepted_runs(name: str, state: RunState) -> None:
    """An answer that names the run is an accepted start, whatever its status, dialect and missing members."""
    run = _started(sample(f"run/{name}"))
    assert (str(run.ref), run.state, run.seen_at) == ("leap:h/rnp_demo1", state, _AT)
    assert run.raw["id"] == "rnp_demo1"


def test_accepted_bulk_run() -> None:
    """A bulk run's reference says that it is one."""
    run = _started(sample("bulk_run/200-queued"), "h;bulk")
    assert (str(run.ref), run.state) == ("leap:h;bulk/bulk_demo1", RunState.QUEUED)


@pytest.mark.parametrize("status", [None, 5, [], {}, True])
def test_run_is_known_by_its_id_alone(status: Any) -> None:
    """An odd status in the answer to a start makes no `StartUnknown`, and is no end."""
    run = _started(_json({"id": "rnp_1", "status": status}))
    assert (run.id, run.state, run.status) == ("rnp_1", RunState.UNKNOWN, "")


@pytest.mark.parametrize(
    ("reply", "path"),
    [
        (sample("run/200-without-id"), "$.id"),
        (_json({"id": ""}), "$.id"),
        (_json({"id": "  "}), "$.id"),
        (_json({"id": 5}), "$.id"),
        (_json({"id": None}), "$.id"),
        (_json([]), "$"),
        (_json(None), "$"),
        (_json("rnp_1"), "$"),
        (Reply(200, {}, b"<html>secret</html>"), "$"),
        (Reply(201, {}, b""), "$"),
        (Reply(200, {}, b'{"id": "rnp_1"'), "$"),
    ],
)
def test_answer_that_names_no_run(reply: Reply, path: str) -> None:
    """Without an id there is a `DecodeError` that says where, and quotes nothing."""
    with pytest.raises(DecodeError) as caught:
        _started(reply)
    assert (caught.value.vendor, caught.value.call, caught.value.path) == ("leap", "workflows.run", path)
    assert "secret" not in str(caught.value)


# Polls


@pytest.mark.parametrize(
    ("run_id", "segment"),
    [
        ("rnp_demo1", "rnp_demo1"),
        ("123", "123"),
        ("a/b", "a%2Fb"),
        ("bulk/x", "bulk%2Fx"),
        ("a?b=c#d", "a%3Fb%3Dc%23d"),
        ("%2e%2e", "%252e%252e"),
        ("ä ö", "%C3%A4%20%C3%B6"),
        ("a\r\nb", "a%0D%0Ab"),
        ("Bulk", "Bulk"),
    ],
)
def test_id_stays_one_segment_of_the_path(run_id: str, segment: str) -> None:
    """An id is percent-encoded and can change neither host nor path, of runs as of bulk runs."""
    request = wire.get_request(_URL, RunRef("leap", "h", run_id))
    assert request.url == f"{_URL}/v1/runs/{segment}"
    assert (request.method, request.purpose, request.body) == ("GET", Purpose.POLL, None)
    bulk = wire.get_request(_URL, RunRef("leap", "h;bulk", run_id))
    assert bulk.url == f"{_URL}/v1/runs/bulk/{segment}"
    assert (request.call, bulk.call) == ("runs.get", "bulk.get")


@given(st.text(min_size=1))
def test_any_id_stays_one_segment(run_id: str) -> None:
    """Any id is refused or becomes one segment that is not the bulk runs' path."""
    try:
        request = wire.get_request("https://h", RunRef("leap", "h", run_id))
    except ValueError:
        return
    segment = request.url.removeprefix("https://h/v1/runs/")
    assert re.fullmatch(r"[A-Za-z0-9._~%-]+", segment)
    assert segment not in {".", "..", "bulk"}


def test_id_of_a_run_that_is_the_path_of_bulk_runs() -> None:
    """A run cannot be called `bulk`, where its path would be another call's; a bulk run may be."""
    with pytest.raises(ValueError, match="path of bulk runs"):
        wire.get_request(_URL, RunRef("leap", "h", "bulk"))
    assert wire.get_request(_URL, RunRef("leap", "h;bulk", "bulk")).url.endswith("/v1/runs/bulk/bulk")


@pytest.mark.parametrize("name", ["200-completed", "200-camel", "200-result"])
def test_dialects_are_read_alike(name: str) -> None:
    """Camel and snake case, `output` and `result`: one reader returns the same run."""
    run = _get(sample(f"get/{name}"))
    assert (run.state, run.output, run.error) == (RunState.COMPLETED, {"answer": "tea"}, None)
    assert run.created_at is not None
    assert run.created_at.tzinfo is not None


@pytest.mark.parametrize(
    ("name", "output"),
    [
        ("text", "tea"),
        ("list", ["tea", 1, None]),
        ("number", 0.5),
        ("null", None),
        ("empty", {}),
        ("false", False),
    ],
)
def test_output_is_any_json_value(name: str, output: Any) -> None:
    """An output may be anything, null on a completed run included."""
    run = _get(sample(f"get/200-output-{name}"))
    assert (run.state, run.output) == (RunState.COMPLETED, output)


def test_failed_run_without_an_end() -> None:
    """A failed run has its error, newline and all, where `ended_at` stays null."""
    run = _get(sample("get/200-failed"))
    assert (run.state, run.ended_at) == (RunState.FAILED, None)
    assert run.error == "Step 2: variable 'x' is missing\nThe step was not carried out."
    assert "Step" not in repr(run)


def test_status_alone_decides() -> None:
    """Neither an end's date nor an output nor an error means that a run has ended, nor does their absence matter."""
    going = _get(sample("get/200-running-with-end"))
    assert (going.state, going.ended_at is None) == (RunState.RUNNING, False)
    bare = _get(sample("get/200-bare"))
    assert bare.state is RunState.COMPLETED
    assert (bare.created_at, bare.started_at, bare.ended_at, bare.output, bare.error) == (None,) * 5


def test_moments() -> None:
    """Moments keep their microseconds and their zone; odd ones are absent, and `raw` keeps the text."""
    run = _get(sample("get/200-completed"))
    assert run.created_at == datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
    assert run.started_at == datetime(2026, 1, 2, 3, 4, 6, 1, tzinfo=UTC)
    assert run.ended_at == datetime(2026, 1, 2, 3, 5, 0, 250_000, tzinfo=UTC)
    odds: list[Any] = ["yesterday", "", 5, {}, True, None]
    for odd in odds:
        assert _get(_json({"status": "running", "created_at": odd})).created_at is None


@pytest.mark.parametrize("error", [{"message": "x"}, ["x"], 5, True])
def test_error_that_is_no_text(error: Any) -> None:
    """An error of another type is only in `raw`."""
    run = _get(_json({"status": "failed", "error": error}))
    assert (run.state, run.error, run.raw["error"]) == (RunState.FAILED, None, error)


@pytest.mark.parametrize(
    ("name", "url", "count"),
    [
        ("completed", "https://files.example.com/out.csv", 12),
        ("completed-with-end", "https://files.example.com/out.csv", 12),
        ("running", None, 12),
        ("without-count", None, None),
    ],
)
def test_bulk_output(name: str, url: str | None, count: int | None) -> None:
    """A bulk run's output has the CSV's URL and the row count, each None where the vendor names none."""
    run = _get(sample(f"bulk_get/200-{name}"), "h;bulk")
    assert run.output == BulkOutput(csv_url=url, row_count=count)
    assert run.started_at is None


@pytest.mark.parametrize(
    ("count", "read"), [(0, 0), (12.0, 12), (True, None), ("12", None), (None, None), (1e308, int(1e308))]
)
def test_odd_row_counts(count: Any, read: int | None) -> None:
    """A row count that is not a number is None."""
    run = _get(_json({"status": "completed", "row_count": count, "output_csv_url": 5}), "h;bulk")
    assert run.output == BulkOutput(csv_url=None, row_count=read)


@pytest.mark.parametrize(
    "reply",
    [
        sample("get/200-without-status"),
        _json({"status": None}),
        _json({"status": 1}),
        _json({"status": ["completed"]}),
        _json([{"status": "completed"}]),
        _json("completed"),
        _json(None),
        Reply(200, {"content-type": "text/html"}, b"<html>a@example.com</html>"),
        Reply(200, {}, b""),
        Reply(200, {}, b'{"status": "completed"'),
        Reply(200, {}, b"\xff\xfe"),
    ],
)
@pytest.mark.parametrize(("scope", "call"), [("h", "runs.get"), ("h;bulk", "bulk.get")])
def test_poll_of_the_wrong_shape(reply: Reply, scope: str, call: str) -> None:
    """Without a status word there is a `DecodeError` that names the call and quotes nothing."""
    with pytest.raises(DecodeError, match=f"leap: the answer to {re.escape(call)}") as caught:
        _get(reply, scope)
    assert (caught.value.vendor, caught.value.call) == ("leap", call)
    assert "example" not in str(caught.value)


@given(
    st.dictionaries(
        st.sampled_from(
            ["id", "status", "output", "result", "error", "ended_at", "row_count", "output_csv_url"]
        ),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers(-(2**53), 2**53)
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(),
            lambda inner: st.lists(inner, max_size=2),
            max_leaves=3,
        ),
    ),
    st.sampled_from(["h", "h;bulk"]),
)
def test_any_members_are_read_or_refused(members: dict[str, Any], scope: str) -> None:
    """Any JSON object is read as a run or raises `DecodeError`."""
    body = json.dumps(members).encode()
    for read in (_get, _started):
        try:
            run = read(Reply(200, {}, body), scope)
        except DecodeError:
            continue
        assert run.state.is_terminal == (run.status in {"completed", "failed", "cancelled"})
