"""What `tersor optimize` found, for programs: `report.json`, whose form docs/reference/report.md describes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tersor.recipe import to_toml
from tersor.report.outcome import change_to_dict, finite, score_to_dict, timing_to_dict
from tersor.stages.repair.figures import Figures
from tersor.stages.repair.goal import Goal
from tersor.stages.save import atomic
from tersor.stages.search.result import Candidate, Search

SCHEMA_VERSION = 1
"""Raised when a field changes its meaning or goes; new fields do not raise it."""


def search_to_dict(found: Search) -> dict[str, Any]:
    """Everything, as JSON has it: infinities become None."""
    limits = found.limits
    return {
        "schema_version": SCHEMA_VERSION,
        "model": found.model,
        "target": found.target,
        "limits": {
            "max_drop": limits.max_drop,
            "max_drop_is_default": limits.is_default,
            "max_size_bytes": limits.max_size,
            "max_latency_ms": limits.max_latency_ms,
        },
        "goal": None if found.goal is None else str(found.goal),
        "verdict": None if found.verdict is None else found.verdict.value,
        "reached": found.is_reached,
        "missed": list(found.missed),
        "float": _candidate(found, found.reference),
        "candidates": [_candidate(found, item) for item in found.candidates],
        "front": list(found.front),
        "pick": found.pick,
        "reasons": list(found.reasons),
        "not_tried": [{"name": name, "why": why} for name, why in found.not_tried.items()],
        "notes": list(found.notes),
        "doubts": list(found.doubts),
        "conditions": _conditions(found),
        "seconds": round(found.seconds, 2),
        "interrupted": found.interrupted,
    }


def write_report_json(found: Search, path: str | Path, further: Mapping[str, Any] | None = None) -> None:
    """Write `search_to_dict`, and further fields, atomically. Raises OutputError."""
    values = search_to_dict(found) | dict(further or {})
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(values, indent=2) + "\n", "utf-8")


def _candidate(found: Search, item: Candidate) -> dict[str, Any]:
    float_size = found.reference.size_bytes
    is_inside = item.path.is_relative_to(found.folder)
    return {
        "name": item.name,
        "file": str(item.path.relative_to(found.folder) if is_inside else item.path),
        "accuracy": None if item.score is None else finite(item.score.value),
        "accuracy_interval": None if item.score is None else [finite(bound) for bound in item.score.interval],
        "accuracy_metric": None if item.score is None else score_to_dict(item.score),
        "accuracy_change": change_to_dict(item.change),
        "agreement": item.agreement,
        "sqnr_db": finite(item.sqnr_db),
        "size_bytes": item.size_bytes,
        "size_ratio": item.size_bytes / float_size,
        "gzip_bytes": item.gzip_bytes,
        **timing_to_dict(item.timing),
        "peak_bytes": item.peak_bytes,
        "arena_bytes": item.arena_bytes,
        "measured_arena_bytes": item.measured_arena_bytes,
        "on_front": item.name in found.front,
        "out": found.out.get(item.name),
        "tuning": _figures(found.goal, item.tuning),
        "reporting": _figures(found.goal, item.reporting),
        "left_in_float": [{"op": left.kind, "name": left.name, "reason": left.why} for left in item.left],
        "warnings": list(item.warnings),
        "recipe": None if item.recipe is None else to_toml(item.recipe),
        "recipe_file": None if item.recipe is None else item.recipe_path.name,
        "repair": [
            {
                "rung": step.rung,
                "does": step.does,
                "kept": step.kept,
                "why": step.why,
                "gain_db": finite(step.gain_db),
                "seconds": round(step.seconds, 2),
            }
            for step in item.tried
        ],
        "seconds": round(item.seconds, 2),
    }


def _figures(goal: Goal | None, figures: Figures | None) -> dict[str, Any] | None:
    """What was lost on some samples, by the estimates that the goal is judged by."""
    if goal is None or figures is None:
        return None
    return {
        "samples": figures.samples,
        "verdict": goal.verdict(figures).value,
        "readings": {
            item.name: {"value": finite(item.value), "interval": [finite(bound) for bound in item.interval]}
            for item in goal.readings(figures)
        },
    }


def _conditions(found: Search) -> dict[str, Any]:
    own = found.conditions
    return {
        "calibration_samples": own.calibration_samples,
        "tuning_samples": own.tuning_samples,
        "reporting_samples": own.reporting_samples,
        "threads": own.threads,
        "kernels": own.kernels,
        "processor": own.processor,
        "versions": dict(own.versions),
        "data": own.data,
    }
