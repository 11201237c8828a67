"""Trials: one body of a round, run fused inside jit, call by call, or one trial in the host loop of a live model."""
