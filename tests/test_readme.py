"""The README's programs, run unchanged."""

import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvicorn

from aioagents import RunAborted, RunFailed, SessionPool, Steady
from aioagents.providers.agh.fake import DEPLOY_SECRET, DEPLOY_TRIGGER, DIGEST_JOB
from aioagents.simulator import Simulator

README = (Path(__file__).parent.parent / "README.md").read_text()
PROGRAMS: list[str] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
TITLES = (
    "asyncio.run(main())",
    "async def updates",
    "FastAPI(lifespan",
    "def test_my_job",
    "WebhookReceiver(",
    "async def digest",
    "async def batch",
    "async def listen",
    "async def start_both",
)


def program(text: str) -> str:
    """Return the only program that contains `text`."""
    (found,) = [each for each in PROGRAMS if text in each]
    return found


def test_every_program_is_tested() -> None:
    """Each program in the README is run by a test."""
    assert len(PROGRAMS) == len(TITLES)
    assert {program(title) for title in TITLES} == set(PROGRAMS)


def test_ten_line_program(aioagents_simulator: Simulator, aioagents_environment: None) -> None:
    """The first program starts one run, and prints its reference and its end."""
    done = subprocess.run(
        [sys.executable, "-c", program("asyncio.run(main())")],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    ref, end = done.stdout.splitlines()
    assert ref.startswith("leena:")
    assert end.split()[0] in {"completed", "failed", "aborted"}
    assert aioagents_simulator.statistics().starts == 1


async def test_sync_program(aioagents_simulator: Simulator, aioagents_environment: None) -> None:
    """The sync program returns a checkpoint that it accepts."""
    names: dict[str, Any] = {}
    exec(program("async def updates"), names)  # noqa: S102 - our own README
    checkpoint = await names["updates"](None)
    assert await names["updates"](checkpoint) == checkpoint


async def test_web_backend(aioagents_simulator: Simulator, aioagents_environment: None) -> None:
    """The FastAPI program starts a run and returns its state, in a real server."""
    names: dict[str, Any] = {"__name__": "readme"}
    exec(program("FastAPI(lifespan"), names)  # noqa: S102 - our own README
    server = uvicorn.Server(uvicorn.Config(names["app"], port=0, log_level="error", lifespan="on", ws="none"))
    config = server.config
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    try:
        port = server.servers[0].sockets[0].getsockname()[1]
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            async with session.post("/triage/INC1") as reply:
                ref = (await reply.json())["ref"]
            async with session.get(f"/runs/{ref}") as reply:
                assert (await reply.json())["state"] in {
                    "completed",
                    "failed",
                    "aborted",
                    "running",
                    "paused",
                }
    finally:
        await server.shutdown()
    assert aioagents_simulator.statistics().starts == 1


async def test_webhook_program(aioagents_simulator: Simulator, aioagents_environment: None) -> None:
    """The webhook program starts a run and returns its output, also if its receiver is not reached."""
    names: dict[str, Any] = {}
    exec(program("WebhookReceiver("), names)  # noqa: S102 - our own README
    async with SessionPool(cadence=Steady(0.05)) as pool:
        with suppress(RunFailed, RunAborted):
            await names["summarise"](pool, "tea")
    assert aioagents_simulator.statistics().fakes["leap"]["starts"] == 1


async def test_program_of_two_accounts(
    aioagents_simulator: Simulator,
    aioagents_environment: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The program of two accounts prints references that name their endpoints."""
    for key, value in aioagents_simulator.environment().items():
        monkeypatch.setenv(f"{key}__billing", value)
    names: dict[str, Any] = {}
    exec(program("async def start_both"), names)  # noqa: S102 - our own README
    async with SessionPool() as pool:
        await names["start_both"](pool)
    host = aioagents_simulator.url.removeprefix("http://")
    plain, named = capsys.readouterr().out.splitlines()
    assert plain.startswith(f"leap:{host}/")
    assert named.startswith(f"leap:billing@{host}/")


def test_plugin_program(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test in the README passes for a job that starts one run."""
    job = program("asyncio.run(main())").replace("asyncio.run(main())", "")
    pytester.makepyfile(
        my_job=job.replace("async def main()", "async def start()")
        + "\ndef main():\n    asyncio.run(start())\n",
        test_job=program("def test_my_job"),
    )
    monkeypatch.setenv("PYTHONPATH", str(pytester.path))
    done = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    done.assert_outcomes(passed=1)


async def test_agh_program(aioagents_simulator: Simulator, aioagents_environment: None) -> None:
    """AGH's program returns the final state of a job's run, and delivers once however often it is called."""
    names: dict[str, Any] = {}
    exec(program("async def digest"), names)  # noqa: S102 - our own README
    async with SessionPool(cadence=Steady(0.2)) as pool:
        assert (await names["digest"](pool, DIGEST_JOB)).is_terminal
        first = await names["deploy"](pool, DEPLOY_TRIGGER, DEPLOY_SECRET)
        again = await names["deploy"](pool, DEPLOY_TRIGGER, DEPLOY_SECRET)
    assert first.run.ref == again.run.ref
    assert again.is_replay
    assert aioagents_simulator.statistics().fakes["agh"]["deliveries"] == 1


def test_batch_program(aioagents_simulator: Simulator, aioagents_environment: None, tmp_path: Path) -> None:
    """The batch program starts each row once, also when it is run a second time."""
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", program("async def batch")],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            cwd=tmp_path,
        )
        assert len(done.stdout.splitlines()) == 100
    assert aioagents_simulator.statistics().starts == 100


async def test_platform_program(
    aioagents_simulator: Simulator, aioagents_environment: None, tmp_path: Path
) -> None:
    """Kore's program returns an app's answer as a whole and in pieces, and writes a tool's export to a file."""
    names: dict[str, Any] = {}
    exec(program("async def listen"), names)  # noqa: S102 - our own README
    async with SessionPool(cadence=Steady(0.2)) as pool:
        with suppress(RunFailed):
            assert (await names["ask"](pool, "Where is order 12?"))[0]["type"] == "text"
        assert await names["listen"](pool, "Where is order 12?")
        with suppress(RunFailed):
            await names["export"](pool, "a-1", tmp_path / "tool.zip")
            assert (tmp_path / "tool.zip").stat().st_size > 0
    assert aioagents_simulator.statistics().fakes["agent-platform"]["starts"] == 3
