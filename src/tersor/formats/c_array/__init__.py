"""A model as C source for microcontrollers: the file as an array, what its program has to know, and normalization.

C99, which is C++ too, but for the list of operators: that is for TensorFlow Lite Micro, a C++ library.
"""

from tersor.formats.c_array.files import Input, Output, Source, c_name, files

__all__ = ["Input", "Output", "Source", "c_name", "files"]
