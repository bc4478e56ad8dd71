#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Turns results of bench/run.sh into Markdown tables and SVG pictures.

plot.py RESULTS.json                                  prints the tables
plot.py RESULTS.json --docs docs/performance.md       writes them between the page's marks
                                                      <!-- bench: NAME --> and <!-- /bench -->,
                                                      and the pictures to docs/performance/
"""

import argparse
import json
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "driver"))

import goals  # noqa: E402  (the driver's modules are found through the line above)
import report  # noqa: E402

OURS = ("procyard", "raw")  # and their variants: printed in bold


def table(columns, lines, align="--:"):
    """A Markdown table; the first column is text, the others figures unless told otherwise."""
    text = ["| " + " | ".join(columns) + " |", "|---|" + f"{align}|" * (len(columns) - 1)]
    return "\n".join(text + ["| " + " | ".join(line) + " |" for line in lines]) + "\n"


def contender_lines(rows, names):
    """One line per contender, one column per row; `rows` is what report.in_rows gives."""
    contenders = dict.fromkeys(c for name in names for c in rows[name])
    for contender in contenders:
        figures = [rows[name].get(contender) for name in names]
        title = f"**{contender}**" if contender.startswith(OURS) else contender
        yield [title] + [report.number(f["median"]) if f else "–" for f in figures]


def of_bench(rows, bench):
    return [name for name in rows if name[0] == bench]


def spawn_table(rows, bench, what):
    """The rows of one program and one number in flight; columns are the parent's sizes."""
    names = [n for n in of_bench(rows, bench) if n[1].startswith(what + ", ")]
    if not names:
        return ""
    columns = [n[1].removeprefix(what + ", ") for n in names]
    return table([what] + columns, contender_lines(rows, names))


def spawn_tables(rows, bench):
    kinds = dict.fromkeys(", ".join(n[1].split(", ")[:2]) for n in of_bench(rows, bench))
    return "\n".join(spawn_table(rows, bench, kind) for kind in kinds)


def plain_table(rows, *benches):
    names = [n for bench in benches for n in of_bench(rows, bench)]
    if not names:
        return ""
    columns = [f"{name[1]} ({report.unit_of(rows[name])})" for name in names]
    return table([""] + columns, contender_lines(rows, names))


def goal_table(results):
    lines = [
        [c.bench, c.row, c.goal, f"{c.ratio:.2f}", "met" if c.met else "**missed**"]
        for c in goals.checks(results)
    ]
    return table(["bench", "row", "goal: ratio", "measured", ""], lines, "---") if lines else ""


def machine_table(about):
    keys = ("processor", "processors", "memory_mib", "kernel", "system", "compiler", "rounds", "quick", "realtime")
    keys += ("load_before", "load_after", "commit")
    values = [(key.replace("_", " "), about[key]) for key in keys if key in about]
    lines = [[key, ("no", "yes")[v] if isinstance(v, bool) else str(v)] for key, v in values]
    lines += [[f"left out: {name}", why] for name, why in about.get("left_out", {}).items()]
    return table(["measured on", ""], lines, "---") if lines else ""


def sections(results, about):
    rows = report.in_rows(results)
    return {
        "machine": machine_table(about),
        "goals": goal_table(results),
        "spawn": spawn_tables(rows, "spawn"),
        "spawn call": spawn_tables(rows, "spawn call"),
        "stdout": plain_table(rows, "stdout"),
        "copy": plain_table(rows, "copy", "lines"),
        "children": plain_table(rows, "children"),
        "allocations": plain_table(rows, "allocations"),
    }


def fill(page, texts):
    """The page with every marked part replaced; a part without a text stays as it is."""

    def replaced(match):
        text = texts.get(match["name"])
        return f"{match['open']}\n{text}{match['close']}" if text else match[0]

    marks = r"(?P<open><!-- bench: (?P<name>[^>]*?) -->)\n.*?(?P<close><!-- /bench -->)"
    return re.sub(marks, replaced, page, flags=re.DOTALL)


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def main():
    as_written = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    parser.add_argument("results", type=pathlib.Path)
    parser.add_argument("--docs", type=pathlib.Path, metavar="PAGE")
    arguments = parser.parse_args()
    results = read(arguments.results)
    beside = arguments.results.with_name(arguments.results.name + ".machine.json")
    texts = sections(results, read(beside) if beside.exists() else {})
    if arguments.docs is None:
        print("\n".join(f"### {name}\n\n{text}" for name, text in texts.items() if text))
        return
    page = arguments.docs.read_text(encoding="utf-8")
    arguments.docs.write_text(fill(page, texts), encoding="utf-8")

    import pictures  # needs matplotlib, which the tables do not

    pictures.draw(results, arguments.docs.with_suffix(""))


if __name__ == "__main__":
    main()
