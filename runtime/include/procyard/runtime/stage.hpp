// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_STAGE_HPP
#define PROCYARD_RUNTIME_STAGE_HPP

#include <boost/asio/awaitable.hpp>

#include <functional>
#include <string>
#include <utility>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/pipe.hpp>
#include <procyard/runtime/export.hpp>

PROCYARD_NAMESPACE_BEGIN

/// A stage of a pipeline that is a coroutine in this process.
///
/// It reads what the stage before it writes, and writes what the one behind it reads. It owns both
/// ends: when it returns or throws, they close, and its neighbours see the end of their input and a
/// broken pipe. What it throws is the stage's result (`stage_result::exception`) and goes nowhere
/// else; `broken_pipe` that escapes counts like a SIGPIPE. End-of-file is not caught for it: a
/// stage that lets `asio::error::eof` escape has failed, because it may have been in the middle of
/// something.
///
/// The function object is copied for each run and kept until the coroutine has ended, so a lambda's
/// captures live long enough; what they refer to is the caller's business. The coroutine runs in a
/// strand of its own on the pipeline's executor. Stopping the pipeline cancels it (terminal) and
/// waits for it: one that refuses the cancellation holds the stop up.
///
/// At the ends of a pipeline there is nothing to inherit: the first reads end-of-file and what the
/// last writes is thrown away, unless `pipeline::std_in` and `std_out` say otherwise.
/// @par Thread safety   A value. Distinct objects: safe. Shared objects: unsafe.
/// @par Example         @snippet examples/05_coroutine_stage.cpp stage
class PROCYARD_RUNTIME_EXPORT stage {
public:
    using function = std::function<asio::awaitable<void>(pipe_reader in, pipe_writer out)>;

    stage(std::string name, function body) : name_(std::move(name)), body_(std::move(body)) { }
    /// Named `coroutine`.
    explicit stage(function body) : stage("coroutine", std::move(body)) { }

    [[nodiscard]] const std::string& name() const noexcept { return name_; }

private:
    friend class pipeline;

    std::string name_;
    function body_;
};

PROCYARD_NAMESPACE_END

#endif
