"""Leena AI in memory: tokens, AOP runs and the total-runs report, strict where the facts are known."""

from .report import ReportRules
from .world import AOP_SCOPE, REPORT_SCOPE, AopRules, LeenaAccount, LeenaWorld, make_world

__all__ = [
    "AOP_SCOPE",
    "REPORT_SCOPE",
    "AopRules",
    "LeenaAccount",
    "LeenaWorld",
    "ReportRules",
    "make_world",
]
