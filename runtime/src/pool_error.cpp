// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/pool_error.hpp>

#include <boost/asio/error.hpp>
#include <boost/assert.hpp>
#include <boost/system/errc.hpp>
#include <boost/system/error_condition.hpp>

#include <string>

PROCYARD_NAMESPACE_BEGIN

namespace {

class pool_error_category final : public boost::system::error_category {
public:
    const char* name() const noexcept override { return "procyard.pool"; }

    std::string message(int value) const override
    {
        switch (static_cast<pool_errc>(value)) {
        case pool_errc::task_failed: return "task has failed";
        case pool_errc::worker_died: return "worker has died while it ran the task";
        case pool_errc::queue_deadline: return "queue deadline: task was not begun in time";
        case pool_errc::run_deadline: return "run deadline: task has run for too long";
        case pool_errc::heartbeat_lost: return "heartbeat lost: worker's loop stands still";
        case pool_errc::poisoned: return "task has killed too many workers";
        case pool_errc::truncated: return "stream has ended before its end";
        case pool_errc::not_ready: return "too few workers are ready";
        case pool_errc::stopped: return "pool is stopped";
        case pool_errc::bad_message: return "request or response is not of the right form";
        }
        return "unknown pool error " + std::to_string(value);
    }

    boost::system::error_condition default_error_condition(int value) const noexcept override
    {
        namespace errc = boost::system::errc;
        switch (static_cast<pool_errc>(value)) {
        case pool_errc::queue_deadline:
        case pool_errc::run_deadline:
        case pool_errc::heartbeat_lost: return make_error_condition(errc::timed_out);
        case pool_errc::not_ready:
            return make_error_condition(errc::resource_unavailable_try_again);
        case pool_errc::stopped: return make_error_condition(errc::operation_canceled);
        case pool_errc::bad_message: return make_error_condition(errc::bad_message);
        case pool_errc::task_failed:
        case pool_errc::worker_died:
        case pool_errc::poisoned:
        case pool_errc::truncated: break;
        }
        return error_category::default_error_condition(value);
    }
};

}  // namespace

std::string_view to_string(pool_outcome what) noexcept
{
    switch (what) {
    case pool_outcome::done: return "done";
    case pool_outcome::task_failed: return "task failed";
    case pool_outcome::worker_died: return "worker died";
    case pool_outcome::queue_deadline: return "queue deadline";
    case pool_outcome::run_deadline: return "run deadline";
    case pool_outcome::heartbeat_lost: return "heartbeat lost";
    case pool_outcome::cancelled: return "cancelled";
    case pool_outcome::poisoned: return "poisoned";
    case pool_outcome::stopped: return "stopped";
    }
    BOOST_ASSERT_MSG(false, "pool_outcome: no such value");
    return "?";
}

const boost::system::error_category& pool_category() noexcept
{
    static const pool_error_category category;
    return category;
}

error_code make_pool_error(pool_outcome what) noexcept
{
    switch (what) {
    case pool_outcome::done: return {};
    case pool_outcome::task_failed: return pool_errc::task_failed;
    case pool_outcome::worker_died: return pool_errc::worker_died;
    case pool_outcome::queue_deadline: return pool_errc::queue_deadline;
    case pool_outcome::run_deadline: return pool_errc::run_deadline;
    case pool_outcome::heartbeat_lost: return pool_errc::heartbeat_lost;
    case pool_outcome::cancelled: return asio::error::operation_aborted;
    case pool_outcome::poisoned: return pool_errc::poisoned;
    case pool_outcome::stopped: return pool_errc::stopped;
    }
    BOOST_ASSERT_MSG(false, "pool_outcome: no such value");
    return pool_errc::stopped;
}

PROCYARD_NAMESPACE_END
