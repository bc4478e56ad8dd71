// SPDX-License-Identifier: BSL-1.0
#include "tree_kin.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

void kin_numbers::retire(pid_t pid, bool group, bool session)
{
    if (group || session)
        entries_[pid] = {std::nullopt, group, session};
    else
        entries_.erase(pid);
}

const kin_numbers::entry* kin_numbers::find(pid_t pid) const
{
    const auto found = entries_.find(pid);
    return found == entries_.end() ? nullptr : &found->second;
}

std::optional<std::size_t> kin_numbers::member(pid_t pid) const
{
    const auto* const found = find(pid);
    return found == nullptr ? std::nullopt : found->member;
}

bool kin_numbers::leads(pid_t group, pid_t session) const
{
    const auto* const by_group = find(group);
    if (by_group != nullptr && by_group->group)
        return true;
    const auto* const by_session = find(session);
    return by_session != nullptr && by_session->session;
}

kinship kin_numbers::relate(const process_record& record) const
{
    if (const auto* const parent = find(record.parent); parent != nullptr && parent->member)
        return kinship::child;
    if (const auto* const leader = find(record.group); leader != nullptr && leader->group)
        return kinship::group;
    if (const auto* const leader = find(record.session); leader != nullptr && leader->session)
        return kinship::session;
    return kinship::none;
}

}  // namespace detail

PROCYARD_NAMESPACE_END
