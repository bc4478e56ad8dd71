// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_FED_TARGET_HPP
#define PROCYARD_RUNTIME_SRC_FED_TARGET_HPP

#include <memory>
#include <utility>

#include <procyard/ipc/config.hpp>

#include "run_shell.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// A target as a run stops it: its input is fed by somebody who has to know that it is closed.
template <class Target>
class fed_target final : public Target {
public:
    template <class... Args>
    explicit fed_target(std::weak_ptr<run_shell> run, Args&&... args)
        : Target(std::forward<Args>(args)...),
          run_(std::move(run))
    {
    }

    void close_stdin() noexcept override
    {
        if (const auto run = run_.lock())
            run->stop_feeding();
    }

private:
    std::weak_ptr<run_shell> run_;  // which holds this
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
