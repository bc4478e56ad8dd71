// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_OPEN_CALLS_HPP
#define PROCYARD_IPC_DETAIL_OPEN_CALLS_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <unordered_map>
#include <utility>
#include <vector>

#include <procyard/ipc/config.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// The calls that a responder owes an answer, each with what is known of it. Decides what a peer may
// do; sends nothing.
//
// The peer has been told the limit, and numbers its calls upwards. It learns that a place is free
// by the answer, so an honest one never opens more than it may. Whether the answer has left this
// process cannot be asked for that: the peer may have read it before we hear that it was written.
// Hence two bounds: of the calls without an answer (more is against the rules), and of the answers
// that wait for the stream. Each of those was a call of an honest peer, whose places are all taken
// when there are as many as places; who sends more is not reading, and is not read until it does.
template <class Record>
class open_calls {
public:
    enum class verdict : std::uint8_t { fine, against_the_rules };

    explicit open_calls(std::size_t most_open)
        : most_(std::clamp<std::size_t>(most_open, 1, std::numeric_limits<std::uint32_t>::max()))
    {
    }

    [[nodiscard]] std::uint32_t limit() const noexcept { return static_cast<std::uint32_t>(most_); }

    [[nodiscard]] verdict open(std::uint64_t id, Record record)
    {
        if (id <= last_id_ || open_.size() >= most_)
            return verdict::against_the_rules;
        last_id_ = id;
        open_.emplace(id, std::move(record));
        return verdict::fine;
    }

    /// The caller does not wait any more. `out` is what is known of the call, or as it was when the
    /// answer is on its way already.
    [[nodiscard]] verdict cancel(std::uint64_t id, Record& out) const
    {
        if (id == 0 || id > last_id_)
            return verdict::against_the_rules;
        if (const auto found = open_.find(id); found != open_.end())
            out = found->second;
        return verdict::fine;
    }

    /// @return false when there is no such call any more
    [[nodiscard]] bool answer(std::uint64_t id)
    {
        if (open_.erase(id) == 0)
            return false;
        ++unsent_;
        return true;
    }
    /// The stream has taken an answer.
    void sent() noexcept { --unsent_; }

    [[nodiscard]] bool may_read() const noexcept { return unsent_ < most_; }
    [[nodiscard]] std::size_t open() const noexcept { return open_.size(); }
    [[nodiscard]] std::size_t unsent() const noexcept { return unsent_; }

    /// The end: nobody is owed anything.
    void abandon(std::vector<Record>& out)
    {
        for (auto& [id, record] : open_)
            out.push_back(std::move(record));
        open_.clear();
    }

private:
    std::size_t most_;
    std::uint64_t last_id_ = 0;
    std::size_t unsent_ = 0;
    std::unordered_map<std::uint64_t, Record> open_;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
