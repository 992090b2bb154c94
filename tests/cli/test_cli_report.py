"""`report leena`: tables, JSON lines and CSV, on stdout and in files."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from aioagents.cli.report import Layout
from aioagents.providers.leena import ReportRow
from aioagents.providers.leena.cli import LAYOUT
from aioagents.providers.leena.fake.server import FakeLeena

WINDOW = ("report", "leena", "--from", "2026-01-01", "--to", "2026-01-06")


def test_json_lines_are_rows_as_received(cli: Any) -> None:
    """With --json, as with --format jsonl, each row is a line as the vendor sent it; progress is on stderr."""
    found = cli(*WINDOW, "--json")
    assert found.code == 0
    assert len({row["runId"] for row in found.documents}) == 250
    assert found.err == "250 rows in 3 pages\n"
    assert cli(*WINDOW, "--format", "jsonl").out == found.out


def test_csv_has_every_field(cli: Any) -> None:
    """CSV has a column for every typed field, and what is missing is empty."""
    rows = list(csv.DictReader(io.StringIO(cli(*WINDOW, "--format", "csv").out)))
    assert len(rows) == 250
    assert list(rows[0]) == list(LAYOUT.columns)
    typed = {name for name, kind in vars(ReportRow).items() if isinstance(kind, property)}
    nested = {"key", "initiated_by", "initiated_for", "guardrail"}
    assert typed - nested <= set(rows[0])
    assert rows[0]["initiated_by_email"].endswith("@example.com")
    assert json.loads(rows[0]["participants"])[0]["title"] == "Initiator"


def test_table_is_plain_without_a_terminal(cli: Any) -> None:
    """Without a terminal the table has no control characters, and a line for each row."""
    found = cli(*WINDOW)
    lines = found.out.splitlines()
    assert "run_id" in lines[1]
    assert sum("RUN_" in line for line in lines) == 250
    assert "\x1b" not in found.out


def test_updated_after_narrows(cli: Any) -> None:
    """--updated-after requests only rows that changed later."""
    some = cli(*WINDOW, "--json", "--updated-after", "2026-01-05T07:00:00Z")
    assert 0 < len(some.documents) < 250


@pytest.mark.parametrize("form", ["table", "jsonl", "csv"])
def test_output_is_a_file(cli: Any, tmp_path: Path, form: str) -> None:
    """--output has what stdout would have, and no other file is left."""
    file = tmp_path / "rows"
    file.write_text("old")
    found = cli(*WINDOW, "--format", form, "--output", str(file))
    assert (found.code, found.out) == (0, "")
    assert file.read_text() == cli(*WINDOW, "--format", form).out
    assert list(tmp_path.iterdir()) == [file]


def test_failure_leaves_no_half_file(cli: Any, fake: FakeLeena, tmp_path: Path) -> None:
    """A report that fails midway leaves the old file unchanged, and no other."""
    file = tmp_path / "rows.jsonl"
    file.write_text("old")
    fake.fail_reports(50, after=1)
    found = cli(*WINDOW, "--format", "jsonl", "--output", str(file))
    assert found.code == 1
    assert "the server says: metric unavailable" in found.err
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_devices_are_written_as_they_are(cli: Any) -> None:
    """A device is written to, and stays one."""
    assert cli(*WINDOW, "--format", "csv", "--output", "/dev/null").code == 0
    assert Path("/dev/null").is_char_device()


def test_file_that_cannot_be_written_is_1(cli: Any, tmp_path: Path) -> None:
    """A file that cannot be written exits with 1, and prints one line."""
    found = cli(*WINDOW, "--output", str(tmp_path / "no" / "folder"))
    assert found.code == 1
    assert found.err.startswith("aioagents: ")
    assert "No such file or directory" in found.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("--from", "2026-01-06", "--to", "2026-01-01"),
        ("--from", "yesterday", "--to", "2026-01-01"),
        ("--from", "2026-01-01"),
        ("--from", "2026-01-01", "--to", "2026-01-02", "--updated-after", "noon"),
        ("--from", "2026-01-01", "--to", "2026-01-02", "--json", "--format", "csv"),
    ],
)
def test_bad_windows_are_2(cli: Any, arguments: tuple[str, ...]) -> None:
    """An impossible window exits with 2."""
    assert cli("report", "leena", *arguments).code == 2


def test_formulas_are_guarded_on_request() -> None:
    """With --guard-formulas a cell that begins like a formula gets a quote before it; numbers do not."""
    layout = Layout(columns={"a": lambda _: "=1+1", "b": lambda _: -5, "c": lambda _: "x=1"}, shown=("a",))
    row = ReportRow({"runId": "r"})
    assert layout.cells(row, is_guarded=True) == ["'=1+1", -5, "x=1"]
    assert layout.cells(row, is_guarded=False) == ["=1+1", -5, "x=1"]


def test_odd_rows_have_cells() -> None:
    """A row with next to nothing in it has empty cells, one with a guardrail its violations."""
    bare = LAYOUT.cells(ReportRow({"runId": "r"}), is_guarded=False)
    assert [cell for cell in bare if cell not in (None, "")] == ["r", "false"]
    assert LAYOUT.texts(ReportRow({"runId": "r"}))[1] == "-"
    guardrail = {"totalViolations": 2, "violations": [{"type": "pii", "count": 2}]}
    full = LAYOUT.cells(ReportRow({"runId": "r", "guardrail": guardrail}), is_guarded=False)
    cells = dict(zip(LAYOUT.columns, full, strict=True))
    assert (cells["guardrail_total_violations"], cells["guardrail_violations"]) == (2, "pii: 2")
