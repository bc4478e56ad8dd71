# SPDX-License-Identifier: BSL-1.0
"""The project's goals as checks: ratio to the limit, ratio to the best peer, flatness.

The goals are those of a full run, whatever was measured: one without its figures is not met.
"""

import dataclasses

import rows as measured_rows

NOISE = 1.05  # a peer that is ahead by less is not ahead
NOT_PEERS = ("procyard", "raw")  # and what begins with them: variants


@dataclasses.dataclass
class Check:
    bench: str
    row: str
    goal: str
    ratio: float | None  # None: not measured
    met: bool
    beside: str = ""  # what the same run says of it, if it is missed
    pending: bool = False  # nobody can meet it yet: the contender is not there

    def measured(self):
        return "not measured" if self.ratio is None else f"{self.ratio:.2f}"


class Results:
    def __init__(self, results):
        self.median = {(r["bench"], r["row"], r["contender"]): r["median"] for r in results}
        self.units = {(r["bench"], r["row"]): r["unit"] for r in results}
        self.spread = {
            (r["bench"], r["row"], r["contender"]): (r["min"], r["max"]) for r in results
        }
        self.rows = list(dict.fromkeys((r["bench"], r["row"]) for r in results))

    def unit(self, bench, row):
        return self.units.get((bench, row))

    def of(self, bench, row, contender="procyard"):
        return self.median.get((bench, row, contender))

    def peers(self, bench, row):
        return {
            contender: value
            for (b, r, contender), value in self.median.items()
            if (b, r) == (bench, row) and not contender.startswith(NOT_PEERS)
        }


def spread_beside(results, bench, row, peer):
    ours, theirs = (results.spread.get((bench, row, name)) for name in ("procyard", peer))
    if ours is None or theirs is None or ours[0] > theirs[1]:
        return ""
    low, high = (f"{lowest:.4g} to {highest:.4g}" for lowest, highest in (ours, theirs))
    return f"Within the spread of the rounds: {low} against {high}."


def raw_beside(results, bench, row, base_row):
    value, base = (results.of(bench, name, "raw") for name in (row, base_row))
    return f"`raw` grows alike: {value / base:.2f}." if value and base and value > base else ""


def check(bench, row, goal, value, reference, factor, at_least=False, beside=""):
    sign = ">=" if at_least else "<="
    if value is None or not reference:
        return Check(bench, row, f"{goal} {sign} {factor:.3g}", None, False)
    ratio = value / reference
    met = ratio >= factor if at_least else ratio <= factor
    return Check(bench, row, f"{goal} {sign} {factor:.3g}", ratio, met, beside)


def spawn_checks(results, bench, row, tags):
    ours = results.of(bench, row)
    limit = 1.10 if bench == "spawn" else 1.15
    for reference in ("raw", "raw, same promises"):
        yield check(bench, row, f"of {reference}", ours, results.of(bench, row, reference), limit)
    if "descriptors first" in tags:
        return  # peers take no part: the order makes no difference to them
    peers = results.peers(bench, row)
    if bench == "spawn call":
        # fork returns before the exec, whose failure it then cannot report: another call.
        peers.pop("fork+exec", None)
    best = min(peers, key=peers.get, default=None)
    name = f"of the best peer, {best}," if best else "of the best peer"
    beside = spread_beside(results, bench, row, best)
    yield check(bench, row, name, ours, peers.get(best), NOISE, beside=beside)


def flat_checks(results):
    bench = "spawn"
    for program in ("true", "static"):
        for in_flight in (1, 64):
            small = f"{program}, {in_flight} in flight, 5 MiB"
            base = results.of(bench, small)
            large = f"{program}, {in_flight} in flight, 4 GiB"
            beside = raw_beside(results, bench, large, small)
            yield check(
                bench, large, "of 5 MiB", results.of(bench, large), base, 1.2, beside=beside
            )
            for end in ("", " opened first") if small.startswith("static, 1 ") else ("",):
                many = f"{small}, 5000 descriptors{end}"
                yield check(bench, many, "of none", results.of(bench, many), base, 1.3)


