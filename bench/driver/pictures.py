# SPDX-License-Identifier: BSL-1.0
"""The pictures of docs/performance.md. Same results, same bytes: no date, no random ids."""

import matplotlib
import matplotlib.ticker

matplotlib.use("svg")

import matplotlib.pyplot as plt  # noqa: E402  (after the choice of a back end)

import report  # noqa: E402

matplotlib.rcParams.update(
    {
        "svg.hashsalt": "procyard",
        "svg.fonttype": "none",
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
)

# Ours and the limit stand out; a peer keeps its colour in every picture.
STYLES = {
    "procyard": {"color": "#c0392b", "linewidth": 2.5, "zorder": 5},
    "raw": {"color": "#000000", "linestyle": "--"},
    "raw, same promises": {"color": "#000000", "linestyle": "-."},
    "raw, shared table": {"color": "#000000", "linestyle": ":"},
}
PEER_COLOURS = ("#2980b9", "#27ae60", "#8e44ad", "#e67e22", "#16a085", "#7f8c8d")


# Variants of ours and of the limit, by how their names begin.
FAMILIES = {
    "procyard, ": {"color": "#e59866", "linewidth": 2.5, "zorder": 4},
    "raw ": {"color": "#000000", "linestyle": "--"},
}


def own_style(contender):
    family = (style for start, style in FAMILIES.items() if contender.startswith(start))
    return STYLES.get(contender) or next(family, None)


def styles(results):
    peers = dict.fromkeys(r["contender"] for r in results if not own_style(r["contender"]))
    colours = {peer: PEER_COLOURS[i % len(PEER_COLOURS)] for i, peer in enumerate(peers)}
    return lambda contender: own_style(contender) or {"color": colours[contender]}


def save(figure, path):
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def lines(rows, style, names, ticks, title, path):
    """One line per contender over a few rows of one bench, on a logarithmic scale."""
    ticks = [tick for name, tick in zip(names, ticks) if name in rows]
    names = [name for name in names if name in rows]
    if len(names) < 2:
        return
    figure, axes = plt.subplots(figsize=(7, 4))
    for contender in rows[names[0]]:
        values = [rows[name].get(contender) for name in names]
        if all(values):
            medians = [v["median"] for v in values]
            axes.plot(ticks, medians, marker="o", label=contender, **style(contender))
    axes.set_yscale("log")
    for axis in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        axis(matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:,.6g}"))
    axes.set_ylabel(report.unit_of(rows[names[0]]))
    axes.set_title(title)
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    save(figure, path)


def bars(rows, style, names, title, path, log=False):
    """One group of horizontal bars per row; `log`: where the slowest would hide all others."""
    names = [name for name in names if name in rows]
    if not names:
        return
    entries = [(name[1], c, r["median"]) for name in names for c, r in rows[name].items()]
    figure, axes = plt.subplots(figsize=(7, 0.28 * len(entries) + 0.6 * len(names) + 0.6))
    y = 0.0
    for name in names:
        # Across, the axis' own scale does not count: a logarithmic one has no 0.
        beginning = axes.get_yaxis_transform()
        axes.text(0, y, name[1], fontweight="bold", va="center", transform=beginning)
        for contender, r in rows[name].items():
            y -= 1
            axes.barh(y, r["median"], color=style(contender)["color"], height=0.8)
            axes.text(r["median"], y, f" {contender}: {report.number(r['median'])}", va="center")
        y -= 1.6
    axes.set_yticks([])
    axes.set_xlabel(report.unit_of(rows[names[0]]))
    most = max(entry[2] for entry in entries)
    if log:
        least = min(entry[2] for entry in entries if entry[2] > 0)
        axes.set_xscale("log")
        axes.set_xlim(0.5 * least, most * (most / least) ** 0.5)
    else:
        axes.set_xlim(right=1.45 * most)
    axes.set_title(title, pad=14)  # above the first row's name
    save(figure, path)


def draw(results, directory):
    directory.mkdir(exist_ok=True)
    rows = report.in_rows(results)
    style = styles(results)

    memory = ["true, 1 in flight, " + size for size in ("5 MiB", "1 GiB", "4 GiB")]
    lines(
        rows,
        style,
        [("spawn", name) for name in memory],
        ["5 MiB", "1 GiB", "4 GiB"],
        "spawn and wait for /bin/true, by the parent's memory",
        directory / "spawn-memory.svg",
    )
    small = "static, 1 in flight, 5 MiB"
    descriptors = [small] + [f"{small}, {n} descriptors" for n in (1000, 5000)]
    lines(
        rows,
        style,
        [("spawn", name) for name in descriptors],
        ["none", "1,000", "5,000"],
        "spawn and wait for a static program, by the parent's open descriptors",
        directory / "spawn-descriptors.svg",
    )
    bars(
        rows,
        style,
        [name for name in rows if name[0] == "stdout"],
        "a child's output, read by its parent",
        directory / "stdout.svg",
    )
    seen = [("children", f"exit seen, one among {n}") for n in (1000, 5000)]
    lines(
        rows,
        style,
        seen,
        ["1,000", "5,000"],
        "until one exit among many children is seen",
        directory / "children.svg",
    )
    draw_channels(rows, style, directory)
    draw_services(rows, style, directory)


def draw_channels(rows, style, directory):
    small = ("8 B", "64 B", "1 KiB")
    for way in ("one at a time", "batches"):
        lines(
            rows,
            style,
            [("channel", f"{way}, {size}") for size in small],
            small,
            f"messages between two processes, {way}",
            directory / f"channel-{way.replace(' ', '-')}.svg",
        )
    bars(
        rows,
        style,
        [("channel", f"{way}, 1 MiB") for way in ("one at a time", "batches", "in place")],
        "large messages between two processes",
        directory / "channel-large.svg",
    )
    waits = ("two cores, spinning", "two cores, sleeping", "one core, sleeping")
    bars(
        rows,
        style,
        [("channel", f"ping-pong, {wait}, p50") for wait in waits],
        "there and back between two processes",
        directory / "channel-ping-pong.svg",
        log=True,
    )
    peers = ("1", "2", "4", "8", "16")
    for name, title in (("broadcast to", "broadcast"), ("fan-in of", "fan-in")):
        lines(
            rows,
            style,
            [("channel", f"{name} processes, {count}") for count in peers],
            peers,
            f"{title}, by the number of processes",
            directory / f"channel-{title}.svg",
        )


def draw_services(rows, style, directory):
    bars(
        rows,
        style,
        [name for name in rows if name[0] == "pool" and name[1].endswith("in flight each")],
        "tasks of 64 bytes",
        directory / "pool.svg",
        log=True,
    )
    bars(
        rows,
        style,
        [name for name in rows if name[0] == "supervisor" and name[1].startswith(("start", "rest"))],
        "a supervisor's children",
        directory / "supervisor.svg",
    )
