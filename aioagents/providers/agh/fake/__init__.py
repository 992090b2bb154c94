"""AGH Runtime in memory: jobs, triggers, runs, deliveries and tasks, strict where the facts are known."""

from .content import (
    DEPLOY_ENDPOINT,
    DEPLOY_SECRET,
    DEPLOY_TRIGGER,
    DIGEST_JOB,
    IMPORT_JOB,
    REVIEW_JOB,
    job_id,
    make_world,
    trigger_id,
)
from .deliveries import sign
from .runs import Record
from .world import AghRules, AghWorld

__all__ = [
    "DEPLOY_ENDPOINT",
    "DEPLOY_SECRET",
    "DEPLOY_TRIGGER",
    "DIGEST_JOB",
    "IMPORT_JOB",
    "REVIEW_JOB",
    "AghRules",
    "AghWorld",
    "Record",
    "job_id",
    "make_world",
    "sign",
    "trigger_id",
]
