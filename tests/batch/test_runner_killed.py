"""A batch whose process is killed at any instant, and is run again."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_KILLS = 40
_SENDING = 16


def test_no_row_is_started_twice_though_its_batch_is_killed(tmp_path: Path) -> None:
    """After forty kills at random instants, each row was started once at most, and each has one result."""
    command = [sys.executable, "-m", "tests.batch.killed_batch", str(tmp_path), str(_KILLS)]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, check=False, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    keys = {str(n) for n in range(int(done.stdout))}
    starts = Counter((tmp_path / "starts").read_text().split())
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    states = {line["key"]: line["state"] for line in lines}
    assert len(states) == len(lines)
    assert set(starts.values()) == {1}
    unsent = {key for key in keys if int(key) % 31 == 2}
    refused = {key for key in keys if int(key) % 31 == 1}
    lost = {key for key in keys if int(key) % 31 == 3}
    killed = {key for key, state in states.items() if state == "unknown"} - lost
    # Those that nothing ever came of are left for the next time, unless a kill hit them when they were SENDING.
    assert set(states) == keys - unsent | (killed & unsent)
    assert {states[key] for key in lost} == {"unknown"}
    assert {states[key] for key in refused - killed} == {"refused"}
    assert {states[key] for key in keys - unsent - refused - lost - killed} == {"completed"}
    assert {key for key, state in states.items() if state == "completed"} <= set(starts)
    assert len(killed) <= _KILLS * _SENDING
