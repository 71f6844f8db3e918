"""Ranges of activations, one file per way of choosing them."""
