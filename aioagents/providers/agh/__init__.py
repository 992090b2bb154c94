"""AGH Runtime: jobs, triggers, webhooks, and the runs that they start."""

from ...contract import Provider
from .client import Agh
from .delivery import Delivery
from .history import RunHistory
from .records import AutomationRun, Job, SchedulerState, Trigger
from .settings import BASE_URL, VARIABLES
from .values import FireLimit, JobTask, Retry, Schedule, TaskOwner

__all__ = [
    "BASE_URL",
    "PROVIDER",
    "Agh",
    "AutomationRun",
    "Delivery",
    "FireLimit",
    "Job",
    "JobTask",
    "Retry",
    "RunHistory",
    "Schedule",
    "SchedulerState",
    "TaskOwner",
    "Trigger",
]

PROVIDER = Provider(name="agh", title="AGH Runtime", client=Agh, variables=VARIABLES)
