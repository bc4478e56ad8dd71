// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/tree.hpp>

#include <ostream>

PROCYARD_NAMESPACE_BEGIN

std::string_view to_string(tree_mode mode) noexcept
{
    switch (mode) {
    case tree_mode::automatic: return "automatic";
    case tree_mode::cgroup: return "cgroup";
    case tree_mode::subreaper: return "subreaper";
    case tree_mode::process_group: return "process group";
    case tree_mode::none: return "none";
    }
    return "unknown tree mode";
}

std::string_view to_string(tree_mechanism mechanism) noexcept
{
    switch (mechanism) {
    case tree_mechanism::cgroup: return "cgroup";
    case tree_mechanism::subreaper: return "subreaper";
    case tree_mechanism::process_group: return "process group";
    case tree_mechanism::none: return "none";
    }
    return "unknown tree mechanism";
}

std::ostream& operator<<(std::ostream& out, tree_mode mode)
{
    return out << to_string(mode);
}

std::ostream& operator<<(std::ostream& out, tree_mechanism mechanism)
{
    return out << to_string(mechanism);
}

PROCYARD_NAMESPACE_END
