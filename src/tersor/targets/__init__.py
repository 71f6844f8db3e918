"""Devices: what each one runs. One file is one target, its name is the target's name.

A target is a module with `NAME`, `DEVICE` (its name in a sentence), `RULES` (a list of `Rule`), `FLAVOUR` (the preset
that float models are judged in; None where floats run), `OPTIONS` (what can be asked of it besides) and
`place(model, **options) -> Placement`.

A target whose own compiler is asked says `READS_FILE = True`: its `place` is given `content` besides, a function that
returns the model as a `.tflite` file.
"""
