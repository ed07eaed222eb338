"""`cross-plane-ridge`: filters for what lies between slices, learnt inside them in closed form."""

__all__ = ["NAME"]

NAME = "cross-plane-ridge"
