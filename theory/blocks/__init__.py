"""Exact rewards of one block of completions: outcome laws, majority votes, best of N, and mixes."""
