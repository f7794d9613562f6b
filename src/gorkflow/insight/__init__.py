"""Insight into workflows without running them: a check, and drawings. Pure functions."""
