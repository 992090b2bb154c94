"""`run`, `status` and `wait`: their output and exit codes."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from aioagents import RunRef
from aioagents.providers.leena.fake.server import FakeLeena
from aioagents.simulator import FaultPlan, Simulator

NOBODY = "leena:/ffffffffffffffffffffffff"


def _start(cli: Any, target: str) -> str:
    found = cli("run", "leena", target, "--no-wait")
    assert found.code == 0
    return str(found.out.strip())


def test_run_in_a_process_prints_ref_changes_and_end(command: Any) -> None:
    """The reference comes first and at once, then each change, then the end, without control characters."""
    running = command("run", "leena", "good", "--message", "hello")
    ref = running.line()
    assert RunRef.parse(ref).vendor == "leena"
    done = running.finish()
    assert done.code == 0
    assert done.out.splitlines()[-1].startswith(f"completed  {ref}")
    assert "\x1b" not in done.out + done.err


def test_no_wait_prints_the_ref_alone(cli: Any, simulator: Simulator) -> None:
    """`run --no-wait` prints the reference and nothing else, and does not poll."""
    found = cli("run", "leena", "good", "--no-wait")
    assert str(RunRef.parse(found.out)) == found.out.strip()
    assert (found.code, found.err) == (0, "")
    assert simulator.statistics().polls == 0


@pytest.mark.parametrize(("target", "code", "state"), [("bad", 1, "failed"), ("stopped", 1, "aborted")])
def test_run_that_ends_badly_is_1(cli: Any, target: str, code: int, state: str) -> None:
    """A run that fails or is aborted exits with 1."""
    found = cli("run", "leena", target)
    assert found.code == code
    assert f"{state} " in found.out


def test_run_json_is_lines(cli: Any) -> None:
    """With --json a run is a line for the start and one for each change, the end included."""
    found = cli("run", "leena", "good", "--json")
    assert found.code == 0
    started, *_, ended = found.documents
    assert (started["event"], ended["event"], ended["exit_code"]) == ("started", "ended", 0)
    assert started["ref"] == ended["ref"] == ended["run"]["ref"]
    assert started["run"]["raw"]["request_id"]
    assert ended["run"]["state"] == "completed"


def test_context_of_pairs_and_file(cli: Any, fake: FakeLeena, tmp_path: Path) -> None:
    """The context is the file's object with the pairs over it."""
    file = tmp_path / "context.json"
    file.write_text('{"key": "from the file", "deep": {"a": [1]}}')
    assert cli("run", "leena", "x", "--no-wait", "--context-file", str(file)).code == 0
    args = ("run", "leena", "x", "--no-wait", "--context-file", str(file), "--context", "key=k=v")
    assert cli(*args).code == 0
    assert dict(fake.starts_by_key) == {"from the file": 1, "k=v": 1}


