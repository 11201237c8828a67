"""What can be known without sampling: exact values and, from them, guarantees.

* `theory.exact`: value and variance of every arm of a finite world, best arms, gaps; best of N of continuous scores.
* `theory.moments`: mean and variance of the estimates that a pull's disjoint blocks give.
"""
