"""A fake Leena AI in memory: tokens, AOP runs and the total-runs report, strict where the facts are known."""

from .report import ReportRules
from .server import AOP_SCOPE, REPORT_SCOPE, AopRules, FakeLeena, LeenaAccount, make_fake

__all__ = [
    "AOP_SCOPE",
    "REPORT_SCOPE",
    "AopRules",
    "FakeLeena",
    "LeenaAccount",
    "ReportRules",
    "make_fake",
]
