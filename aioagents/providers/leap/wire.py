"""Leap: requests, and the reading of replies. Pure.

Both dialects, and bulk runs, are read by one tolerant reader: members come in camel or snake case, and the output
may be called `result`. Only the `id` in the answer to a start and the `status` in the answer to a poll are required.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from attrs import frozen

from ... import codec
from ...contract import check_text, check_webhook_url, details_in, path_segment
from ...model import Purpose, Reply, Request, Run, RunRef
from .settings import Dialect
from .states import state_of

VENDOR: Final = "leap"
#: The detail in references to bulk runs, which are read at a path of their own.
BULK: Final = "bulk"
_JSON: Final = {"Content-Type": "application/json"}
_MEMBERS: Final[Mapping[Dialect, tuple[str, str, str, str]]] = {
    Dialect.WORKFLOWS: ("/v1/workflows", "workflowId", "webhookUrl", "inputs"),
    Dialect.RUNS: ("/v1/runs", "workflow_id", "webhook_url", "input"),
}


@frozen(kw_only=True)
class BulkOutput:
    """The result of a bulk run: the URL of its output CSV and its row count, None where the vendor names none."""

    csv_url: str | None
    row_count: int | None


def run_request(
    base_url: str, dialect: Dialect, workflow_id: str, inputs: Any, webhook_url: str | None
) -> Request:
    """Build the start of a run; arguments that are None are left out. Raises TypeError or ValueError."""
    path, workflow_member, webhook_member, inputs_member = _MEMBERS[dialect]
    body: dict[str, Any] = {workflow_member: check_text(workflow_id, "workflow_id")}
    if webhook_url is not None:
        body[webhook_member] = check_webhook_url(webhook_url, "webhook_url")
    if inputs is not None:
        codec.encode_object(inputs, "inputs")
        body[inputs_member] = dict(inputs)
    return _start(f"{base_url}{path}", f"{dialect}.run", body)


def bulk_request(base_url: str, workflow_id: str, input_csv_url: str, webhook_url: str | None) -> Request:
    """Build the start of a bulk run: one run for each row of the CSV. Raises ValueError."""
    body = {
        "workflow_id": check_text(workflow_id, "workflow_id"),
        "input_csv_url": check_text(input_csv_url, "input_csv_url"),
    }
    if webhook_url is not None:
        body["webhook_url"] = check_webhook_url(webhook_url, "webhook_url")
    return _start(f"{base_url}/v1/runs/bulk", "bulk.run", body)


def is_bulk_run(ref: RunRef) -> bool:
    """Return whether a reference is that of a bulk run."""
    return BULK in details_in(ref.scope)


def get_request(base_url: str, ref: RunRef) -> Request:
    """Build a poll of a run or bulk run. Raises ValueError for an impossible id."""
    is_bulk = is_bulk_run(ref)
    name = "bulk_run_id" if is_bulk else "run_id"
    segment = path_segment(ref.id, name)
    if not is_bulk and segment == BULK:
        raise ValueError(f"{name}: {ref.id!r} is the path of bulk runs")
    return Request(
        method="GET",
        url=f"{base_url}/v1/runs/{'bulk/' if is_bulk else ''}{segment}",
        call="bulk.get" if is_bulk else "runs.get",
        purpose=Purpose.POLL,
    )


def read_started(reply: Reply, scope: str, call: str, seen_at: datetime) -> Run:
    """Read the answer to a start. Raises DecodeError when it has no run id; a status may be missing."""
    raw = codec.decode(reply.body, vendor=VENDOR, call=call)
    run_id = codec.id_in(raw, "id", vendor=VENDOR, call=call)
    status = raw.get("status")
    return _run(raw, RunRef(VENDOR, scope, run_id), status if isinstance(status, str) else "", seen_at)


def read_run(reply: Reply, ref: RunRef, seen_at: datetime) -> Run:
    """Read the answer to a poll."""
    # By hand, which takes half the time of a codec's rule: nearly all answers are read here.
    call = "bulk.get" if is_bulk_run(ref) else "runs.get"
    raw = codec.decode(reply.body, vendor=VENDOR, call=call)
    # `status` alone decides: a failed run may have no `ended_at`, a running one an empty output.
    status = codec.text_in(raw, "status", vendor=VENDOR, call=call)
    codec.check_id(raw.get("id"), ref.id, vendor=VENDOR, call=call, path="$.id")
    return _run(raw, ref, status, seen_at)


def _start(url: str, call: str, body: Mapping[str, Any]) -> Request:
    return Request(
        method="POST",
        url=url,
        call=call,
        purpose=Purpose.START,
        headers=_JSON,
        body=codec.encode_json(body),
    )


def _run(raw: Mapping[str, Any], ref: RunRef, status: str, seen_at: datetime) -> Run:
    error = raw.get("error")
    return Run(
        ref=ref,
        state=state_of(status),
        status=status,
        created_at=codec.parse_moment(raw.get("created_at")),
        started_at=codec.parse_moment(raw.get("started_at")),
        ended_at=codec.parse_moment(raw.get("ended_at")),
        output=_bulk_output(raw) if is_bulk_run(ref) else raw.get("output", raw.get("result")),
        error=error if isinstance(error, str) else None,
        raw=raw,
        seen_at=seen_at,
    )


def _bulk_output(raw: Mapping[str, Any]) -> BulkOutput:
    url, count = raw.get("output_csv_url"), raw.get("row_count")
    if isinstance(count, bool) or not isinstance(count, int | float):
        count = None
    return BulkOutput(
        csv_url=url if isinstance(url, str) else None, row_count=None if count is None else int(count)
    )
