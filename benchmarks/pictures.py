"""Pictures of the benchmarks' JSON files, as SVG and PNG, legible at half the width of a page.

The colours are those of Okabe and Ito, which colour-blind readers can distinguish; each line has a
label too. Axes are logarithmic if the relation is a power law.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter, NullFormatter

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_OURS = "quaycache"
_STYLE: dict[Any, Any] = {
    "figure.figsize": (7.2, 4.6),
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "font.size": 14,
    "axes.titlesize": 15,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "axes.axisbelow": True,
    "svg.hashsalt": "quaycache",
}


def draw(directory: Path) -> list[Path]:
    """Draw every picture whose JSON file is in `directory`, and return the paths."""
    made: list[Path] = []
    with mpl.rc_context(_STYLE):
        for name, (source, picture) in _PICTURES.items():
            file = directory / f"{source}.json"
            if not file.exists():
                continue
            figure, axes = plt.subplots(layout="constrained")
            picture(axes, json.loads(file.read_text()))
            for kind, metadata in (("svg", {"Date": None}), ("png", {})):
                path = directory / f"{name}.{kind}"
                figure.savefig(path, metadata=metadata)
                made.append(path)
            plt.close(figure)
    return made


def _law(axes: Any, result: dict[str, Any]) -> None:
    """Plot the time over n / j, with the best possible time."""
    points = result["law"]["points"]
    sizes = sorted({point["n"] for point in points})
    for colour, n in zip(_COLOURS, sizes, strict=False):
        selected = sorted((p for p in points if p["n"] == n), key=lambda p: p["n"] / p["j"])
        xs = [p["n"] / p["j"] for p in selected]
        walls = [p["wall"][0] for p in selected]
        axes.plot(xs, [p["best"] for p in selected], "--", color=colour, linewidth=1.5)
        axes.plot(xs, walls, "o-", color=colour, markersize=6)
        axes.annotate(
            f"n = {n}",
            (xs[0], walls[0]),
            xytext=(-9, 1),
            textcoords="offset points",
            ha="right",
            color=colour,
        )
    axes.plot([], [], "--", color="#555555", label="best possible")
    axes.plot([], [], "o-", color="#555555", label="measured")
    axes.set(xscale="log", yscale="log", xlabel="n / j: repositories for each worker")
    axes.set(ylabel="seconds")
    axes.set_xlim(left=axes.get_xlim()[0] * 0.4)
    axes.legend(frameon=False, loc="upper left")
    _plain(axes.xaxis)
    _plain(axes.yaxis)
    fit = result["law"]["fit"]
    axes.set_title(
        f"Cold: {fit['a']:.2f} s + {fit['b_by_latency']:.2f} x latency x n / j"
        f"\n(latency {result['latency'] * 1000:.0f} ms, R² {fit['r_squared']:.4f})"
    )


def _kinds(axes: Any, result: dict[str, Any]) -> None:
    """Plot the requests of each kind of run, and those of a peer without a cache."""
    size = max(result["sizes"], key=lambda size: size["n"])
    kinds = ["cold", "k = 100 %", "k = 10 %", "k = 1", "k = 0", "fresh"]
    ours = {r["kind"]: r["requests"] for r in size["runs"] if r["contender"] == _OURS}
    others = max(r["requests"] for r in size["runs"] if r["contender"] != _OURS)
    rows = range(len(kinds))
    axes.barh(rows, [max(0.6, ours[kind]) for kind in kinds], color=_COLOURS[0], height=0.6)
    for row, kind in zip(rows, kinds, strict=True):
        axes.text(max(0.6, ours[kind]) * 1.15, row, f"{ours[kind]:,}", va="center")
    axes.axvline(others, color=_COLOURS[1], linestyle="--")
    axes.text(
        others * 0.85, 4.6, "a client without\nthis cache", color=_COLOURS[1], ha="right", va="top"
    )
    names = {"k = 0": "nothing changed", "k = 1": "1 changed"}
    labels = [
        names.get(kind, kind.replace("k = ", "").replace(" %", " % changed")) for kind in kinds
    ]
    axes.set_yticks(list(rows), labels)
    axes.set(xscale="log", xlabel="HTTP requests", xlim=(0.5, others * 4))
    axes.grid(visible=False, axis="y")
    axes.invert_yaxis()
    _plain(axes.xaxis)
    axes.set_title(f"Requests of a run over {size['n']:,} repositories")


def _peers(axes: Any, result: dict[str, Any]) -> None:
    """Plot the cold time of each contender, for the largest number of workers."""
    runs = result["peers"]["runs"]
    workers = max(r["j"] for r in runs)
    selected = sorted((r for r in runs if r["j"] == workers), key=lambda r: r["wall"][0])
    rows = range(len(selected))
    walls = [r["wall"][0] for r in selected]
    colours = [_COLOURS[0] if r["contender"] == _OURS else "#bbbbbb" for r in selected]
    axes.barh(rows, walls, color=colours, height=0.6)
    for row, r in zip(rows, selected, strict=True):
        failed = f", {r['failed']} failed" if r["failed"] else ""
        axes.text(r["wall"][0], row, f"  {r['wall'][0]:.2f} s{failed}", va="center")
    axes.set_yticks(list(rows), [r["contender"] for r in selected])
    axes.set(xlabel="seconds", xlim=(0, max(walls) * 1.25))
    axes.grid(visible=False, axis="y")
    axes.invert_yaxis()
    axes.set_title(
        f"Cold: {result['peers']['n']} repositories, {workers} workers"
        f"\n({result['latency'] * 1000:.0f} ms per answer)"
    )


def _scale(axes: Any, result: dict[str, Any]) -> None:
    """Plot the time over the size of the namespace, for each kind of run."""
    points = result["points"]
    xs = [point["n"] for point in points]
    for colour, kind in zip(_COLOURS, ("cold", "resumed", "stale", "fresh"), strict=False):
        # JSON stores the named tuple as a list: found, elapsed, ...
        walls = [point[kind][1] for point in points]
        axes.plot(xs, walls, "o-", color=colour, markersize=6)
        axes.annotate(
            kind, (xs[-1], walls[-1]), xytext=(8, -4), textcoords="offset points", color=colour
        )
    axes.set(xscale="log", yscale="log", xlabel="repositories in the namespace", ylabel="seconds")
    axes.set_xlim(right=axes.get_xlim()[1] * 2.2)
    _plain(axes.xaxis)
    _plain(axes.yaxis)
    axes.set_title(f"One large namespace, {result['j']} workers")


_PICTURES: dict[str, tuple[str, Callable[[Any, dict[str, Any]], None]]] = {
    "fanout": ("fanout", _law),
    "peers": ("fanout", _peers),
    "requests": ("staleness", _kinds),
    "scale": ("scale", _scale),
}


def _plain(axis: Any) -> None:
    """Label the axis with plain numbers instead of powers of ten."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.set_minor_formatter(NullFormatter())
