"""Leena AI on the command line."""

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any, Final

import click
from attrs import asdict

from ... import codec
from ...cli.exits import Exit
from ...cli.options import client_of, members_option
from ...cli.report import Cell, Layout, ReportJob, report_options, write_report
from ...cli.runs import run_command, start
from ...polling import RunHandle
from ...pool import SessionPool
from . import Leena, LeenaEndpoints, Report, ReportRow
from .settings import region_from_env


def endpoints(environ: Mapping[str, str] | None = None) -> Mapping[str, str]:
    """Return the base URLs of the three APIs. Raises ValueError for invalid settings."""
    found = LeenaEndpoints.from_env(environ).completed(region_from_env(environ))
    return {"token": found.token or "", "aop": found.aop or "", "report": found.report or ""}


@run_command("leena")
@click.argument("aop_id")
@click.option("--message", default="", metavar="TEXT", help="The message the run starts with.")
@members_option("--context", "context")
def run_leena(*, aop_id: str, message: str, context: Mapping[str, Any] | None, **options: Any) -> Exit:
    """Start a run of the AOP called AOP_ID (its slug or id) at Leena AI."""

    async def begin(pool: SessionPool, _: AsyncExitStack) -> RunHandle:
        client = client_of(Leena, pool)
        try:
            return await client.execute(aop_id, message=message, context=context)
        except TypeError as exc:  # text that is no UTF-8
            raise ValueError(str(exc)) from None

    return start(begin, **options)


@click.command("leena")
@report_options
def report_leena(*, job: ReportJob) -> Exit:
    """Read Leena AI's total-runs report: the runs that started in a window of days.

    The vendor's data is about two hours old; whether the last day is included is undocumented.
    """

    def ask(pool: SessionPool) -> Report:
        return client_of(Leena, pool).report(job.start, job.end, updated_after=job.updated_after)

    return write_report(job, ask, LAYOUT)


def _joined(texts: tuple[str, ...]) -> str:
    return "; ".join(texts)


def _violations(row: ReportRow) -> Cell:
    found = () if row.guardrail is None else row.guardrail.violations
    return _joined(tuple(f"{each.type}: {each.count}" for each in found))


def _participants(row: ReportRow) -> Cell:
    """Return roles and people as JSON: they are nested too deep for cells."""
    if not row.participants:
        return None
    return codec.encode_json([asdict(each) for each in row.participants]).decode()


def _person(attribute: str, member: str) -> Callable[[ReportRow], Cell]:
    def read(row: ReportRow) -> Cell:
        person = getattr(row, attribute)
        found: Cell = None if person is None else getattr(person, member)
        return found

    return read


def _plain(attribute: str) -> Callable[[ReportRow], Cell]:
    def read(row: ReportRow) -> Cell:
        value = getattr(row, attribute)
        if isinstance(value, datetime):
            return value.isoformat()
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, tuple):
            return _joined(value)
        found: Cell = value
        return found

    return read


_PLAIN: Final = (
    *("run_id", "request_id", "status", "is_finished", "handled_by", "trigger_type", "schedule_name"),
    *("initiated_on", "initiated_at", "completed_on", "completed_at", "total_time_taken", "escalation"),
    *("associated_skills", "associated_aops", "unhandled_due_to", "unhandled_reason_text"),
    *("input_tokens", "output_tokens", "timestamp", "updated_at"),
)
LAYOUT: Final = Layout(
    columns={name: _plain(name) for name in _PLAIN}
    | {
        f"{attribute}_{member}": _person(attribute, member)
        for attribute in ("initiated_by", "initiated_for")
        for member in ("id", "name", "email")
    }
    | {
        "guardrail_total_violations": lambda row: row.guardrail and row.guardrail.total_violations,
        "guardrail_violations": _violations,
        "participants": _participants,
    },
    shown=("run_id", "status", "initiated_on", "total_time_taken", "associated_aops"),
)

RUN: Final = run_leena
REPORT: Final = report_leena
