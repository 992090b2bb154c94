"""Webhooks that vendors deliver: received, checked, and followed by a poll of the run."""

from .receiver import WebhookReceiver
from .router import Delivery, DeliveryReader, Ticket, Wakeable, WebhookStatistics, read_run
from .seen import SeenIds
from .signature import sign, verify

__all__ = [
    "Delivery",
    "DeliveryReader",
    "SeenIds",
    "Ticket",
    "Wakeable",
    "WebhookReceiver",
    "WebhookStatistics",
    "read_run",
    "sign",
    "verify",
]
