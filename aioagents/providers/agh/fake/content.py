"""The fake server that the simulator serves by default: its jobs, its trigger, and their ids."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

from ....contract.fake import RunPlan, hex_id, seeded
from .runs import ENDS, Record
from .server import AghRules, FakeAgh
from .tasks import STATUSES
from .times import SECOND, nanoseconds

#: The daemon's default is 5, and a definition's 12 fires an hour; a demonstration needs more.
_RULES: Final = AghRules(concurrency=10_000)
_FIRE_LIMIT: Final[Mapping[str, Any]] = {"max": 1_000_000, "window": "1h"}
_COMMON: Final[Mapping[str, Any]] = {"scope": "global", "agent_name": "writer", "fire_limit": _FIRE_LIMIT}
_YEARLY: Final[Mapping[str, Any]] = {"mode": "cron", "expr": "0 0 1 1 *"}
_TASK_WORDS: Final = STATUSES - ENDS - {"running"}
_MINUTE, _HOUR = 60.0, 3600.0


def job_id(name: str) -> str:
    """Return the id of the job of this name that `make_fake` creates."""
    return f"job-{sha256(name.encode()).hexdigest()[:16]}"


def trigger_id(name: str) -> str:
    """Return the id of the trigger of this name that `make_fake` creates."""
    return f"trg-{sha256(name.encode()).hexdigest()[:16]}"


#: An ordinary job, due every night.
DIGEST_JOB: Final = job_id("nightly-digest")
#: A job with a task: its runs are delegated.
REVIEW_JOB: Final = job_id("branch-review")
#: A job whose failed runs are retried, three times.
IMPORT_JOB: Final = job_id("flaky-import")
#: A trigger that global deliveries to `DEPLOY_ENDPOINT` fire, signed with `DEPLOY_SECRET`.
DEPLOY_TRIGGER: Final = trigger_id("deploy-check")
DEPLOY_ENDPOINT: Final = f"deploy--wbh_{sha256(DEPLOY_TRIGGER.encode()).hexdigest()[:16]}"
DEPLOY_SECRET: Final = "demo-webhook-secret"  # noqa: S105 - of a fake server


def make_fake(plan: RunPlan) -> FakeAgh:
    """Make the fake server that the simulator serves by default.

    It has the jobs `DIGEST_JOB`, `REVIEW_JOB` and `IMPORT_JOB`, the trigger `DEPLOY_TRIGGER`, `plan.history` runs of
    the first job, one a minute, which ended an hour ago and earlier, and for each other name in `plan.scripts` a job
    whose id is `job_id(name)`, with a task where the script has words of task runs. 10,000 runs can go on at once.
    """
    fake = FakeAgh(plan, rules=_RULES)
    _install_job(
        fake, "nightly-digest", prompt="Sum up the day.", schedule={"mode": "cron", "expr": "15 2 * * *"}
    )
    _install_job(
        fake, "branch-review", prompt="Review the branch.", schedule=_YEARLY, task={"title": "Review"}
    )
    retry = {"strategy": "backoff", "max_retries": 3, "base_delay": "5s"}
    _install_job(fake, "flaky-import", prompt="Import the feed.", schedule=_YEARLY, retry=retry)
    prompt = "Check the deployment. {{ .Data.payload }}"
    deploy = {"name": "deploy-check", "prompt": prompt, "event": "webhook", "endpoint_slug": "deploy"}
    secret = {"webhook_secret_value": DEPLOY_SECRET}
    fake.install_trigger({**_COMMON, **deploy, **secret}, trigger_id=DEPLOY_TRIGGER)
    known = {"nightly-digest", "branch-review", "flaky-import", "deploy-check"}
    known |= {DIGEST_JOB, REVIEW_JOB, IMPORT_JOB, DEPLOY_TRIGGER}
    for name, steps in plan.scripts.items():
        if name not in known:
            task: dict[str, Any] = {"task": {}} if _TASK_WORDS & {step.status for step in steps} else {}
            _install_job(fake, name, prompt="Do as the script says.", schedule=_YEARLY, **task)
    _add_history(fake, plan)
    return fake


def _install_job(fake: FakeAgh, name: str, **members: Any) -> None:
    fake.install_job({**_COMMON, "name": name, **members}, job_id=job_id(name))


def _add_history(fake: FakeAgh, plan: RunPlan) -> None:
    chance = seeded("agh history", plan.seed)
    epoch = nanoseconds(plan.epoch)
    for index in range(plan.history):
        seconds, end = plan.draw(chance)
        status = {"aborted": "canceled"}.get(end, end)
        started_at = epoch - round((_HOUR + _MINUTE * (plan.history - index)) * SECOND)
        ended_at = started_at + round(min(seconds, _MINUTE) * SECOND)
        fake.install_record(
            Record(
                id=f"run-{hex_id(chance, 16)}",
                job_id=DIGEST_JOB,
                status=status,
                session_id=f"sess-{hex_id(chance, 16)}",
                started_at=started_at,
                ended_at=ended_at,
                error="the agent's session ended with an error" if status == "failed" else "",
            )
        )
