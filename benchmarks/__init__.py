"""Compares the library with the simplest code that does the same: `python -m benchmarks NAME`."""
