"""Devices: what each one runs. One file is one target, its name is the target's name.

A target is a module with `NAME`, `DEVICE` (its name in a sentence), `RULES` (a list of `Rule`), `FLAVOUR` (the preset
that float models are judged in; None where floats run), `OPTIONS` (what can be asked of it besides) and
`place(model, **options) -> Placement`, which may have the model's file run in a child process (`_placing.file_of`).
It may say `SHAPES_SUFFICE = True` if `place` looks at no weight's value: a float model is then quantized without most,
which is quicker.
"""
