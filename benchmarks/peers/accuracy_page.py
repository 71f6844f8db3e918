"""The page about accuracy, from the results: one table, where tersor is worse or equal, and the goals."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean
from textwrap import fill
from typing import Any

from accuracy_verdicts import FLAVOURS, LEVEL, METRICS, TOOLS, Verdicts
from page import Goal, table

MARKS = {"better": "−", "worse": "+", "equal": "="}
"""Said of the peer, by what tersor is."""

NOTABLE_SHARE, NOTABLE_DB = 0.02, 1.0
"""From here on a difference between the two kernel sets is mentioned."""

REPAIRED = {"int8": (0.92, 20), "int8_per_tensor": (0.85, 15), "int16x8": (0.96, 27), "int8_w4": (0.68, 7)}
"""What MobileNetV1 is to reach by default: agreement, and SQNR in decibel."""

DROP_W4 = 0.02


def top1(file: dict[str, Any]) -> str:
    """A share with its interval."""
    low, high = (100 * bound for bound in file["top1_interval"])
    return f"{100 * file['top1']:.1f} [{low:.0f}, {high:.0f}]"


def cell(network: dict[str, Any], name: str, tool: str, flavour: str, verdicts: Verdicts) -> str:
    """Agreement, SQNR and top-1 of one file."""
    key = f"{tool}.{flavour}"
    file = network["files"].get(key)
    if file is None:
        return "refused" if "error" in network["made"][tool].get(flavour, {}) else "–"
    if "error" in file:
        return file["error"]
    marks = [verdicts.of(metric, name, key) for metric in ("agreement", "sqnr_db")]
    agreement, sqnr = (f" {MARKS[mark]}" if mark else "" for mark in marks)
    sqnr_db = "no error" if file["sqnr_db"] is None else f"{file['sqnr_db']:.1f} dB"
    dropped = " ↓" if verdicts.dropped(name, key) else ""
    return f"{100 * file['agreement']:.1f} %{agreement} · {sqnr_db}{sqnr} · {top1(file)}{dropped}"


def rows(networks: dict[str, Any], verdicts: Verdicts) -> Iterator[list[str]]:
    """One row per network and flavour."""
    for name, network in networks.items():
        for flavour, title in FLAVOURS.items():
            cells = (cell(network, name, tool, flavour, verdicts) for tool in ("tersor", *TOOLS))
            yield [name if flavour == "int8" else "", title, *cells]


def seen(network: dict[str, Any], name: str, tool: str, flavour: str, verdicts: Verdicts) -> str:
    """Agreement of one file on the views of all compared draws, and what tersor's is higher."""
    key = f"{tool}.{flavour}"
    file = network["views"]["files"].get(key)
    if file is None:
        return "–"
    agreement = f"{100 * file['agreement']:.2f} %"
    compared, mark = verdicts.compared("views", name, key), verdicts.of("views", name, key)
    if compared is None or mark is None:
        return agreement
    low, high = (100 * bound for bound in compared["interval"])
    return f"{agreement} {MARKS[mark]} [{low:+.2f}, {high:+.2f}]"


def view_rows(networks: dict[str, Any], verdicts: Verdicts) -> Iterator[list[str]]:
    """One row per network and flavour, of the views."""
    for name, network in networks.items():
        for flavour, title in FLAVOURS.items():
            cells = (seen(network, name, tool, flavour, verdicts) for tool in ("tersor", *TOOLS))
            yield [name if flavour == "int8" else "", title, *cells]


def named(verdicts: Verdicts, wanted: str, metric: str) -> str:
    """Where that is the verdict: how often, and a list by network, flavour and peer."""
    own = [item for item in verdicts.all() if item[0] == metric]
    places: dict[tuple[str, str], list[str]] = {}
    for _, name, flavour, tool, verdict in own:
        if verdict == wanted:
            places.setdefault((name, flavour), []).append(TOOLS[tool])
    listed = "; ".join(f"{name} {FLAVOURS[flavour]} ({', '.join(tools)})" for (name, flavour), tools in places.items())
    return f"{sum(map(len, places.values()))} of {len(own)}" + (f": {listed}" if listed else "")


def lower(verdicts: Verdicts, metric: str) -> int:
    """In how many comparisons without a verdict tersor's figure is the lower one."""
    undecided = [item for item in verdicts.all() if item[0] == metric and item[-1] == "equal"]
    found = (verdicts.compared(metric, name, f"{tool}.{flavour}") for _, name, flavour, tool, _ in undecided)
    return sum(item is not None and item["difference"] < 0 for item in found)


