"""Kore Agent Platform in memory: sessions, runs, files, tools and models, strict wherever the API is documented."""

from .attachments import Attachment
from .dock_handlers import DEVICES, GUARDRAILS
from .files import StoredFile
from .rules import APP_ERRORS, CALLBACK_FORMS, ERROR_FORMS, FRAMINGS, SIGN_IN_FORMS, AgentPlatformRules
from .server import FakeAgentPlatform, make_fake

__all__ = [
    "APP_ERRORS",
    "CALLBACK_FORMS",
    "DEVICES",
    "ERROR_FORMS",
    "FRAMINGS",
    "GUARDRAILS",
    "SIGN_IN_FORMS",
    "AgentPlatformRules",
    "Attachment",
    "FakeAgentPlatform",
    "StoredFile",
    "make_fake",
]
