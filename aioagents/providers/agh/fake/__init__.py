"""A fake AGH Runtime in memory: jobs, triggers, runs, deliveries and tasks, strict where the facts are known."""

from .content import (
    DEPLOY_ENDPOINT,
    DEPLOY_SECRET,
    DEPLOY_TRIGGER,
    DIGEST_JOB,
    IMPORT_JOB,
    REVIEW_JOB,
    job_id,
    make_fake,
    trigger_id,
)
from .deliveries import sign
from .runs import Record
from .server import AghRules, FakeAgh

__all__ = [
    "DEPLOY_ENDPOINT",
    "DEPLOY_SECRET",
    "DEPLOY_TRIGGER",
    "DIGEST_JOB",
    "IMPORT_JOB",
    "REVIEW_JOB",
    "AghRules",
    "FakeAgh",
    "Record",
    "job_id",
    "make_fake",
    "sign",
    "trigger_id",
]
