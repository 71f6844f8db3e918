"""Training-time compression: quantization-aware training, for every model that tersor reads. Needs Keras 3."""
