"""`run leap` and `listen`: the vendor's own options, and webhooks on the command line."""

import json
import signal
import urllib.error
import urllib.request
from typing import Any

from aioagents import RunRef
from aioagents.simulator import Simulator


def _post(url: str, body: object) -> int:
    request = urllib.request.Request(url, json.dumps(body).encode(), method="POST")  # noqa: S310 - our own port
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:  # noqa: S310
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_run_leap_waits_for_the_end(cli: Any, simulator: Simulator) -> None:
    """`run leap` starts one run with the inputs given and follows it to its end."""
    found = cli("run", "leap", "good", "--input", "topic=tea", "--json")
    started, *_, ended = found.documents
    assert (found.code, ended["run"]["state"]) == (0, "completed")
    assert started["run"]["raw"]["input"] == {"topic": "tea"}
    assert simulator.statistics().fakes["leap"]["starts"] == 1


def test_run_leap_with_a_webhook_polls_once(cli: Any, simulator: Simulator) -> None:
    """With `--webhook-port` the vendor's webhook ends the wait, with one poll."""
    assert cli("run", "leap", "good", "--webhook-port", "0").code == 0
    assert simulator.statistics().fakes["leap"]["polls"] == 1


def test_run_leap_that_fails_is_1(cli: Any) -> None:
    """A run that fails exits with 1."""
    assert cli("run", "leap", "bad").code == 1


def test_status_and_wait_know_leap(cli: Any) -> None:
    """References of Leap's runs are followed by `status` and `wait` like all others."""
    ref = cli("run", "leap", "good", "--no-wait").out.strip()
    assert RunRef.parse(ref).vendor == "leap"
    assert cli("wait", ref).code == 0
    assert "state    completed" in cli("status", ref).out


def test_missing_key_is_named(cli: Any, monkeypatch: Any) -> None:
    """Without its key the command names the variable and exits with 2."""
    monkeypatch.delenv("LEAP_API_KEY")
    found = cli("run", "leap", "good")
    assert found.code == 2
    assert "LEAP_API_KEY" in found.err


def test_listen_prints_deliveries(command: Any) -> None:
    """`listen` prints its URL, then each delivery without its body, and refuses guessed paths."""
    running = command("listen")
    url = running.line()
    assert _post(url, {"id": "rnp_1", "status": "completed", "input": {"mail": "a@example.com"}}) == 202
    line = running.line()
    assert "rnp_1  completed" in line
    assert _post(url[:-4] + "AAAA", {"id": "rnp_1", "status": "failed"}) == 404
    running.process.send_signal(signal.SIGINT)
    done = running.finish()
    assert done.code == 0
    assert "a@example.com" not in done.out + done.err + line
    assert "1 deliveries, 0 repeated, 1 refused" in done.err
