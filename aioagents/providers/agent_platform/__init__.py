"""Kore Agent Platform: the sessions and runs of an app, and the tools, models and files of its account."""

from ...contract import Provider
from .apps import App, AppIcon
from .attachments import UploadedAttachment
from .client import AgentPlatform
from .connections import Connection, ModelProvider
from .dock import DockHandle
from .dock_wire import DockJob
from .download import Download
from .files import CHUNK, ONE_CALL, UploadedFile
from .models import DEVICES, HyperParameters, ModelType, Optimization, Scaling
from .options import Debug, Invoke, RunFiles, StreamMode
from .session_wire import Generation
from .settings import KEY_HEADER, VARIABLES
from .stream import RunStream, StreamEvent, StreamResult
from .tools import Guardrail
from .values import (
    Attachment,
    AuthorizationProfile,
    Event,
    Observation,
    RunReply,
    Session,
    SessionInfo,
    Thought,
    Trace,
    UploadLimits,
    text_of,
)

__all__ = [
    "CHUNK",
    "DEVICES",
    "KEY_HEADER",
    "ONE_CALL",
    "PROVIDER",
    "AgentPlatform",
    "App",
    "AppIcon",
    "Attachment",
    "AuthorizationProfile",
    "Connection",
    "Debug",
    "DockHandle",
    "DockJob",
    "Download",
    "Event",
    "Generation",
    "Guardrail",
    "HyperParameters",
    "Invoke",
    "ModelProvider",
    "ModelType",
    "Observation",
    "Optimization",
    "RunFiles",
    "RunReply",
    "RunStream",
    "Scaling",
    "Session",
    "SessionInfo",
    "StreamEvent",
    "StreamMode",
    "StreamResult",
    "Thought",
    "Trace",
    "UploadLimits",
    "UploadedAttachment",
    "UploadedFile",
    "text_of",
]

PROVIDER = Provider(
    name="agent-platform", title="Kore Agent Platform", client=AgentPlatform, variables=VARIABLES
)
