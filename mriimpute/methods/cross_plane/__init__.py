"""`cross-plane`: a network that learns to see between slices from lines hidden inside them.

`cross-plane-latent` is the same with a network that also knows how its errors go together.
"""

__all__ = ["LATENT", "NAME"]

NAME, LATENT = "cross-plane", "cross-plane-latent"