def stream_checks(results, bench, row, tags):
    ours = results.of(bench, row)
    if "defaults" not in tags:
        raw = results.of(bench, row, "raw")
        yield check(bench, row, "of raw", ours, raw, 0.95, at_least=True)
        return
    for peer, value in (results.peers(bench, row) or {"the peers": None}).items():
        yield check(bench, row, f"of {peer}", ours, value, 1.3, at_least=True)


def children_checks(results, bench, row, _tags):
    ours = results.of(bench, row)
    raw = results.of(bench, row, "raw")
    if row.startswith("parent's memory"):
        for contender in ("procyard", "procyard, coroutine"):
            goal = "of 2 KiB" if contender == "procyard" else "a coroutine each, of 2 KiB"
            yield check(bench, row, goal, results.of(bench, row, contender), 2048, 1.0)
    else:
        factor = 1.15 if row.startswith("spawn call") else 1.2
        yield check(bench, row, "of raw", ours, raw, factor)


def linear_checks(results):
    bench = "children"
    names = ("exit seen, one among {}", "kill and reap all, {}", "reap 500 exited, after {}")
    for name in names:
        ours = results.of(bench, name.format(5000))
        base = results.of(bench, name.format(1000))
        yield check(bench, name.format(5000), "of 1000 alive", ours, base, 1.2)


def ahead_of_peers(results, bench, row, limit):
    """Of every peer, which is to say of the best one."""
    peers = results.peers(bench, row)
    best = min(peers, key=peers.get, default=None)
    name = f"of the best peer, {best}," if best else "of the best peer"
    beside = spread_beside(results, bench, row, best)
    raw = results.of(bench, row, limit)
    if best and raw and raw > peers[best] and not beside:
        beside = f"`{limit}` is behind it as well: {raw / peers[best]:.2f}."
    ours = results.of(bench, row)
    return check(bench, row, name, ours, peers.get(best), NOISE, beside=beside)


def faster(results, bench, row, reference, factor, contender="procyard"):
    """A ratio of speeds, whichever way the row's unit counts."""
    ours, theirs = (results.of(bench, row, name) for name in (contender, reference))
    if (results.unit(bench, row) or "").startswith("ns"):
        ours, theirs = (1 / value if value else None for value in (ours, theirs))
    goal = f"speed of {reference}"
    return check(bench, row, goal, ours, theirs, factor, at_least=True)


def beginning(results, bench, row, prefix):
    """The contender of a row whose name has a version in it."""
    return next((c for c in results.peers(bench, row) if c.startswith(prefix)), prefix)


def ping_pong_checks(results, bench, row, waiting):
    spinning = waiting == "spinning"
    limit = "raw spin on a shared line" if spinning else "raw eventfd + epoll"
    if row.endswith("p50"):
        ours, raw = (results.of(bench, row, name) for name in ("procyard", limit))
        yield check(bench, row, f"of {limit}", ours, raw, 1.5 if spinning else 1.1)
    yield ahead_of_peers(results, bench, row, limit)


def checks_of_a_way(results, bench, row, tags):
    way = tags[0]
    if way == "one at a time" and not row.endswith(("64 KiB", "1 MiB")):
        lockfree = beginning(results, bench, row, "Boost.Lockfree")
        yield faster(results, bench, row, lockfree, 1 / NOISE)
    elif way == "batches":
        yield faster(results, bench, row, "raw ring, batches", 0.9)
    elif way == "in place":
        yield faster(results, bench, row, "raw ring, in place", 0.95)
        yield faster(results, bench, row, beginning(results, bench, row, "iceoryx"), 1 / NOISE)
    elif way == "bursts":
        yield faster(results, bench, row, "procyard, batches", 0.8)
    elif way in ("sleeping", "spinning"):
        yield from ping_pong_checks(results, bench, row, way)
    elif way == "ready":
        ours, post = (results.of(bench, row, name) for name in ("procyard", "raw asio::post"))
        yield check(bench, row, "of raw asio::post", ours, post, 1.5)
        yield ahead_of_peers(results, bench, row, "raw asio::post")
    elif way == "recovery" and row.endswith("p99"):
        yield check(bench, row, "of 5 ms", results.of(bench, row), 5000, 1.0)


