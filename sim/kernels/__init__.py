"""Kernels, the clever parts: few and small, each beside a plain version that tests hold it to."""
