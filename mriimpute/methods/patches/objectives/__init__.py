"""What models of patches minimise, one per file."""
