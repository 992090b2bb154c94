"""The command line's batch, killed at random instants, again and again, while the vendor injects faults."""

from collections import Counter
from pathlib import Path

from aioagents.batch import RowState
from benchmarks.kills import run_kills

_KILLS = 50
_ENDS = {RowState.COMPLETED, RowState.FAILED, RowState.ABORTED}


def test_no_row_is_started_twice_though_the_process_is_killed(tmp_path: Path) -> None:
    """After fifty kills over one journal each row was started once at most, is settled and has one result."""
    report = run_kills(tmp_path, kills=_KILLS)
    killed, settled, answers = report.killed, report.settled, report.answers
    assert report.kills >= _KILLS
    # As the vendor saw it, no row began twice; each one that began is in the journal, with its end or as unknown.
    assert set(killed.starts.values()) == {1}
    assert killed.states.keys() == killed.rows
    assert all(killed.states[key] in _ENDS | {RowState.UNKNOWN} for key in killed.starts)
    assert all(state.is_settled for state in killed.states.values())
    assert killed.lines == Counter(killed.rows)
    unknown = {key for key, state in killed.states.items() if state is RowState.UNKNOWN}
    assert killed.listed == unknown == answers.keys()
    # Settled by hand in each of the three ways, and run to the end again.
    assert {answer if answer in {"resend", "drop"} else "a run" for answer in answers.values()} == {
        "resend",
        "drop",
        "a run",
    }
    resent = {key for key, answer in answers.items() if answer == "resend"}
    dropped = {key for key, answer in answers.items() if answer == "drop"}
    found = answers.keys() - resent - dropped
    assert settled.lines == Counter(settled.rows)
    assert {key for key, state in settled.states.items() if state is RowState.DROPPED} == dropped
    assert found
    assert all(settled.states[key] in _ENDS for key in found)  # each has the end of its own run
    assert {key for key, count in settled.starts.items() if count > 1} <= resent
    assert max(settled.starts.values()) <= 2
    untouched = settled.rows - answers.keys()
    assert {key: settled.states[key] for key in untouched} == {key: killed.states[key] for key in untouched}
    assert report.breaches() == []
