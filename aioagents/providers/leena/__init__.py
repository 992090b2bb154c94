"""Leena AI: AOP runs and the total-runs report."""

from ...contract import Provider
from .analytics import Report, Sync
from .client import Leena
from .rows import Guardrail, Participant, Person, ReportRow, Violation
from .settings import VARIABLES, LeenaCredentials, LeenaEndpoints

__all__ = [
    "PROVIDER",
    "Guardrail",
    "Leena",
    "LeenaCredentials",
    "LeenaEndpoints",
    "Participant",
    "Person",
    "Report",
    "ReportRow",
    "Sync",
    "Violation",
]

PROVIDER = Provider(name="leena", title="Leena AI", client=Leena, variables=VARIABLES)
