// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/task_group.hpp>

#include <boost/system/system_error.hpp>

#include <ostream>
#include <string_view>

#include "task_group_core.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

void start_task(const std::shared_ptr<task_group_core>& core, task_name name,
                asio::awaitable<void> body, asio::any_completion_handler<void(error_code)> handler)
{
    core->start_spawn(std::move(name), std::move(body), std::move(handler));
}

void start_join(const std::shared_ptr<task_group_core>& core,
                asio::any_completion_handler<void(std::exception_ptr)> handler)
{
    core->start_join(std::move(handler));
}

}  // namespace detail

std::ostream& operator<<(std::ostream& out, const task_name& name)
{
    const std::string_view file = name.where.file_name();
    const auto slash = file.rfind('/');
    return out << (name.text.empty() ? "unnamed" : name.text) << " ("
               << (slash == file.npos ? file : file.substr(slash + 1)) << ':' << name.where.line()
               << ')';
}

task_group::task_group(asio::any_io_executor ex, task_group_options options)
    : core_(std::make_shared<detail::task_group_core>(std::move(ex), std::move(options)))
{
    core_->heed_cancellation();
}

task_group& task_group::operator=(task_group&& other) noexcept
{
    if (this != &other) {
        drop();
        core_ = std::move(other.core_);
    }
    return *this;
}

task_group::~task_group()
{
    drop();
}

void task_group::drop() noexcept
{
    if (core_)
        core_->drop();
}

task_group::executor_type task_group::get_executor() const noexcept
{
    return core_->executor();
}

void task_group::spawn(task_name name, asio::awaitable<void> body, error_code& ec)
{
    core_->spawn(std::move(name), std::move(body), ec);
}

void task_group::spawn(task_name name, asio::awaitable<void> body)
{
    const std::string called = name.text;
    error_code ec;
    spawn(std::move(name), std::move(body), ec);
    if (ec)
        throw boost::system::system_error(ec, "task \"" + called + '"');
}

void task_group::cancel(const cancellation_reason& reason) noexcept
{
    core_->cancel(reason);
}

cancellation_token task_group::token() const noexcept
{
    return core_->token();
}

std::size_t task_group::size() const
{
    return core_->size();
}

std::vector<task_info> task_group::running() const
{
    return core_->running();
}

PROCYARD_NAMESPACE_END
