"""Devices: what each one runs. One file is one target, its name is the target's name.

A target is a module with `NAME`, `DEVICE` (its name in a sentence), `RULES` (a list of `Rule`), `FLAVOUR` (the preset
that float models are judged in; None where floats run), `OPTIONS` (what can be asked of it besides) and
`place(model, **options) -> Placement`. It may say `SHAPES_SUFFICE = True` if `place` looks at no weight's value: a
float model is then quantized without most of them, which is quicker.

A target that can be compiled for has besides `compile(model, folder, *, program, time_limit, **options) -> Compiled`
(`_compiler`), whose own options are keywords of which `place` is given those that it knows, and `SUFFIX`, what is added
to the name of a compiled file.

A target of which several models, or one model on several devices, can be said more than of each by itself has
`share(models, placements) -> tuple[Share, ...]` and `segments(model, count) -> tuple[Segment, ...]` (`ir.sharing`).

A target that judges a file rather than a graph says `READS_FILE = True`: its `place` is given `content` besides, a
function that returns the model as a `.tflite` file. Where that is because its compiler is asked, and nothing forecast,
it has `explain(model, made) -> Placement`, too: what the compiler said of each operator.
"""
