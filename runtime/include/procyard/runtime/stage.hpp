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
#include <procyard/runtime/run_output.hpp>

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

/// A stage that passes on what it reads and gives it to the targets, too: what `tee` is to a shell.
/// @code
/// command("make") | tee(run_output().to_file("build.log").each_line(on_line)) | command("grep", …)
/// @endcode
/// The targets are the sinks of a `run_output`, at least one, and no capture: what that kept would
/// be in no result. The next stage and the targets get every byte, in order; the next bytes are
/// read when all have taken the last ones, so a slow one slows the stages before.
///
/// A target that fails gets nothing more and leaves the others and the next stage alone; when the
/// input has ended the stage fails with that target's error. When the next stage has had enough,
/// the tee ends as well (`stage_end::broken_pipe`), so that the stages before learn of it.
/// @par Errors          None here. In the stage's result: the first of what the targets failed
///                      with, and `operation_aborted` when the pipeline was stopped.
/// @par Cancellation    As for any stage: terminal. Gives up what a target still holds.
/// @par Thread safety   Callbacks and coroutines run in the stage's strand.
/// @par Lifetime        The targets are copied into the stage. A stream among them serves one run.
/// @par Cost            One buffer of 64 KiB while there is something to pass on; the bytes are
///                      copied through this process.
[[nodiscard]] PROCYARD_RUNTIME_EXPORT stage tee(run_output targets, std::string name = "tee");

PROCYARD_NAMESPACE_END

#endif