def kernels(networks: dict[str, Any]) -> str:
    """Where the builtin kernels give notably other figures."""
    found = []
    for name, network in networks.items():
        for key, file in network["files"].items():
            if "error" in file or ".public." in key:
                continue
            if "builtin" not in file:
                continue
            other = file["builtin"]
            tool, _, flavour = key.partition(".")
            what = f"{name} {FLAVOURS[flavour]}, {TOOLS.get(tool, tool)}"
            if other is None:
                found.append(f"{what}: does not run")
                continue
            moved = abs(other["agreement"] - file["agreement"]) >= NOTABLE_SHARE
            if moved or abs((other["sqnr_db"] or 0) - (file["sqnr_db"] or 0)) >= NOTABLE_DB:
                found.append(f"{what}: {100 * other['agreement']:.1f} %, {other['sqnr_db']:.1f} dB")
    return "; ".join(found) if found else "nowhere"


def drawn(network: dict[str, Any], flavour: str) -> list[dict[str, Any]]:
    """The figures of tersor's file of one flavour on every draw, that of the table first."""
    return [network["files"][f"tersor.{flavour}"], *(draw[flavour] for draw in network.get("draws", ()))]


def goals(networks: dict[str, Any], verdicts: Verdicts) -> Iterator[Goal]:
    """Every goal."""
    repaired = networks.get("MobileNetV1 0.25")
    for flavour, (agreement, sqnr_db) in REPAIRED.items() if repaired else ():
        draws = [(item["agreement"], item["sqnr_db"]) for item in drawn(repaired, flavour)]
        means, least = ([how(values) for values in zip(*draws, strict=True)] for how in (fmean, min))
        what = f"MobileNetV1 0.25 {FLAVOURS[flavour]}: {agreement:.0%} and {sqnr_db} dB by default"
        measured = f"{100 * means[0]:.1f} %, {means[1]:.2f} dB"
        if len(draws) > 1:
            measured += f" (mean of {len(draws)} draws; least {100 * least[0]:.1f} %, {least[1]:.2f} dB)"
        yield Goal(what, measured, means[0] >= agreement and means[1] >= sqnr_db)
    others = {name: network["files"] for name, network in networks.items() if name != "MobileNetV1 0.25"}
    for flavour, what in (
        ("int8", f"int8 top-1 not below float by more than chance (McNemar, p under {LEVEL} alone)"),
        ("int8_w4", f"4-bit weights within {100 * DROP_W4:.0f} points of float"),
    ):
        drops = {name: files.get(f"tersor.{flavour}", {}).get("to_float") for name, files in others.items()}
        measured = ", ".join(
            f"{name} {100 * drop['difference']:+.1f} (p {drop['p']:.2g})" if drop else f"{name}: no file"
            for name, drop in drops.items()
        )
        met = all(drop is not None and not _too_far(flavour, drop) for drop in drops.values())
        yield Goal(f"{', '.join(others)}: {what}", measured, met)
    for metric in ("views", "sqnr_db"):
        own = [item[-1] for item in verdicts.all() if item[0] == metric]
        counts = [own.count(verdict) for verdict in MARKS]
        measured = f"better in {counts[0]}, worse in {counts[1]}, no difference in {counts[2]} of {len(own)}"
        yield Goal(f"better {METRICS[metric]} than every peer everywhere", measured, counts[0] == len(own))


def _too_far(flavour: str, drop: dict[str, float]) -> bool:
    if flavour == "int8_w4":
        return drop["difference"] < -DROP_W4 - 1e-9
    return drop["difference"] < 0 and drop["p"] < LEVEL


def judged(networks: dict[str, Any]) -> str:
    """How much was judged."""
    own = {name: network["views"] for name, network in networks.items()}
    return ", ".join(
        f"{name} {item['samples']} samples in {item['views']} views, {item['judged']:,} answers of each file"
        for name, item in own.items()
    )


def refusals(networks: dict[str, Any]) -> str:
    """What could not be made, and why."""
    found = [
        f"{TOOLS.get(tool, tool)}, {name} {FLAVOURS[flavour]}: {made['error']}"
        for name, network in networks.items()
        for tool, flavours in network["made"].items()
        for flavour, made in flavours.items()
        if "error" in made and flavour in FLAVOURS
    ]
    return f"Refused: {'; '.join(found)}" if found else ""


def public(networks: dict[str, Any]) -> str:
    """How TensorFlow's public way compares with its private functions."""
    for name, network in networks.items():
        files = network["files"]
        if "tensorflow.public.int8" in files and "error" not in files["tensorflow.public.int8"]:
            file = files["tensorflow.public.int8"]
            return (
                f", from the float file (its public converter, from the SavedModel of {name} to int8: "
                f"{100 * file['agreement']:.1f} %, {file['sqnr_db']:.1f} dB)"
            )
    return ", from the float file"


