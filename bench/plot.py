#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Turns results of bench/run.sh into Markdown tables and SVG pictures.

plot.py RESULTS.json…                                 prints the tables
plot.py RESULTS.json… --docs docs/performance.md      writes them between the page's marks
                                                      <!-- bench: NAME --> and <!-- /bench -->,
                                                      and the pictures to docs/performance/

Several results, of runs with --only, become one; of a row that is in several the last counts.
A page takes full measurements only; --draft allows others, and the page says so. With --add what the
page says, and shows, of other groups stays as it is.
"""

import argparse
import json
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "driver"))

import goals  # noqa: E402  (the driver's modules are found through the line above)
import report  # noqa: E402
import rows as measured_rows  # noqa: E402

ROUNDS_MIN = 7  # of a page
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


def channel_tables(rows):
    """One table for each way messages go, or a ping-pong waits; columns are what follows."""
    kinds = {}
    for name in of_bench(rows, "channel"):
        kind, _, column = name[1].partition(", ")
        kinds.setdefault(kind, {})[name] = column
    return "\n".join(
        table(
            [kind] + [f"{column} ({report.unit_of(rows[name])})" for name, column in names.items()],
            contender_lines(rows, list(names)),
        )
        for kind, names in kinds.items()
    )


def goal_table(checks):
    def word(c):
        return "not measured" if c.pending else "met" if c.met else "**missed**"

    lines = [[c.bench, c.row, c.goal, c.measured(), word(c)] for c in checks]
    return table(["bench", "row", "goal: ratio", "measured", ""], lines, "---") if lines else ""


def missed_list(checks):
    """The goals that are missed, those with the same reason together."""
    by_reason = {}
    for c in checks:
        if not c.met and not c.pending:
            by_reason.setdefault(goals.reason(c), []).append(f"{c.bench}: {c.row} ({c.goal})")
    return "".join(f"- {'; '.join(names)}. {why}\n" for why, names in by_reason.items())


def machine_table(about):
    keys = ("processor", "processors", "first_two_processors", "memory_mib", "kernel", "system")
    keys += ("compiler", "rounds", "quick", "realtime", "load_before", "load_after", "commit")
    values = [(key.replace("_", " "), about[key]) for key in keys if key in about]
    lines = [[key, ("no", "yes")[v] if isinstance(v, bool) else str(v)] for key, v in values]
    lines += [[f"left out: {name}", why] for name, why in about.get("left_out", {}).items()]
    return table(["measured on", ""], lines, "---") if lines else ""


def sections(results, about, checks):
    rows = report.in_rows(results)
    return {
        "machine": machine_table(about),
        "goals": goal_table(checks),
        "missed": missed_list(checks) or "None.\n",
        "spawn": spawn_tables(rows, "spawn"),
        "spawn call": spawn_tables(rows, "spawn call"),
        "stdout": plain_table(rows, "stdout"),
        "copy": plain_table(rows, "copy", "lines"),
        "children": plain_table(rows, "children"),
        "allocations": plain_table(rows, "allocations"),
        "channel": channel_tables(rows),
        "signal": plain_table(rows, "signal"),
        "pool": plain_table(rows, "pool"),
        "supervisor": plain_table(rows, "supervisor"),
    }


def of_others(text, benches):
    """The lines of a table or a list of goals that are about none of these."""
    starts = tuple(start for bench in benches for start in (f"| {bench} |", f"- {bench}:"))
    return "".join(line for line in text.splitlines(True) if not line.startswith(starts))


def fill(page, texts, benches=None):
    """The page with every marked part replaced: nothing of an earlier run stays, but what it says
    of others than these `benches`."""

    def replaced(match):
        text = texts.get(match["name"]) or ""
        before = match["text"]
        if benches is not None and match["name"] == "goals":
            text = of_others(before, benches) + "".join(text.splitlines(True)[2:])
        elif benches is not None and match["name"] == "missed":
            text = of_others(before, benches) + text.removeprefix("None.\n")
        elif benches is not None and (not text or match["name"] == "machine"):
            text = before
        return f"{match['open']}\n{text}{match['close']}"

    marks = r"(?P<open><!-- bench: (?P<name>[^>]*?) -->)\n(?P<text>.*?)(?P<close><!-- /bench -->)"
    return re.sub(marks, replaced, page, flags=re.DOTALL)


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def machine_of(path):
    beside = path.with_name(path.name + ".machine.json")
    return read(beside) if beside.exists() else {}


def merged_results(paths):
    rows = {}
    for path in paths:
        rows |= report.in_rows(read(path))  # a row as a whole: its figures belong together
    return [result for by_contender in rows.values() for result in by_contender.values()]


def merged_about(abouts):
    """What the runs have in common once, what differs as a list."""
    merged = {}
    for key in dict.fromkeys(key for about in abouts for key in about):
        values = [about[key] for about in abouts if key in about]
        if key == "left_out":
            merged[key] = {name: why for value in values for name, why in value.items()}
        elif all(value == values[0] for value in values):
            merged[key] = values[0]
        else:
            merged[key] = ", ".join(dict.fromkeys(str(value) for value in values))
    return merged


def objection(about):
    """Why a run is no measurement for a page; None when it is one."""
    if not about:
        return "it has no machine file beside it"
    if about.get("quick"):
        return "it was a quick run"
    if about.get("rounds", 0) < ROUNDS_MIN:
        return f"it has fewer than {ROUNDS_MIN} rounds"
    return None


def is_complete(abouts):
    whole = [a for a in abouts if a and not a.get("quick") and not a.get("rows")]
    groups = {a.get("only") for a in whole}
    return None in groups or groups >= set(measured_rows.GROUPS)


def parse():
    as_written = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    parser.add_argument("results", type=pathlib.Path, nargs="+")
    parser.add_argument("--docs", type=pathlib.Path, metavar="PAGE")
    parser.add_argument("--add", action="store_true", help="the page's other groups stay")
    parser.add_argument("--draft", action="store_true", help="quick results too, marked as such")
    return parser.parse_args()


def main():
    arguments = parse()
    abouts = [machine_of(path) for path in arguments.results]
    if arguments.docs and not arguments.draft:
        for path, about in zip(arguments.results, abouts):
            if why := objection(about):
                sys.exit(f"plot.py: {path.name}: {why} (--draft takes it)")
    results = merged_results(arguments.results)
    # A page states every goal; so only a draft, or a print, leaves out what a run did not measure.
    page_is_final = arguments.docs and not arguments.draft and not arguments.add
    checks = goals.checks(results, complete=page_is_final or is_complete(abouts))
    texts = sections(results, merged_about(abouts), checks)
    if arguments.docs is None:
        print("\n".join(f"### {name}\n\n{text}" for name, text in texts.items() if text))
        return
    if arguments.draft:
        texts["draft"] = "**A draft**: these figures show that everything works, not more.\n"
    page = arguments.docs.read_text(encoding="utf-8")
    benches = {row[0] for row in report.in_rows(results)} if arguments.add else None
    arguments.docs.write_text(fill(page, texts, benches), encoding="utf-8")

    # One of what was not measured is not drawn, so that of an earlier run stays.
    import pictures  # needs matplotlib, which the tables do not

    pictures.draw(results, arguments.docs.with_suffix(""))


if __name__ == "__main__":
    main()
