"""Suites: many checkpoints of many models, one protocol, one directory of results."""