def channel_checks(results, bench, row, tags):
    pending = not any(b == bench and c.startswith("procyard") for b, _, c in results.median)
    for found in checks_of_a_way(results, bench, row, tags):
        found.pending = pending
        yield found


def signal_checks(results, bench, row, _tags):
    raw = "raw signalfd + epoll"
    ours = results.of(bench, row)
    yield check(bench, row, f"of {raw}", ours, results.of(bench, row, raw), 1.1)
    asio = results.of(bench, row, "asio::signal_set")
    yield check(bench, row, "of asio::signal_set", ours, asio, NOISE)


def pool_checks(results, bench, row, _tags):
    """Five times the best peer, also of those that pass tasks in batches, with a request for each
    task and with one for 64; near the channels' own speed. Spinning only the first: of what the
    channels then cost, next to nothing is left."""
    peers = results.peers(bench, row)
    best = min(peers, key=peers.get, default="the best peer")
    ours, raw = (results.of(bench, row, name) for name in ("procyard", "raw channels"))
    many = ", requests of 64"
    of_best = [
        check(
            bench,
            row,
            f"speed of {best}{ours_is and ', ours' + ours_is}",
            *inverse(results.of(bench, row, "procyard" + ours_is), peers.get(best)),
            5,
            True,
        )
        for ours_is in ("", ", spinning", many, many + ", spinning")
    ]
    if row.endswith(("p50", "p99")):
        found = [check(bench, row, "of raw channels", ours, raw, 1 / 0.9), of_best[1]]
    else:
        found = [*of_best, check(bench, row, "speed of raw channels", *inverse(ours, raw), 0.9, True)]
    for one in found:
        one.pending = ours is None
        yield one


def inverse(*values):
    return (1 / value if value else None for value in values)


def supervisor_checks(results, bench, row, _tags):
    """Nothing wakes up while nothing happens, and what is done is not done for each child."""
    if row.startswith("start of"):
        ours, raw = (results.of(bench, row, name) for name in ("procyard", "raw pidfd + epoll"))
        yield check(bench, row, "of raw pidfd + epoll", ours, raw, 1.5)
    if row.startswith("restart") and row.endswith("p99"):
        yield check(bench, row, "of 5 ms", results.of(bench, row), 5000, 1.0)
    if row.endswith("wake-ups"):
        wake_ups = results.of(bench, row)
        yield Check(bench, row, "of none <= 0", wake_ups, wake_ups == 0)


OF_A_ROW = {
    "spawn": spawn_checks,
    "spawn call": spawn_checks,
    "stdout": stream_checks,
    "copy": stream_checks,
    "children": children_checks,
    "channel": channel_checks,
    "signal": signal_checks,
    "pool": pool_checks,
    "supervisor": supervisor_checks,
}


def all_checks(results):
    for (bench, row), tags in measured_rows.all_figures().items():
        if bench in OF_A_ROW:
            yield from OF_A_ROW[bench](results, bench, row, tags)
    yield from flat_checks(results)
    yield from linear_checks(results)


def checks(results, complete=True):
    """Every goal; of a run that was restricted (not `complete`) only those that it measured."""
    found = list(all_checks(Results(results)))
    return found if complete else [c for c in found if c.ratio is not None]


def left_out(results, complete):
    return len(checks(results)) - len(checks(results, complete))


BLOCKING_READ = (
    "A peer that blocks in its one read is woken inside of it. An event loop is woken in "
    "`epoll_wait` and reads then: `raw eventfd + epoll` is no nearer to it."
)

