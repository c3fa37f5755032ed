"""How good and how fast: samplers, scores, the race, the showdown and the ablation."""
