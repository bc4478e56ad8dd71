# SPDX-License-Identifier: BSL-1.0
"""Who takes part in the group `signal`."""

import contenders

# bench_signal_NAME: the contenders it has, as (name in the result, arguments).
EXECUTABLES = {
    "procyard": (
        ("procyard", {"mechanism": "signalfd"}),
        ("procyard, sigaction", {"mechanism": "sigaction"}),
    ),
    "raw": (("raw signalfd + epoll", {}),),
    "asio": (("asio::signal_set", {}),),
}


def find(directory):
    """As contenders.find."""
    found = []
    left_out = {}
    for executable, entries in EXECUTABLES.items():
        path = directory / f"bench_signal_{executable}"
        if not path.exists():
            left_out[f"signal_{executable}"] = contenders.reason(directory, f"signal_{executable}")
            continue
        for name, arguments in entries:
            found.append(contenders.Contender(name, [str(path)], ("latency",), arguments))
    return found, left_out
