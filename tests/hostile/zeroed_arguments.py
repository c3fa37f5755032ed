"""Writes into its arguments, so that a law would compare with what it would expect of others."""


def remask(tokens, confidence, counts, mask_id):
    counts.zero_()
    return tokens.clone()
