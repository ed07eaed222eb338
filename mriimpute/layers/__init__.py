"""Layers and densities that more than one method uses."""
