"""Imputing scans: which ones, from file to files, one scan or many."""
