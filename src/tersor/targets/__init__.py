"""Devices: what each one runs. One file is one target, its name is the target's name.

A target is a module with `DEVICE` (its name in a sentence), `RULES` (a list of `Rule`), and
`place(model, *, multiple_subgraphs) -> Placement`.
"""