def page(results: dict[str, Any]) -> str:
    """The whole page in Markdown."""
    networks = results["networks"]
    verdicts = Verdicts(networks)
    counts = ", ".join(f"{name} {network['calibrated']} / {network['measured']}" for name, network in networks.items())
    floats = ", ".join(f"{name} {top1(network['float'])}" for name, network in networks.items())
    used = {package: version for found in results["versions"].values() for package, version in found.items()}
    packages = ", ".join(f"{name} {used[name]}" for name in ("tensorflow-cpu", "litert-quantizer", "ai-edge-litert"))
    sources = " and ".join(dict.fromkeys(network["tersor_source"] for network in networks.values()))
    compared = max(network["views"]["draws"] for network in networks.values())
    paragraphs = [
        f"""What integer flavours cost trained networks, every tool with its defaults: the same float `.tflite` file,
        the same samples to calibrate on, other samples to measure on ({counts}). Made by `python
        benchmarks/accuracy.py DATA --work DIR`, {results["date"]}, tersor source {sources},
        {packages}, one draw (seed {results["seed"]}) of the samples to calibrate on. Each cell: agreement with float
        (arg-max) · SQNR of the output · top-1 in % [95 %]. Top-1 of float: {floats}. tersor's `int8_w4` keeps the
        smallest layers, with 5 % of the weights, at 8 bits.""",
        f"""Beside a peer's figure: `−` where tersor is better, `+` where tersor is worse, `=` where the samples
        show no difference (exact McNemar for agreement, bootstrap over samples for SQNR; 5 % after Holm over all
        comparisons of the table). ↓: top-1 below float (likewise). TensorFlow: the private functions with which its
        converter ends{public(networks)}; per tensor is `_experimental_disable_per_channel`; it has no 4-bit flavour.
        litert-quantizer: its static recipes with its own calibration, a moving average, and with the samples' ranges
        united. One judge for all, on XNNPACK's kernels (it has none for int16x8: builtin ones). On the builtin kernels
        agreement differs by {100 * NOTABLE_SHARE:.0f} points or SQNR by {NOTABLE_DB:.0f} dB here:
        {kernels(networks)}. {refusals(networks)}""",
        f"""**tersor is worse** in agreement in {named(verdicts, "worse", "agreement")}; in SQNR in
        {named(verdicts, "worse", "sqnr_db")}. **No difference** can be shown in agreement in
        {named(verdicts, "equal", "agreement").partition(":")[0]} (tersor's is the lower figure in
        {lower(verdicts, "agreement")} of these), as a few hundred samples do not tell 99 % from 98 %: see the views
        below; in SQNR (tersor's is the lower in {lower(verdicts, "sqnr_db")}) in
        {named(verdicts, "equal", "sqnr_db")}.""",
        f"""Whether a file answers as float does needs no label, so it can be asked of more than the samples. A *view*
        is a sample as it might as well have been taken: photos also mirrored; small images shifted by up to two
        sixteenths (ResNet-8) or one sixteenth (demo) of their side in each direction, each also mirrored;
        spectrograms up to 80 ms earlier or later, at 3 dB more or less, each also with noise 20 dB below. The
        sample itself is one of its views; calibration sees originals of other samples only. All tools are judged on
        {compared} draws of the samples to calibrate on, each on the samples that it leaves over:
        {judged(networks)}. Views of one sample are much alike, and so are draws, so all of a sample counts as one.
        Its surplus is the answers of tersor's that agree, less the peer's, over all views and draws. If neither
        tool were better, each surplus might as well have the other sign: a difference is called one where so large
        a sum is rare over all signs (exact; with a single view it is McNemar's test), 5 % after Holm over all
        comparisons. In brackets tersor's agreement less the peer's in points, 95 %, from resampled samples. Views,
        draws and test were fixed, by what runs cost, before any was judged, and stay as they were.""",
        f"""On views **tersor is worse** in {named(verdicts, "worse", "views")}; **no difference** can be shown in
        {named(verdicts, "equal", "views")} (tersor's is the lower figure in {lower(verdicts, "views")} of these).""",
    ]
    head, legend, verdict, views, of_views = (
        fill(" ".join(text.split()), 120, break_long_words=False, break_on_hyphens=False) for text in paragraphs
    )
    return f"""# Accuracy

{head}

{table(["network", "flavour", "tersor", *TOOLS.values()], rows(networks, verdicts))}

{legend}

{verdict}

## Agreement on views

{views}

{table(["network", "flavour", "tersor", *TOOLS.values()], view_rows(networks, verdicts))}

{of_views}

## Goals

{table(["goal", "measured", ""], (goal.row() for goal in goals(networks, verdicts)))}
"""
