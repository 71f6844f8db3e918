"""Devices: what each one runs. One file is one target, its name is the target's name.

A target is a module with `NAME`, `DEVICE` (its name in a sentence), `RULES` (a list of `Rule`), `FLAVOUR` (the preset
that float models are judged in; None where floats run), `OPTIONS` (what can be asked of it besides) and
`place(model, **options) -> Placement`, which may have the model's file run in a child process (`_placing.file_of`).
`TARGET`, a `Target` (`_target`), says which recipes a search tries for it; without, it is none that is searched for.

`WEIGHTS_MATTER` says up to how many bytes of weights `place` looks at values of large ones: 0 for never, by default
always. Of more it may be given outlines (`ir.outline`), which is quicker. A target that asks a child process has it in
`_children`, too, so that it starts early.

A target that takes seconds for large networks says with `QUICK_BELOW` up to how many parameters it does not: when all
targets are asked, it is only asked about these.

A target that can be compiled for has besides `compile(model, folder, *, program, time_limit, **options) -> Compiled`
(`_compiler`), whose own options are keywords of which `place` is given those that it knows, and `SUFFIX`, what is added
to the name of a compiled file.

A target of which several models, or one model on several devices, can be said more than of each by itself has
`share(models, placements) -> tuple[Share, ...]` and `segments(model, count) -> tuple[Segment, ...]` (`ir.sharing`).

A target that a network is worth cutting in files for has `obstacles(graph) -> list[str | None]`: for each operator why
the accelerator cannot run it, wherever it stands. One that has an accelerator and is not says why in `NOT_SPLIT`.

A target whose compiler is asked, so that nothing is forecast, has `explain(model, made) -> Placement`, too: what the
compiler said of each operator.
"""
