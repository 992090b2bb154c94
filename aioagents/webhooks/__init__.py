"""Deliveries from vendors: received, checked, and turned into polls."""

from .receiver import WebhookReceiver
from .router import Delivery, Reading, Ticket, Wakeable, WebhookStatistics, read_run
from .seen import SeenIds
from .signature import sign, verify

__all__ = [
    "Delivery",
    "Reading",
    "SeenIds",
    "Ticket",
    "Wakeable",
    "WebhookReceiver",
    "WebhookStatistics",
    "read_run",
    "sign",
    "verify",
]
