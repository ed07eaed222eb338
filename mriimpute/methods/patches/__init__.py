"""Models of patches: the papers' own, and Gaussian subspaces."""
