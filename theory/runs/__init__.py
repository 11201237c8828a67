"""Exact error probabilities by enumeration of runs, and rare failures by splitting."""
