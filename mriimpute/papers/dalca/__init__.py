"""Experiments of Dalca et al., 2019."""
