"""Exact rewards of one block of completions: outcome laws, best of N, and mixes (votes: `sim.kernels.majority`)."""
