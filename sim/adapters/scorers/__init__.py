"""Scorers, one file each: a completion to an answer (for votes) and a score (for best of N and means)."""
