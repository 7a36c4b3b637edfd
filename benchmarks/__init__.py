"""Benchmarks; each is a module to run, for example ``python -m benchmarks.fanout``."""
