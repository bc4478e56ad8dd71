# SPDX-License-Identifier: BSL-1.0
"""What is measured: the rows, the arguments they mean, and the figures they give."""

import dataclasses
import pathlib

GIB = 1024  # memory is given in MiB
KIB = 1024  # pipes in bytes


@dataclasses.dataclass
class Figure:
    """One number of a round: its key in what the contender prints, and where it goes."""

    key: str
    bench: str
    row: str
    unit: str


@dataclasses.dataclass
class Row:
    command: str
    arguments: dict[str, object]
    figures: list[Figure]
    tags: tuple[str, ...] = ()
    rounds: int | None = None  # None: as many as asked for

    def tag(self, name):
        return name in self.tags

    def memory_mib(self):
        return int(self.arguments.get("memory_mib", 0))


def size(mib):
    return f"{mib // GIB} GiB" if mib >= GIB else "5 MiB"  # what a small process has anyway


def spawn_row(directory, program, in_flight, mib, descriptors, first, quick):
    name = f"{program}, {in_flight} in flight, {size(mib)}"
    if descriptors:
        name += f", {descriptors} descriptors"
    if first:
        # A context made late cannot get low descriptor numbers for its launch slots.
        name += " opened first"
    figures = [Figure("us", "spawn", name, "us per child")]
    if in_flight == 1:
        figures.append(Figure("call_us", "spawn call", name, "us per call"))
    path = "/bin/true" if program == "true" else str(directory / "bench_nothing")
    arguments = {
        "program": path,
        "in_flight": in_flight,
        "memory_mib": mib,
        "descriptors": descriptors,
        "descriptors_first": int(first),
        "seconds": 0.1 if quick else 0.3,
    }
    return Row("spawn", arguments, figures, ("descriptors first",) if first else ())


def spawn_rows(directory, quick):
    parents = [(0, 0), (1 * GIB, 0), (4 * GIB, 0), (0, 1000), (0, 5000), (4 * GIB, 5000)]
    if quick:
        parents = [(0, 0), (1 * GIB, 0), (0, 5000)]
    for program in ("true", "static"):
        for in_flight in (1, 64):
            for mib, descriptors in parents:
                yield spawn_row(directory, program, in_flight, mib, descriptors, False, quick)
    for descriptors in (5000,) if quick else (1000, 5000):
        yield spawn_row(directory, "static", 1, 0, descriptors, True, quick)


def stdout_rows(directory, quick):
    child = {"child": str(directory / "bench_child"), "bytes": (1 << 27) if quick else (1 << 29)}
    defaults = {"read_bytes": 64 * KIB}
    small = {"read_bytes": 64 * KIB, "pipe_bytes": 64 * KIB}
    large = {"read_bytes": 256 * KIB, "pipe_bytes": 1024 * KIB}
    socket = {"read_bytes": 256 * KIB, "kind": "socket"}

    def row(command, name, arguments, tag="settings"):
        figures = [Figure("gb_per_s", command, name, "GB/s")]
        return Row(command, {**child, **arguments}, figures, (tag,))

    yield row("stdout", "defaults", defaults, "defaults")
    yield row("stdout", "64 KiB reads, 64 KiB pipe", small)
    yield row("stdout", "256 KiB reads, 1 MiB pipe", large)
    yield row("stdout", "256 KiB reads, socketpair", socket, "socket")
    yield row("copy", "64 KiB pipes", small)
    yield row("copy", "1 MiB pipes", large)
    yield row("lines", "64-byte lines, 64 KiB reads, 64 KiB pipe", small)
    yield row("lines", "64-byte lines, 256 KiB reads, 1 MiB pipe", large)


def children_rows(directory, quick):
    for count in (1000,) if quick else (1000, 5000):
        yield Row(
            "children",
            {"program": str(directory / "bench_pause"), "count": count},
            [
                Figure("bytes", "children", f"parent's memory per child, {count} alive", "bytes"),
                Figure("call_us", "children", f"spawn call, up to {count} alive", "us per call"),
                Figure("seen_us", "children", f"exit seen, one among {count}", "us"),
                Figure("killed_us", "children", f"kill and reap all, {count}", "us per child"),
                Figure("reap_us", "children", f"reap 500 exited, after {count}", "us per child"),
            ],
        )


def allocation_rows(directory, _quick):
    figures = [
        Figure("per_spawn", "allocations", "spawn and start to wait", "allocations"),
        Figure("per_wait", "allocations", "until the handler has run", "allocations"),
    ]
    # A count does not vary: one round.
    yield Row("allocations", {"program": str(directory / "bench_nothing")}, figures, rounds=1)


SIZES = {8: "8 B", 64: "64 B", 1024: "1 KiB", 65536: "64 KiB", 1048576: "1 MiB"}
LARGE = 65536  # from here on it is a question of bandwidth


def send_row(way, bytes_, quick):
    """One way, between two processes. The tag is how the messages go."""
    unit = ("gb_per_s", "GB/s") if bytes_ >= LARGE else ("ns", "ns per message")
    figures = [Figure(unit[0], "channel", f"{way}, {SIZES[bytes_]}", unit[1])]
    arguments = {"bytes": bytes_, "way": way.replace(" ", "_").removesuffix("_at_a_time")}
    return Row("send", arguments | seconds(quick), figures, (way, "two processors"))


