"""Resilience patterns as function decorators."""
