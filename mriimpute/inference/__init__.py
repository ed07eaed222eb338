"""Objectives and estimators, one per file."""
