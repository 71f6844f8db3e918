"""Which differences between the tools are called one: of all networks, flavours and tools together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

TOOLS = {
    "tensorflow": "TensorFlow",
    "litert_quantizer": "litert-quantizer",
    "litert_quantizer_min_max": "litert-quantizer min/max",
}
FLAVOURS = {
    "int8": "int8",
    "int8_per_tensor": "int8, per tensor",
    "int16x8": "int16x8",
    "int8_w4": "int8, 4-bit weights",
}
METRICS = {"views": "agreement on views", "agreement": "agreement", "sqnr_db": "SQNR"}
LEVEL = 0.05
"""How often a table without any difference may show one."""


def holm(values: dict[Any, float]) -> set[Any]:
    """The names whose p is significant though so many were looked at (Holm 1979)."""
    found: set[Any] = set()
    for rank, (name, p) in enumerate(sorted(values.items(), key=lambda item: item[1])):
        if p > LEVEL / (len(values) - rank):
            break
        found.add(name)
    return found


class Verdicts:
    """What is called a difference, of all networks, flavours and tools together."""

    def __init__(self, networks: dict[str, Any]) -> None:
        self._networks = networks
        self._different = {metric: holm(dict(self._comparisons(metric))) for metric in METRICS}
        drops = {(name, key): file["to_float"]["p"] for name, key, file in self._files()}
        self._dropped = {
            (name, key) for name, key in holm(drops) if networks[name]["files"][key]["to_float"]["difference"] < 0
        }

    def _files(self) -> Iterator[tuple[str, str, Any]]:
        for name, network in self._networks.items():
            for key, file in network["files"].items():
                if "error" not in file and ".public." not in key:
                    yield name, key, file

    def _comparisons(self, metric: str) -> Iterator[tuple[tuple[str, str], float]]:
        for name, key, _ in self._files():
            if (compared := self.compared(metric, name, key)) is not None:
                yield (name, key), compared["p"]

    def compared(self, metric: str, name: str, key: str) -> dict[str, Any] | None:
        """By how much `tersor` is better than this file, and p; None where one of the two is not there."""
        network = self._networks[name]
        found = (network["views"] if metric == "views" else network)["files"].get(key, {}).get("tersor_less_this")
        return found if found is None or metric == "views" else found[metric]

    def of(self, metric: str, name: str, key: str) -> str | None:
        """`tersor` is better than this file, worse, or equal; None where one of the two is not there."""
        compared = self.compared(metric, name, key)
        if compared is None:
            return None
        if (name, key) not in self._different[metric]:
            return "equal"
        return "better" if compared["difference"] > 0 else "worse"

    def dropped(self, name: str, key: str) -> bool:
        """Whether top-1 is below float's, and not by chance."""
        return (name, key) in self._dropped

    def all(self) -> list[tuple[str, str, str, str, str]]:
        """Metric, network, flavour, tool and verdict of each comparison."""
        return [
            (metric, name, flavour, tool, verdict)
            for metric in METRICS
            for name in self._networks
            for flavour in FLAVOURS
            for tool in TOOLS
            if (verdict := self.of(metric, name, f"{tool}.{flavour}")) is not None
        ]
