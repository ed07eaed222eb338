"""Experiments of Tonolini et al., 2021."""
