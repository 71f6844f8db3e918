"""What TensorFlow has to read: SavedModels, frozen graphs, and Keras files that our own reader refuses.

TensorFlow makes a float `.tflite` file of them, in a child process, and from there on everything is ours: `read` asks
for it, `child` runs the process. The other modules run in there, import nothing but the standard library, TensorFlow
and `tersor.errors`, and may therefore run in another environment than this one: `convert` is the main program,
`sources` makes a function of a SavedModel or a frozen graph and `keras_source` of a Keras file, `screen` refuses graphs
that reach for files or for Python, `shapes` closes what is open. `keras_config` screens Keras files before that,
without Keras. Nothing is imported here, for the same reason.
"""
