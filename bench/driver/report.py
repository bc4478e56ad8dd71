# SPDX-License-Identifier: BSL-1.0
"""Results as text."""


def number(value):
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def unit_of(by_contender):
    return next(iter(by_contender.values()))["unit"]


def in_rows(results):
    """{(bench, row): {contender: result}} in the order measured."""
    rows = {}
    for r in results:
        rows.setdefault((r["bench"], r["row"]), {})[r["contender"]] = r
    return rows


def print_row(results):
    for (bench, row), by_contender in in_rows(results).items():
        figures = ", ".join(f"{c} {number(r['median'])}" for c, r in by_contender.items())
        print(f"  {bench}: {row} [{unit_of(by_contender)}]: {figures}", flush=True)


def print_checks(checks, left_out):
    due = [c for c in checks if not c.pending]
    print(f"goals: {sum(c.met for c in due)} of {len(due)} met")
    if len(due) < len(checks):
        print(f"goals: {len(checks) - len(due)} not measured, their contender is not there")
    if left_out:
        print(f"goals: {left_out} left out, this run was restricted and did not measure them")
    for c in due:
        word = "met   " if c.met else "MISSED"
        print(f"  {word} {c.measured():>6} {c.goal}: {c.bench}: {c.row}")
    return all(c.met for c in due)
