"""Samples and labels, one file per kind of source."""
