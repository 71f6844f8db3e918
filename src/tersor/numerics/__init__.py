"""Arithmetic on arrays: NumPy in, NumPy out, no model in sight."""
