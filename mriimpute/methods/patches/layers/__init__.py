"""Layers of models of patches."""
