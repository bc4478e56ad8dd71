// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_EXAMPLES_DEMO_WHOLE_TREE_HPP
#define PROCYARD_EXAMPLES_DEMO_WHOLE_TREE_HPP

#include <procyard/runtime/spawn_error.hpp>

namespace demo {

/// Whether a spawn with `tree_mode::cgroup` failed because there is none to be had. The demo asks
/// for `tree_mode::subreaper` then: `automatic` would be a process group, which a daemon leaves.
/// (A library should not do that unasked, since it changes the host; here the host is ours.)
inline bool means_no_cgroup(const procyard::spawn_failure& failure) noexcept
{
    using procyard::spawn_step;
    return failure.step == spawn_step::tree || failure.step == spawn_step::cgroup
        || failure.step == spawn_step::clone;
}

}  // namespace demo

#endif
