"""Metrics, logs and traces of services."""
