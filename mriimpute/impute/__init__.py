"""Imputing scans: which ones, from file to files, one case or many."""
