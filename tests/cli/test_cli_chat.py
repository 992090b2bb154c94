"""`chat agent-platform`: a conversation in a pipe and on a terminal, and how it ends."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aioagents.providers.agent_platform.fake import FakeAgentPlatform
from aioagents.simulator import Simulator

CHAT = ("chat", "agent-platform")


@pytest.fixture
def chat(cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Return a function that runs the chat in this process, with these bytes on stdin."""

    def run(typed: bytes, *arguments: str) -> Any:
        file = tmp_path / "typed"
        file.write_bytes(typed)
        with file.open() as stdin:
            monkeypatch.setattr(sys, "stdin", stdin)
            return cli(*CHAT, *arguments)

    return run


def test_each_line_is_answered_in_one_session(chat: Any, platform: FakeAgentPlatform) -> None:
    """Each line that is not blank is a run, all of one session; in a pipe there is no prompt."""
    found = chat(b"good\n\n  \r\ngood\r\ngood")
    assert (found.code, found.err) == (0, "")
    assert found.out.startswith("It ships today.\n")
    assert ">" not in found.out
    counts = platform.statistics()
    assert (counts["runs"], counts["streams"], counts["sessions"]) == (3, 3, 1)


def test_chat_in_json(chat: Any) -> None:
    """With --json everything is JSON: the session, each event, and each whole answer with its reference."""
    found = chat(b"good\n", "--session", "tea", "--json")
    session, *events, answered = found.documents
    assert session == {"event": "session", "session_reference": "tea"}
    assert {each["event"] for each in events} == {"answer"}
    assert "".join(each["text"] for each in events) == answered["text"] == "It ships today."
    assert (answered["event"], answered["is_complete"], answered["is_error"]) == ("answered", True, False)
    assert "tea" in answered["ref"]


@pytest.mark.parametrize("mode", ["tokens", "messages"])
def test_answers_are_shown_whole(chat: Any, mode: str) -> None:
    """In each mode the paragraphs of an answer are separate lines, and its end ends a line."""
    found = chat(b"good\ngood\n", "--mode", mode)
    lines = [line for line in found.out.splitlines() if line]
    assert lines[:2] == ["It ships today.", "Grüße aus Zürich ✓ “ja”, und noch eine Zeile:"]
    assert lines[-1] == "More follows tomorrow."


def test_thoughts_are_shown_on_request(chat: Any) -> None:
    """With --thoughts each thought is a line before the answer, with its source; else there are none."""
    assert "(Orchestrator)" not in chat(b"good\n").out
    lines = chat(b"good\n", "--thoughts").out.splitlines()
    assert lines[0] == "(Orchestrator) The user wants to know about an order."


def test_sign_ins_are_shown(chat: Any) -> None:
    """A pending sign-in is shown with the page to open."""
    first, answer = chat(b"good\n", "--user", "ann").out.splitlines()
    assert first.startswith("sign in at Google: https://idp.example/r/")
    assert answer == "It ships today."
    [asked] = chat(b"good\n", "--user", "ann", "--json").documents[1]["pending_authorizations"]
    assert (asked["name"], asked["sso_type"]) == ("Google", "oauth2")


def test_answer_that_breaks_off(chat: Any) -> None:
    """An answer that breaks off is shown so far, its run is named, and the chat goes on; it exits with 1."""
    found = chat(b"break off\ngood\n")
    assert found.code == 1
    assert found.out.startswith("It ships today.\nGr")
    [line] = found.err.splitlines()
    assert "was cut after" in line
    assert ";sessionReference=cli-" in line
    _, *events, answered, error = chat(b"break off\n", "--json").documents
    assert (answered["is_complete"], error["error"]["type"]) == (False, "StreamCut")
    assert answered["text"] == "".join(each["text"] for each in events) != ""


def test_answer_that_failed_is_1(chat: Any) -> None:
    """An answer that the platform calls an error is shown with a warning and its reference; it exits with 1."""
    found = chat(b"bad\n")
    assert (found.code, bool(found.out)) == (1, True)
    assert "this answer failed" in found.err
    assert chat(b"bad\n", "--json").documents[-1]["is_error"] is True


