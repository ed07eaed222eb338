"""Sparsity-aware layers, densities and blocks: tensors only, no scans, no millimetres."""
