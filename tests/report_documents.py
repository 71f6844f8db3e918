"""A report.json as `tersor optimize` writes it, small and with names that no page may take for its own markup."""

from __future__ import annotations

from typing import Any

HOSTILE = "</script><img src=x onerror=alert(1)>\"'`|{{7*7}}[a](javascript:alert(1))"
"""A name that a model's file may hold."""

FIGURES = {
    "float16": (0.5, 1.0, 0.0, False, 60.0),
    "dynamic": (0.3, 1.4, -0.5, False, 40.0),
    "int8": (0.25, 0.6, -0.8, False, 28.0),
    "int8_w4": (0.16, 2.0, -6.5, True, 9.0),
}
"""Size and time beside float's, change in points and whether that is significant, SQNR."""


def document(layer: str = "conv_1", **changes: Any) -> dict[str, Any]:
    """The whole document; `layer` is the name of the layer that is most to blame."""
    candidates = [_candidate(name) for name in FIGURES]
    reference = _candidate("float") | {"file": "net.keras", "accuracy_change": None, "agreement": None, "recipe": None}
    reference["reporting"] = None
    found: dict[str, Any] = {
        "schema_version": 1,
        "model": "models/net.keras",
        "target": "cpu",
        "limits": {"max_drop": 0.01, "max_drop_is_default": False, "max_size_bytes": None, "max_latency_ms": None},
        "goal": "top1 at most 1 point below float",
        "verdict": "reached",
        "reached": True,
        "missed": [],
        "float": reference,
        "candidates": candidates,
        "front": ["float16", "int8", "int8_w4"],
        "pick": "int8",
        "reasons": [
            "int8 is the pick: it is the smallest that keeps the goal.",
            "dynamic is out: it takes 1.40 times the time of float.",
        ],
        "not_tried": [{"name": "int16x8", "why": "there was no time left"}],
        "notes": ["times are of this CPU"],
        "conditions": {
            "calibration_samples": 100,
            "tuning_samples": 200,
            "reporting_samples": 400,
            "threads": 1,
            "kernels": "xnnpack",
            "processor": "a processor",
            "versions": {"tersor": "0.1.0", "numpy": "2.4.6"},
            "data": "photos.csv",
        },
        "seconds": 61.5,
        "interrupted": False,
        "command": "tersor optimize net.keras --data photos.csv",
        "pick_command": "tersor quantize net.keras --as out/recipe.toml",
        "diagnoses": {"int8": diagnosis(layer)},
        "placements": {"int8": placement(layer), "int8_w4": refused(layer)},
    }
    return found | changes


def placement(layer: str) -> dict[str, Any]:
    """One operator of three stays behind."""
    return {
        "device": "accelerator",
        "headline": f"2 of 3 operators on the accelerator; TANH (operator 1) stays on the CPU: {layer}",
        "refusal": None,
        "operators": 3,
        "mapped": 2,
        "share_of_macs": 0.75,
        "elsewhere": "on the CPU",
        "first": f"TANH (operator 1): {layer}",
        "left": [{"operators": "1 TANH", "status": "not mapped", "reason": f"operator 1: {layer}", "remedy": layer}],
        "takes": ["arena: 128 kB"],
        "notes": [f"input {layer} is judged with the sizes that the file states"],
    }


def refused(layer: str) -> dict[str, Any]:
    """Nothing runs."""
    said = f"TANH (operator 1): no {layer}"
    return {
        "device": "accelerator",
        "headline": f"nothing runs on the accelerator, the compiler refuses the file: {said}",
        "refusal": said,
        "operators": 3,
        "mapped": 2,
        "share_of_macs": None,
        "first": said,
    }


def diagnosis(layer: str) -> dict[str, Any]:
    """Three operators: one to blame, one that is fine, one that loses nothing."""
    finding = {"cause": "clipped_values", "seen": f"values of {layer} lie beyond", "cure": "more samples"}
    activations = {
        "low": -1.0,
        "high": 1.0,
        "smallest": -3.0,
        "largest": 2.0,
        "counts": [1] + [0] * 20 + [500] * 30 + [0] * 12 + [3],
        "stored": "int8 scale 0.00784 zero point 0",
    }
    weights = {**activations, "smallest": -0.9, "largest": 0.8, "counts": [4] * 64}
    worst = {
        "layer": layer,
        "tensor": layer,
        "operator": "CONV_2D",
        "own": _errors(8.5),
        "total": _errors(7.25),
        "findings": [finding],
        "activations": activations,
        "weights": weights,
    }
    fine: dict[str, Any] = worst | {
        "layer": "conv_2",
        "tensor": "conv_2",
        "own": None,
        "total": _errors(31.0),
        "findings": [],
    }
    exact = fine | {"layer": "reshape", "tensor": "reshape", "operator": "RESHAPE", "own": _errors(None)}
    exact |= {"weights": None, "activations": None}
    return {
        "samples": 32,
        "kernels": "xnnpack",
        "remarks": [f"input {layer} is not normalized"],
        "unmatched": [layer],
        "operators": [worst, fine, exact],
    }


def _errors(decibel: float | None) -> dict[str, Any]:
    return {"sqnr_db": decibel, "ac_sqnr_db": decibel, "max_abs": 0.1, "steps": 1.5, "clipped": 0.0}


def _candidate(name: str) -> dict[str, Any]:
    size, time, change, significant, noise = FIGURES.get(name, (1.0, 1.0, 0.0, False, None))
    accuracy = 0.9 + change / 100
    score = {"metric": "top1", "value": accuracy, "interval": [accuracy - 0.03, accuracy + 0.02], "samples": 400}
    interval = [(change - 1.5) / 100, (change + 1.0) / 100]
    return {
        "name": name,
        "file": f"net.{name}.tflite",
        "accuracy_metric": score,
        "accuracy_change": {"value": change / 100, "interval": interval, "significant": significant},
        "agreement": 0.97,
        "sqnr_db": noise,
        "size_bytes": round(2e6 * size),
        "size_ratio": size,
        "gzip_bytes": round(1.8e6 * size),
        "latency_ms": 5 * time,
        "latency_p95_ms": 6 * time,
        "latency_ratio": time,
        "latency_ratio_interval": [0.95 * time, 1.05 * time],
        "peak_bytes": 7_000_000,
        "arena_bytes": 100_000,
        "on_front": name in ("float16", "int8", "int8_w4"),
        "out": None if name == "int8" else "it is slower",
        "reporting": {"samples": 400, "verdict": "reached", "readings": {}},
        "left_in_float": [{"op": "CUSTOM", "name": "top", "reason": "it has no integer kernel"}],
        "warnings": ["its logits are clipped"] if name == "int8_w4" else [],
        "recipe": f'name = "{name}"\n',
        "repair": [{"rung": "refit", "does": "solves", "kept": True, "why": "less noise", "gain_db": 1.5}],
    }
