"""How good and how fast the models are: samplers, scores, the race, the showdown and the ablation."""
