"""`dictionary`: patches made of a few atoms, learnt from the scan itself."""