def ping_row(waiting, processors, quick):
    """There and back. The tag is what a side does that has nothing to do."""
    name = f"ping-pong, {'one core' if processors == 1 else 'two cores'}, {waiting}"
    figures = [Figure(f"{p}_us", "channel", f"{name}, {p}", "us") for p in ("p50", "p99")]
    wait = {"sleeping": "sleep", "spinning": "spin"}[waiting]
    arguments = {"bytes": 64, "wait": wait, "processors": processors}
    tags = (waiting,) + (("two processors",) if processors == 2 else ())
    return Row("ping", arguments | seconds(quick), figures, tags)


def recovery_row(load, quick):
    """From kill -9 of the sender until the receiver has all that was committed, and the error."""
    name = f"recovery after kill -9, {load}"
    figures = [Figure(f"{p}_us", "channel", f"{name}, {p}", "us") for p in ("p50", "p99")]
    arguments = {"load": load, "kills": 50 if quick else 200}
    return Row("recovery", arguments, figures, ("recovery", "two processors"))


def scaling_row(command, name, peers, quick):
    figures = [Figure("ns", "channel", name, "ns per message")]
    return Row(command, {"peers": peers} | seconds(quick), figures, ("scaling", "two processors"))


def seconds(quick):
    return {"seconds": 0.1 if quick else 0.3}


def channel_rows(_directory, quick):
    for way in ("one at a time", "batches"):
        for bytes_ in SIZES:
            yield send_row(way, bytes_, quick)
    for bytes_ in SIZES:
        if bytes_ >= LARGE:
            yield send_row("in place", bytes_, quick)
    yield send_row("bursts", 64, quick)
    yield ping_row("sleeping", 2, quick)
    yield ping_row("spinning", 2, quick)
    yield ping_row("sleeping", 1, quick)
    figures = [Figure("ns", "channel", "within a process, 64 B", "ns per message")]
    yield Row("within", {"bytes": 64} | seconds(quick), figures, ("within",))
    figures = [Figure("ns", "channel", "a message that is there, co_await", "ns per message")]
    yield Row("ready", {"bytes": 64} | seconds(quick), figures, ("ready",))
    for load in ("busy", "idle"):
        yield recovery_row(load, quick)
    for command, name in (("broadcast", "broadcast to"), ("fan_in", "fan-in of")):
        for peers in (1, 2, 4, 8, 16):
            yield scaling_row(command, f"{name} processes, {peers}", peers, quick)
    figures = [Figure("bytes", "channel", "memory beside the ring, of both ends", "bytes")]
    yield Row("memory", {"channels": 1000}, figures, ("memory",))


def signal_rows(_directory, quick):
    yield Row(
        "latency",
        {"signals": 2_000 if quick else 20_000},
        [
            Figure("p50_us", "signal", "signal to resumed coroutine, median", "us"),
            Figure("p99_us", "signal", "signal to resumed coroutine, 99th percentile", "us"),
        ],
        ("two processors",),
    )


def pool_row(directory, workers, window, quick):
    """Tasks of 64 bytes, of which each worker has `window`."""
    one = window == 1
    who = "1 worker" if workers == 1 else f"{workers} workers"
    name = f"64-byte tasks, {who}, {'one at a time' if one else f'{window} in flight each'}"
    if one:
        figures = [Figure(f"{p}_us", "pool", f"{name}, {p}", "us") for p in ("p50", "p99")]
    else:
        figures = [Figure("ns", "pool", name, "ns per task")]
    arguments = {"workers": workers, "window": window, "program": str(directory / "bench_nothing")}
    return Row("tasks", arguments | seconds(quick), figures, ("two processors",))


def pool_rows(directory, quick):
    yield pool_row(directory, 1, 64, quick)
    yield pool_row(directory, 2, 64, quick)
    yield pool_row(directory, 1, 1, quick)


def supervisor_rows(directory, quick):
    """Children that sleep, one of which is killed now and then."""
    count = 200 if quick else 2000
    yield Row(
        "tree",
        {
            "program": str(directory / "bench_pause"),
            "count": count,
            "kills": 20 if quick else 200,
        },
        [
            Figure("up_us", "supervisor", f"start of {count}", "us per child"),
            Figure("p50_us", "supervisor", f"restart after kill -9, one of {count}, p50", "us"),
            Figure("p99_us", "supervisor", f"restart after kill -9, one of {count}, p99", "us"),
            Figure("wake_ups", "supervisor", f"idle with {count}, wake-ups", "per second"),
            Figure("idle_cpu_us", "supervisor", f"idle with {count}, CPU time", "us per second"),
        ],
    )


GROUPS = {
    "spawn": spawn_rows,
    "stdout": stdout_rows,
    "children": children_rows,
    "allocations": allocation_rows,
    "channel": channel_rows,
    "signal": signal_rows,
    "pool": pool_rows,
    "supervisor": supervisor_rows,
}


def all_figures(quick=False):
    """{(bench, row): tags} of a run that nothing restricts, in its order."""
    nowhere = pathlib.Path()
    return {
        (figure.bench, figure.row): row.tags
        for group in GROUPS.values()
        for row in group(nowhere, quick)
        for figure in row.figures
    }
