"""Leena AI: AOP runs and the total-runs report."""
