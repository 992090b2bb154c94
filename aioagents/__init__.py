"""Starts agent and workflow runs over HTTP, never twice by accident, and awaits their end."""
