"""`cross-plane-ridge`: filters for what lies between slices, learnt inside them in closed form."""