# Why a goal is missed that is known to be hard: (bench, row and goal begin with, why).
BEFORE_EXEC = (
    "`raw` leaves ignored signals ignored, copies the descriptor table, makes no process group "
    "(`raw, same promises` does), makes no plan, and blocks in `waitid`, one child at a time; "
    "Procyard's child is an entry of an epoll set, and its exit a handler of the loop."
)
REASONS = (
    (
        "stdout",
        "defaults",
        "of libuv",
        "libuv's default is a socketpair, which a pipe cannot reach. Procyard keeps the pipe: a "
        "socketpair cannot be reopened through `/dev/stdout`. `stdio::socket()` asks for one.",
    ),
    ("spawn", "static", "of raw", BEFORE_EXEC),
    ("spawn call", "", "of raw", BEFORE_EXEC),
    ("children", "spawn call", "of raw", BEFORE_EXEC),
    (
        "children",
        "parent's memory",
        "a coroutine",
        "The coroutine's frame and its `co_spawn` come on top of the child.",
    ),
    (
        "children",
        "kill and reap",
        "of raw",
        "Dominated by the kernel's work on the dying, in which 1,000 are too few to be steady.",
    ),
    (
        "children",
        "reap 500",
        "of raw",
        "Each exit goes through the event loop and ends in a handler of its own, and the tree is "
        "asked whether somebody is left; `raw` only waits. The goal is that of all 5,000.",
    ),
    (
        "channel",
        "batches",
        "speed of raw ring",
        "Which of the two is faster depends on where the host runs the two processors, and that "
        "changes by the minute.",
    ),
    (
        "channel",
        "in place",
        "speed of",
        "At 1 MiB all of them are at the memory's speed, and apart in either direction from run "
        "to run: 1.00 and 1.17 in the one before.",
    ),
    (
        "channel",
        "bursts",
        "speed of procyard, batches",
        "A call per message publishes each by itself, and each burst ends in a turn of the loop. "
        "The raw ring takes one at a time as well, spins instead, and has 0.8 of the batches where "
        "both processors share a cache. Where they do not, all three are level: the miss comes and "
        "goes with the places that the host gives to the two processors.",
    ),
    ("channel", "ping-pong", "of the best peer", BLOCKING_READ),
    (
        "channel",
        "ping-pong",
        "of raw eventfd",
        "A turn of Asio's, and a second read, since its reactor is edge-triggered. Between two "
        "cores most of the time is the kernel's waking, which differs more from run to run.",
    ),
    (
        "pool",
        "64-byte tasks",
        "speed of raw channels",
        "A task has an entry in the pool's tables, a place in a queue, times to measure, a handler "
        "of its own, and notes in memory that survive its worker. The raw loops have no tasks, "
        "only messages.",
    ),
    (
        "pool",
        "64-byte tasks",
        "speed of",
        "The best one is a loop by hand that passes 64 tasks as one write and one read of a pipe. "
        "With as many in a request, and spinning, the pool is ahead of it by far more than five "
        "where each process has a processor; asleep both take the time of two wake-ups. A task of "
        "its own can be cancelled, is late, or dies by itself, which takes some 300 ns of the "
        "pool's processor. Of two workers and the pool that spin one has to wait for a processor "
        "here.",
    ),
    (
        "channel",
        "a message that is there",
        "of raw asio::post",
        "The operation has a handler that can be cancelled, a place in a line behind others, and a "
        "message to take; the bare turn has nothing.",
    ),
    (
        "signal",
        "",
        "of asio::signal_set",
        "Both are at the kernel's wake-up there; the medians are in the other order.",
    ),
)


def reason(missed):
    if missed.ratio is None:
        return "Not measured."
    for bench, row, goal, why in REASONS:
        if missed.bench == bench and missed.row.startswith(row) and missed.goal.startswith(goal):
            return why
    return missed.beside or "No reason is known."
