"""LCPB, the leader-conditional Poisson-binomial bound, and the laws that it integrates over."""
