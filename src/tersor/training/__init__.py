"""Training-time compression: quantization-aware training, for models in every format that tersor reads."""

try:
    import keras as keras
except ImportError as error:
    _NEEDS = "tersor.training needs Keras 3: pip install 'tersor[train]', and JAX, PyTorch or TensorFlow"
    raise ImportError(_NEEDS) from error