def test_unknown_agent(chat: Any) -> None:
    """--agent names the agent that answers; an unknown one exits with 1."""
    assert chat(b"good\n", "--agent", "OrderAgent").code in {0, 1}
    found = chat(b"good\n", "--agent", "unknown", "--json")
    assert (found.code, found.documents[-1]["error"]["status"]) == (1, 404)


def test_empty_input_is_0(chat: Any, platform: FakeAgentPlatform) -> None:
    """An empty input ends the chat at once, and nothing is sent."""
    assert (chat(b"").code, platform.statistics()["starts"]) == (0, 0)


def test_wrong_usage_of_chat_is_2(chat: Any, platform: FakeAgentPlatform) -> None:
    """A blank name and an unknown mode are usage errors, before anything is read or sent."""
    for arguments in (("--session", " "), ("--agent", " "), ("--mode", "custom")):
        found = chat(b"good\n", *arguments)
        assert (found.code, found.out, len(found.err.splitlines())) == (2, "", 1)
    assert platform.statistics()["starts"] == 0


def test_wrong_key_ends_the_chat(chat: Any, monkeypatch: pytest.MonkeyPatch, simulator: Simulator) -> None:
    """A key that is refused ends the chat at the first line, with 5, and is not shown."""
    monkeypatch.setenv("AGENT_PLATFORM_APP_KEY", "wrong-key-1234")
    found = chat(b"good\ngood\n")
    assert (found.code, found.out) == (5, "")
    assert "wrong-key-1234" not in found.err
    assert simulator.statistics().calls["runs.execute"] == 1


def test_ctrl_c_at_the_prompt_is_0(command: Any) -> None:
    """Ctrl-C while the chat waits for a line ends it with 0, and prints nothing."""
    running = command(*CHAT, "--json", stdin=subprocess.PIPE)
    first = running.line()
    running.signal(signal.SIGINT)
    done = running.finish(first)
    assert (done.code, done.err, len(done.documents)) == (0, "", 1)


def test_ctrl_c_during_an_answer_is_130(command: Any, platform: FakeAgentPlatform) -> None:
    """Ctrl-C during an answer closes its stream, exits with 130, and names the run that goes on."""
    running = command(*CHAT, "--thoughts", stdin=subprocess.PIPE)
    running.process.stdin.write("good\nendless\n")
    running.process.stdin.flush()
    while not running.line().startswith("It ships"):
        pass
    first = running.line()  # a thought of the answer that never ends
    running.signal(signal.SIGINT)
    done = running.finish()
    assert (done.code, first) == (130, "(Orchestrator) The user wants to know about an order.")
    summary, ref = done.err.splitlines()
    assert summary == "aioagents: interrupted; still running: 1"
    assert ref.strip().startswith("agent-platform:127.0.0.1:")
    assert platform.statistics()["dropped"] == 1


def test_sigterm_during_an_answer_is_143(command: Any) -> None:
    """SIGTERM during an answer has the same effect as Ctrl-C, with 143."""
    running = command(*CHAT, "--json", stdin=subprocess.PIPE)
    running.process.stdin.write("endless\n")
    running.process.stdin.flush()
    running.line()
    running.line()  # the first event of the answer
    running.signal(signal.SIGTERM)
    done = running.finish()
    assert (done.code, done.documents[-1]["event"]) == (143, "interrupted")
    assert len(done.documents[-1]["running"]) == 1


def test_terminal_has_a_prompt(on_terminal: Any) -> None:
    """On a terminal there is a prompt for each line, and the session is printed; Ctrl-D ends the chat."""
    code, drawn = on_terminal(*CHAT, "--session", "tea", typed="good\ngood\n\x04").finish()
    assert code == 0
    assert "session tea; Ctrl-D ends it" in drawn
    assert "> It ships today.\r\n> " in drawn
    assert drawn.endswith("tomorrow.\r\n> \r\n")
