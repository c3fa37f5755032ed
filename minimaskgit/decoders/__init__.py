"""Decoders after the paper: other answers to its four questions, in one loop.

loop.py is the loop; named.py puts the parts together, and lists the decoders with their papers; policy.py has settings
of their own for every step.

which tokens to keep   orders.py       confidence, margin, entropy, random, Halton, moment
how many               counts.py       a mask schedule, or as many as the entropy allows
with what noise        sampling.py     temperature, top-p, guidance by step
whether to take back   correction.py   never, ReMDM, a critic (critic.py)
"""
