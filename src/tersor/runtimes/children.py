"""What runs in a child process and is worth starting ahead, by name: known without loading what it needs."""

from __future__ import annotations

DELEGATION = "tersor.runtimes.delegation:serve"
TFLITE_MICRO = "tersor.runtimes.tflite_micro:serve"
