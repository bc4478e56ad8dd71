// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/pipeline.hpp>

#include <iterator>
#include <ostream>

PROCYARD_NAMESPACE_BEGIN

pipeline::pipeline(command only)
{
    stages_.push_back({.what = std::move(only)});
}

pipeline::pipeline(stage only)
{
    stages_.push_back({.what = command(std::move(only.name_)),
                       .body = std::move(only.body_),
                       .is_coroutine = true});
}

pipeline& pipeline::append(pipeline next)
{
    stages_.insert(stages_.end(), std::make_move_iterator(next.stages_.begin()),
                   std::make_move_iterator(next.stages_.end()));
    if (pipe_capacity_bytes_ == 0)
        pipe_capacity_bytes_ = next.pipe_capacity_bytes_;
    if (policy_ == pipefail::forgive_broken_pipe)
        policy_ = next.policy_;
    return *this;
}

pipeline operator|(pipeline left, pipeline right)
{
    left.append(std::move(right));
    return left;
}

pipeline& pipeline::std_in(stdio source)
{
    PROCYARD_ASSERT(!empty() && "a pipeline without stages has no ends");
    stages_.front().what.std_in(std::move(source));
    return *this;
}

pipeline& pipeline::std_out(stdio target)
{
    PROCYARD_ASSERT(!empty() && "a pipeline without stages has no ends");
    stages_.back().what.std_out(std::move(target));
    return *this;
}

pipeline& pipeline::pipe_capacity(std::size_t capacity_bytes) noexcept
{
    pipe_capacity_bytes_ = capacity_bytes;
    return *this;
}

pipeline& pipeline::policy(pipefail which) noexcept
{
    policy_ = which;
    return *this;
}

const std::string& pipeline::name(std::size_t index) const noexcept
{
    PROCYARD_ASSERT(index < size() && "a stage of this pipeline");
    return stages_[index].what.program();
}

std::string pipeline::to_string() const
{
    std::string text;
    for (const auto& one : stages_) {
        if (!text.empty())
            text += " | ";
        text += one.is_coroutine ? '[' + one.what.program() + ']' : one.what.to_string();
    }
    return text;
}

std::ostream& operator<<(std::ostream& out, const pipeline& p)
{
    return out << p.to_string();
}

PROCYARD_NAMESPACE_END
