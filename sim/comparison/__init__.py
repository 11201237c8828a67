"""Every algorithm on every environment at every budget: cells, what is kept of them, and tables."""
