// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_PIPELINE_ACCESS_HPP
#define PROCYARD_RUNTIME_SRC_PIPELINE_ACCESS_HPP

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/pipeline.hpp>
#include <procyard/runtime/spawn_error.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// The library's view of what users only describe.
struct pipeline_access {
    using part = pipeline::part;
    static const std::vector<part>& stages(const pipeline& p) noexcept { return p.stages_; }
    static std::vector<part>& stages(pipeline& p) noexcept { return p.stages_; }
    static pipefail policy(const pipeline& p) noexcept { return p.policy_; }
    static const std::shared_ptr<pipeline_core>& core(const running_pipeline& p) noexcept
    {
        return p.core_;
    }
    static running_pipeline make(std::shared_ptr<pipeline_core> core, std::vector<child> children)
    {
        return {std::move(core), std::move(children)};
    }
    static std::size_t pipe_capacity(const pipeline& p) noexcept { return p.pipe_capacity_bytes_; }
};

// Refuses what can be seen to be wrong without creating anything.
[[nodiscard]] spawn_failure check(const pipeline& what);

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