def test_context_from_stdin(cli: Any, fake: FakeLeena, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--context-file -` reads the context from stdin."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"key": "piped"}')))
    assert cli("run", "leena", "x", "--no-wait", "--context-file", "-").code == 0
    assert dict(fake.starts_by_key) == {"piped": 1}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--context", "novalue"), "NAME=VALUE"),
        (("--context", "a=1", "--context", "a=2"), "twice"),
        (("--context", "a=\udcff"), "context"),
        (("--context-file", "/no/such/file"), "No such file"),
        (("--context-file", "LIST"), "expected a JSON object, not list"),
        (("--context-file", "GARBAGE"), "not JSON"),
        (("--timeout", "-1"), "--timeout"),
        (("--timeout", "nan"), "--timeout"),
        (("--timeout", "soon"), "--timeout"),
        (("--nonsense",), "--nonsense"),
    ],
)
def test_bad_arguments_are_2_and_send_nothing(
    cli: Any, simulator: Simulator, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    """Wrong usage exits with 2, says what is wrong in one line, and sends nothing."""
    for name, text in (("LIST", "[1]"), ("GARBAGE", "{")):
        (tmp_path / name).write_text(text)
    given = [str(tmp_path / each) if each in {"LIST", "GARBAGE"} else each for each in arguments]
    found = cli("run", "leena", "good", *given, "--json")
    assert found.code == 2
    assert said in found.err
    assert found.err.count("\n") == 1
    assert found.documents[0]["error"]["exit_code"] == 2
    assert simulator.statistics().requests == 0


def test_missing_settings_are_2_and_named(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings that are missing exit with 2 and are named."""
    monkeypatch.delenv("LEENA_PASSWORD")
    for arguments in (("run", "leena", "x"), ("status", NOBODY), ("wait", NOBODY)):
        found = cli(*arguments)
        assert found.code == 2
        assert found.err == "aioagents: not set in the environment: LEENA_PASSWORD\n"


def test_timeout_is_3(cli: Any) -> None:
    """A run that does not end in time exits with 3, and the error has its reference."""
    found = cli("run", "leena", "endless", "--timeout", "0.2", "--json")
    assert found.code == 3
    error = found.documents[-1]["error"]
    assert (error["type"], error["exit_code"]) == ("WaitTimeout", 3)
    assert error["ref"] == found.documents[0]["ref"]
    assert "it goes on" in found.err


@pytest.mark.parametrize("faults", [FaultPlan.parse("lost=1,only=start")])
def test_lost_reply_is_4(cli: Any, simulator: Simulator) -> None:
    """A start whose reply is lost exits with 4 and says what was sent, when, and what to do."""
    found = cli("run", "leena", "good", "--json")
    assert found.code == 4
    assert "target: good" in found.err
    assert "sent at: " in found.err
    error = found.documents[0]["error"]
    assert (error["type"], error["target"], error["exit_code"]) == ("StartUnknown", "good", 4)
    assert "report" in error["advice"]
    assert simulator.statistics().starts == 1


def test_bad_credentials_are_5(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials that are refused exit with 5; the server's own words come on a second line."""
    monkeypatch.setenv("LEENA_PASSWORD", "mistyped")
    found = cli("run", "leena", "good")
    assert found.code == 5
    assert found.err.splitlines()[1:] == ["  the server says: wrong user or password"]
    assert "mistyped" not in found.out + found.err


def test_missing_right_is_5(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that lacks the right exits with 5."""
    monkeypatch.setenv("LEENA_CLIENT_ID", "narrow")
    monkeypatch.setenv("LEENA_CLIENT_SECRET", "narrow-secret")
    found = cli("run", "leena", "good", "--json")
    assert found.code == 5
    assert found.documents[0]["error"]["type"] == "PermissionDenied"


def test_refused_start_is_1(cli: Any) -> None:
    """Any other refusal exits with 1."""
    found = cli("run", "leena", "unknown_aop")
    assert found.code == 1
    assert "no such AOP" in found.err


def test_status_of_a_run_that_goes_on_is_0(cli: Any) -> None:
    """One poll of a run that goes on exits with 0 and prints its state."""
    ref = _start(cli, "endless")
    found = cli("status", ref)
    assert found.code == 0
    assert found.out.splitlines()[:2] == [ref, "state    running (in_progress)"]


def test_status_json_is_one_document(cli: Any, fake: FakeLeena) -> None:
    """One poll with --json is one document: state, the vendor's status, times, and the reply as received."""
    ref = _start(cli, "bad")
    cli("wait", ref)
    found = cli("status", ref, "--json")
    run = json.loads(found.out)
    assert found.code == 1
    assert (run["ref"], run["state"], run["status"]) == (ref, "failed", "failed")
    assert run["is_terminal"]
    assert run["ended_at"].startswith("2026-")
    assert run["raw"]["aop_item_id"] == RunRef.parse(ref).id


@pytest.mark.parametrize(
    ("ref", "said"),
    [
        ("nonsense", "not a run reference"),
        ("nobody:/1", "no vendor is called 'nobody'"),
        ("leena:eu-west-1/1", "not a run of leena"),
        (NOBODY, "not a whole reference: the form is leena:127.0.0.1:"),
    ],
)
def test_foreign_refs_are_2(cli: Any, simulator: Simulator, ref: str, said: str) -> None:
    """A reference that cannot be followed exits with 2 before anything is sent."""
    for name in ("status", "wait"):
        found = cli(name, ref)
        assert found.code == 2
        assert said in found.err
    assert simulator.statistics().requests == 0


def test_wait_follows_all_and_the_worst_decides(cli: Any) -> None:
    """Of several runs the worst decides: 1 for a failed one beats 3 for one that has not ended."""
    good, bad, endless = (_start(cli, each) for each in ("good", "bad", "endless"))
    assert cli("wait", good, good).code == 0
    assert cli("wait", good, endless, "--timeout", "0.5").code == 3
    found = cli("wait", good, bad, endless, "--timeout", "0.5", "--json")
    assert found.code == 1
    ends = {each["ref"]: each["exit_code"] for each in found.documents if each.get("event") == "ended"}
    assert ends == {good: 0, bad: 1}
    [error] = [each["error"] for each in found.documents if "error" in each]
    assert (error["ref"], error["type"]) == (endless, "WaitTimeout")


def test_wait_for_a_run_that_is_not_there_is_1(cli: Any, simulator: Simulator) -> None:
    """A run that the vendor does not know exits with 1 and is named."""
    ref = NOBODY.replace(":", f":{simulator.url.removeprefix('http://')}")
    found = cli("wait", ref)
    assert found.code == 1
    assert found.err.startswith(f"aioagents: {ref}: ")


@pytest.mark.parametrize("faults", [FaultPlan.parse("error=0.5,truncate=0.3,only=poll")])
def test_passing_faults_are_printed_once_each(cli: Any) -> None:
    """Passing faults end no wait; each is printed once on stderr."""
    found = cli("run", "leena", "good")
    assert found.code == 0
    assert len(set(found.err.splitlines())) == len(found.err.splitlines())
