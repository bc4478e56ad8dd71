# SPDX-License-Identifier: BSL-1.0
"""Who takes part in the group `channel`, and in which of its rows."""

import contenders
import rows

ONE = "one at a time"
SLEEPS = (ONE, "bursts", "sleeping")
STREAM = SLEEPS + ("batches",)
EVERYTHING = (ONE, "batches", "in place", "bursts", "sleeping", "spinning", "within", "ready")

# For each executable, bench_channel_NAME: the contenders it has, as
# (name in the result, tags of the rows it takes part in, arguments). `{}` is the library's version.
RAW = (
    ("raw ring", (ONE, "bursts", "spinning"), {}),
    ("raw ring, batches", ("batches",), {}),
    ("raw ring, in place", ("in place",), {}),
    ("raw memcpy", (ONE,), {"mechanism": "memcpy"}),
    ("raw spin on a shared line", ("spinning",), {"mechanism": "line"}),
    ("raw eventfd + epoll", ("sleeping",), {"mechanism": "eventfd"}),
)
KERNEL = (
    ("POSIX message queue", SLEEPS, {"mechanism": "posix_queue"}),
    ("pipe", STREAM, {"mechanism": "pipe"}),
    ("Unix stream socket", STREAM, {"mechanism": "stream_socket"}),
    ("Unix seqpacket socket", STREAM, {"mechanism": "packet_socket"}),
)
ASIO = (
    ("Asio, eventfd", STREAM, {"mechanism": "eventfd"}),
    ("Asio, Unix stream socket", STREAM, {"mechanism": "socket"}),
    ("asio::experimental::channel", ("within", "ready"), {}),
    ("raw asio::post", ("ready",), {"mechanism": "post"}),
    ("asio::experimental::channel, try first", ("within",), {"try_first": "1"}),
)
BOOST = (
    (
        "Boost.Lockfree {} spsc_queue",
        (ONE, "batches", "bursts", "spinning"),
        {"mechanism": "lockfree"},
    ),
    ("Boost.Interprocess {} message_queue", SLEEPS, {"mechanism": "message_queue"}),
)
EXECUTABLES = {
    # `procyard` awaits each message after a try, also in bursts; `procyard, batches` drains.
    "procyard": (
        ("procyard", EVERYTHING, {}),
        ("procyard, batches", ("bursts",), {"style": "batches"}),
    ),
    "raw": RAW,
    "boost": BOOST,
    "kernel": KERNEL,
    "zeromq": (("ZeroMQ {} ipc", SLEEPS, {}),),
    "nng": (("nng {} ipc", SLEEPS, {}),),
    "iceoryx": (("iceoryx {}", (ONE, "in place", "bursts", "sleeping", "spinning"), {}),),
    "asio": ASIO,
    "recovery": (
        ("procyard", ("recovery", "memory"), {}),
        ("raw pipe, end of file", ("recovery",), {"mechanism": "pipe"}),
    ),
    "scaling": (
        ("procyard", ("scaling",), {}),
        ("raw pipes", ("scaling",), {"mechanism": "pipes"}),
    ),
}

# What /proc/sys/fs/mqueue/msgsize_max lets every user have, and below what memcpy says nothing.
SIZE_MAX = {"POSIX message queue": 8192}
SIZE_MIN = {"raw memcpy": rows.LARGE}


def takes_part(name, tags):
    def only_if(row):
        size = row.arguments.get("bytes", 64)
        if not SIZE_MIN.get(name, 0) <= size <= SIZE_MAX.get(name, size):
            return False
        return row.tags[0] in tags

    return only_if


def find(directory):
    """As contenders.find."""
    found = []
    left_out = {}
    for executable, entries in EXECUTABLES.items():
        path = directory / f"bench_channel_{executable}"
        if not path.exists():
            left_out[f"channel_{executable}"] = contenders.reason(
                directory, f"channel_{executable}"
            )
            continue
        has_version = any("{}" in name for name, _, _ in entries)
        version = contenders.version_of([str(path)]) if has_version else ""
        for name, tags, arguments in entries:
            only_if = takes_part(name, tags)
            commands = ("send", "ping", "within", "ready", "recovery", "broadcast", "fan_in", "memory")
            found.append(
                contenders.Contender(
                    name.format(version), [str(path)], commands, arguments, only_if
                )
            )
    return found, left_out
