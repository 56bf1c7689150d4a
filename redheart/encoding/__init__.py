"""Texts as a network reads them: tokens, batches, n-grams, pretrained trunks."""
