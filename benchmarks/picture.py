"""Draws benchmarks/results.json as benchmarks/results.svg: `python benchmarks/picture.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt

HERE = Path(__file__).parent
PROJECT, PEER = "#2a78b8", "#9a9a9a"
COLOURS = {"curl flow": PEER, "httpx2": PEER, "library": PROJECT, "command line": PROJECT, "MCP tools": PROJECT}


def draw(axes: Any, comparison: dict[str, Any]) -> None:  # noqa: ANN401 - matplotlib's axes are not typed
    """Draw one comparison: a bar a contender, its seconds and its ratio at the end."""
    rows = comparison["contenders"]
    names = list(rows)[::-1]
    seconds = [rows[name]["median_seconds"] for name in names]
    bars = axes.barh(names, seconds, color=[COLOURS[name] for name in names])
    axes.bar_label(bars, [f" {rows[name]['median_seconds']:.2f} s   x{rows[name]['ratio']:.2f}" for name in names])
    axes.set_title(comparison["title"], loc="left", fontsize=10)
    axes.set_xlim(0, 1.35 * max(seconds))
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_visible(False)


def main() -> None:
    """Draw every comparison, one below the other."""
    results = json.loads((HERE / "results.json").read_text(encoding="utf-8"))
    comparisons = [*results["loopback"], results["long line"]]
    # The same figures give the same file, and text stays text.
    plt.rcParams.update({"svg.hashsalt": "results", "svg.fonttype": "none", "font.family": "sans-serif"})
    figure, places = plt.subplots(len(comparisons), 1, figsize=(8, 1.75 * len(comparisons)), layout="constrained")
    for axes, comparison in zip(places, comparisons, strict=True):
        draw(axes, comparison)
    figure.savefig(HERE / "results.svg", facecolor="white", metadata={"Date": None})


if __name__ == "__main__":
    main()
