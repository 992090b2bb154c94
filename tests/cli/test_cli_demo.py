"""`demo`, without a terminal and on one."""

from typing import Any


def test_demo_json(cli: Any) -> None:
    """The numbers of the demo are consistent: every run ends, and its end is detected afterwards."""
    found = cli("demo", "--runs", "12", "--seed", "49", "--json")
    assert (found.code, found.err) == (0, "")
    [shown] = found.documents
    assert sum(shown["states"].values()) == shown["runs"] == shown["starts"] == 12
    assert (shown["token_requests"], shown["errors"]) == (1, 0)
    assert shown["polls_per_run"] >= 1
    delay = shown["mean_detection_delay"]
    assert 0 < delay["real"] < delay["simulated"]
    lengths = [each["simulated_seconds"] for each in shown["slowest"]]
    assert lengths == sorted(lengths, reverse=True)
    assert len(lengths) == 5


def test_demo_in_plain_lines(cli: Any) -> None:
    """Without a terminal the demo prints plain lines and tables, and ends with 0 however its runs end."""
    found = cli("demo", "--runs", "6", "--seed", "185")
    assert (found.code, found.err) == (0, "")
    assert "\x1b" not in found.out
    assert "6/6 ended" in found.out
    for title in ("How the runs ended", "The slowest runs", "polls per run", "mean detection delay"):
        assert title in found.out


def test_on_a_terminal(on_terminal: Any, cli: Any) -> None:
    """On a terminal progress is drawn, the cursor is restored, and results stay."""
    refs = [cli("run", "leena", each, "--no-wait").out.strip() for each in ("good", "endless")]
    demo = on_terminal("demo", "--runs", "6", "--seed", "185")
    wait = on_terminal("wait", *refs, "--timeout", "1")
    report = on_terminal("report", "leena", "--from", "2026-01-01", "--to", "2026-01-06")
    code, shown = demo.finish()
    assert code == 0
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")
    assert "requests/s" in shown
    assert "mean detection delay" in shown
    code, shown = wait.finish()
    assert code == 3
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")
    assert f"completed  {refs[0]}" in shown
    assert "1 running" in shown
    code, shown = report.finish()
    assert code == 0
    assert "RUN_000249" in shown
