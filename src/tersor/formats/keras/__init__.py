"""Keras model files -> `Model`, without Keras: a file is data, and no code in it is executed.

`archive` opens the file, `config` brings Keras 2 and Keras 3 configurations into one form, `weights` finds a layer's
arrays in either layout, `graph` walks the network, and `layers` holds one function per layer class.
"""

from tersor.formats.keras.graph import read

EXTENSIONS = (".keras", ".h5", ".hdf5")

__all__ = ["EXTENSIONS", "read"]
