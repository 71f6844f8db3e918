"""Rewrites of a graph that leave its outputs unchanged, one file each."""
