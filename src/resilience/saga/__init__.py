"""Sagas: classes with steps that survive a crash at any line."""
