"""The LiteRT (TensorFlow Lite) flatbuffer, read and written without loss.

Source: the public schema (`schema.fbs`, file identifier ``TFL3``) as generated in `ai_edge_litert`. List indices, by
which the file refers to tensors, buffers and operator codes, exist in this package and nowhere else.
"""

from tersor.formats.tflite.patch import set_constants
from tersor.formats.tflite.read import EXTENSIONS, read, read_bytes
from tersor.formats.tflite.write import chunks, write, write_bytes, write_hollow

__all__ = ["EXTENSIONS", "chunks", "read", "read_bytes", "set_constants", "write", "write_bytes", "write_hollow"]
