"""Deliveries from vendors: received, checked, and turned into looks."""

from .receiver import WebhookReceiver
from .router import Delivery, Ticket, Wakeable, WebhookStatistics
from .seen import SeenIds
from .signature import sign, verify

__all__ = [
    "Delivery",
    "SeenIds",
    "Ticket",
    "Wakeable",
    "WebhookReceiver",
    "WebhookStatistics",
    "sign",
    "verify",
]
