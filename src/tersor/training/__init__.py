"""Training-time compression: quantization-aware training, for models in every format that tersor reads."""

from tersor.training.backend import choose_backend

choose_backend()  # before Keras is imported, which cannot change it later
