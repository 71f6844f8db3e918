"""Keras model files -> `Model`, without Keras: a file is data, and no code in it is executed.

`archive` opens the file, `config` brings Keras 2 and Keras 3 configurations into one form, `weights` finds a layer's
arrays in either layout, `graph` walks the network, and `layers` holds one function per layer class. `live` does the
same for a model in this process; `architecture` and `weights_only` for files that hold nothing but weights.
"""

from tersor.formats.keras.graph import read
from tersor.formats.keras.live import config_of, is_live, read_live

EXTENSIONS = (".keras", ".h5", ".hdf5")

__all__ = ["EXTENSIONS", "config_of", "is_live", "read", "read_live"]
