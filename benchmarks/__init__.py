"""Measures the library beside the plainest code that does the same: `python -m benchmarks NAME`."""
