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


def print_checks(checks):
    checks = list(checks)
    if not checks:
        print("goals: procyard took no part, nothing to check")
        return True
    print(f"goals: {sum(c.met for c in checks)} of {len(checks)} met")
    for c in checks:
        word = "met   " if c.met else "MISSED"
        print(f"  {word} {c.ratio:6.2f} {c.goal}: {c.bench}: {c.row}")
    return all(c.met for c in checks)
