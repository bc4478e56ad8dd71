// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/worker_entries.hpp>

#include <boost/asio/io_context.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#include "nanoseconds.hpp"
#include "pool_wire.hpp"
#include "worker_core.hpp"

PROCYARD_NAMESPACE_BEGIN

worker_entries::worker_entries() = default;
worker_entries::worker_entries(worker_entries&&) noexcept = default;
worker_entries& worker_entries::operator=(worker_entries&&) noexcept = default;
worker_entries::~worker_entries() = default;

void worker_entries::add_erased(std::string name, std::unique_ptr<detail::pool_handler> handler,
                                worker_warm_up warm_up)
{
    if (name.empty())
        throw std::invalid_argument("worker_entries: an entry has no name");
    const bool is_there = std::any_of(entries_.begin(), entries_.end(),
                                      [&](const entry& one) { return one.name == name; });
    if (is_there)
        throw std::invalid_argument("worker_entries: there are two entries \"" + name + '"');
    entries_.push_back({std::move(name), std::move(handler), std::move(warm_up)});
}

std::string worker_entries::names() const
{
    std::string all;
    for (const auto& one : entries_)
        all += (all.empty() ? "\"" : ", \"") + one.name + '"';
    return all.empty() ? "none" : all;
}

namespace {

// What is in a variable that a pool has set for this process, and not for its children. Null: it is
// not there.
std::optional<std::string> take_variable(std::string_view name)
{
    const std::string variable(name);
    const char* const value = std::getenv(variable.c_str());
    if (value == nullptr)
        return std::nullopt;
    std::optional<std::string> taken(value);
    (void)::unsetenv(variable.c_str());
    return taken;
}

// None, or none that can be read: none is needed.
std::chrono::nanoseconds take_spin()
{
    const auto text = take_variable(detail::pool_spin_variable);
    return text ? detail::parse_nanoseconds(*text).value_or(std::chrono::nanoseconds(0))
                : std::chrono::nanoseconds(0);
}

}  // namespace

std::optional<int> worker_entries::run_if_worker()
{
    const auto wanted = take_variable(detail::pool_entry_variable);
    if (!wanted)
        return std::nullopt;
    const auto& name = *wanted;
    const auto found = std::find_if(entries_.begin(), entries_.end(),
                                    [&](const entry& one) { return one.name == name; });
    const bool is_known = found != entries_.end();
    try {
        asio::io_context ctx(1);
        detail::worker_core core(ctx, name, is_known ? found->handler.get() : nullptr,
                                 is_known ? &found->warm_up : nullptr,
                                 is_known ? std::string()
                                          : "this program has no entry \"" + name + "\"; it has "
                                         + names(),
                                 take_spin());
        return core.run();
    } catch (const std::exception& e) {
        (void)std::fprintf(stderr, "procyard worker: %s\n", e.what());
    }
    constexpr int internal_failure = 70;
    return internal_failure;
}

namespace detail {

void answer_job(const pool_job& what, const answer_writer& response)
{
    const auto& task = *what.task();
    if (task.core != nullptr)
        task.core->answer(*what.task(), response);
}

void end_job(const pool_job& what)
{
    const auto& task = *what.task();
    if (task.core != nullptr)
        task.core->answer_without(*what.task());
}

void refuse_request(const type_description& type)
{
    throw std::invalid_argument("the request is no " + type.name);
}

}  // namespace detail

PROCYARD_NAMESPACE_END
