# SPDX-License-Identifier: BSL-1.0
"""The project's goals as checks: ratio to the limit, ratio to the best peer, flatness."""

import dataclasses

NOISE = 1.05  # a peer that is ahead by less is not ahead
NOT_PEERS = ("procyard", "raw")  # and what begins with them: variants


@dataclasses.dataclass
class Check:
    bench: str
    row: str
    goal: str
    ratio: float
    met: bool


class Results:
    def __init__(self, results):
        self.median = {(r["bench"], r["row"], r["contender"]): r["median"] for r in results}
        self.rows = list(dict.fromkeys((r["bench"], r["row"]) for r in results))

    def of(self, bench, row, contender="procyard"):
        return self.median.get((bench, row, contender))

    def peers(self, bench, row):
        return {
            contender: value
            for (b, r, contender), value in self.median.items()
            if (b, r) == (bench, row) and not contender.startswith(NOT_PEERS)
        }


def at_most(bench, row, goal, value, reference, factor):
    if value is None or not reference:
        return []
    ratio = value / reference
    return [Check(bench, row, f"{goal} <= {factor:g}", ratio, ratio <= factor)]


def at_least(bench, row, goal, value, reference, factor):
    if value is None or not reference:
        return []
    ratio = value / reference
    return [Check(bench, row, f"{goal} >= {factor:g}", ratio, ratio >= factor)]


def spawn_checks(results):
    for bench, row in results.rows:
        if bench not in ("spawn", "spawn call"):
            continue
        ours = results.of(bench, row)
        limit = 1.10 if bench == "spawn" else 1.15
        yield from at_most(bench, row, "of raw", ours, results.of(bench, row, "raw"), limit)
        peers = results.peers(bench, row)
        if bench == "spawn call":
            # fork returns before the exec, whose failure it then cannot report: another call.
            peers.pop("fork+exec", None)
        if peers:
            best = min(peers, key=peers.get)
            yield from at_most(bench, row, f"of the best peer, {best},", ours, peers[best], NOISE)


def flat_checks(results):
    bench = "spawn"
    for program in ("true", "static"):
        for in_flight in (1, 64):
            small = f"{program}, {in_flight} in flight, 5 MiB"
            base = results.of(bench, small)
            large = f"{program}, {in_flight} in flight, 4 GiB"
            yield from at_most(bench, large, "of 5 MiB", results.of(bench, large), base, 1.2)
            for end in ("", " opened first"):
                many = f"{small}, 5000 descriptors{end}"
                yield from at_most(bench, many, "of none", results.of(bench, many), base, 1.3)


def stream_checks(results):
    for bench, row in results.rows:
        if bench not in ("stdout", "copy") or row == "defaults":
            continue
        ours = results.of(bench, row)
        yield from at_least(bench, row, "of raw", ours, results.of(bench, row, "raw"), 0.95)
    for peer, value in results.peers("stdout", "defaults").items():
        ours = results.of("stdout", "defaults")
        yield from at_least("stdout", "defaults", f"of {peer}", ours, value, 1.3)


def children_checks(results):
    bench = "children"
    for _, row in [r for r in results.rows if r[0] == bench]:
        ours = results.of(bench, row)
        raw = results.of(bench, row, "raw")
        if row.startswith("parent's memory"):
            yield from at_most(bench, row, "of 2 KiB", ours, 2048, 1.0)
        elif row.startswith("spawn call"):
            yield from at_most(bench, row, "of raw", ours, raw, 1.15)
        elif not row.startswith("reap 500"):  # no goal: what is left of a reap without the exits
            yield from at_most(bench, row, "of raw", ours, raw, 1.2)
    for name in ("exit seen, one among {}", "kill and reap all, {}"):
        ours = results.of(bench, name.format(5000))
        base = results.of(bench, name.format(1000))
        yield from at_most(bench, name.format(5000), "of 1000 alive", ours, base, 1.2)


def checks(results):
    results = Results(results)
    for group in (spawn_checks, flat_checks, stream_checks, children_checks):
        yield from group(results)
