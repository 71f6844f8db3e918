"""Repairs of what rounding does to a layer, one file per algorithm; the file's name is its name in recipes."""
