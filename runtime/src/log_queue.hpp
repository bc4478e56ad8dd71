// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_LOG_QUEUE_HPP
#define PROCYARD_RUNTIME_SRC_LOG_QUEUE_HPP

#include <cstddef>
#include <cstdint>
#include <new>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/service_log.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// The lines that wait for a sink, and those that it has. It decides which are lost, and counts
// them: every line that was pushed is handed out, waits, or is in lost().
//
// Their bytes stand in one buffer behind each other, so that a line costs no allocation of its own;
// a batch is that buffer, and the one of the batch before is filled next.
class log_queue {
public:
    static constexpr std::size_t cost_of_line = 16;
    // What two pipes hold, with some more for each line.
    static constexpr std::size_t left_behind = std::size_t{8} << 20;

    explicit log_queue(const log_options& how) : how_(how) { }

    [[nodiscard]] bool empty() const noexcept { return first_ == lines_.size(); }
    // Room for nothing more: with `block` the time to stop reading.
    [[nodiscard]] bool full() const noexcept { return bytes_waiting() >= how_.most_bytes; }
    [[nodiscard]] bool blocks() const noexcept { return how_.when_full == full_log::block; }
    [[nodiscard]] std::uint64_t lost() const noexcept { return lost_; }

    // With `block`, who brings lines stops when it is full; what comes all the same, from one who
    // has ended, is kept up to a bound of its own. Without memory the line is lost, as one for
    // which there is no room: whoever gets the next batch is told of both.
    void push(service_output from, std::string_view line) noexcept
    {
        if (!make_room(line.size() + cost_of_line))
            return;
        // The bytes first: without their line they are taken back, and cost nothing.
        const auto before = bytes_.size();
        try {
            bytes_ += line;
            lines_.push_back({from, line.size()});
        } catch (const std::bad_alloc&) {
            bytes_.resize(before);
            lose_before_next(1);
        }
    }
    // Lines that have come, and not to the queue.
    void lose_before_next(std::uint64_t lines) noexcept
    {
        lost_ += lines;
        lost_since_ += lines;
    }

    // All that waits. The views are valid until the next call. Without memory it throws, and what
    // waits goes on waiting.
    [[nodiscard]] log_batch take()
    {
        given_bytes_.clear();
        given_.clear();
        given_.reserve(lines_.size() - first_);
        std::swap(given_bytes_, bytes_);
        std::string_view rest = std::string_view(given_bytes_).substr(begin_);
        for (; first_ < lines_.size(); ++first_) {
            given_.push_back({lines_[first_].from, rest.substr(0, lines_[first_].size)});
            rest.remove_prefix(lines_[first_].size);
        }
        lines_.clear();
        first_ = 0;
        begin_ = 0;
        return {given_, std::exchange(lost_since_, 0)};
    }

    // The batch that was taken has got nowhere.
    void lose_taken() noexcept
    {
        lost_ += given_.size();
        given_.clear();
    }
    // Nobody takes anything any more.
    void lose_all() noexcept
    {
        lost_ += lines_.size() - first_;
        lines_.clear();
        bytes_.clear();
        first_ = 0;
        begin_ = 0;
    }
    void lose_one() noexcept { ++lost_; }

private:
    struct record {
        service_output from;
        std::size_t size;
    };

    [[nodiscard]] std::size_t bytes_waiting() const noexcept
    {
        return bytes_.size() - begin_ + (lines_.size() - first_) * cost_of_line;
    }

    [[nodiscard]] bool make_room(std::size_t needed) noexcept
    {
        const auto most = how_.most_bytes + (blocks() ? left_behind : 0);
        if (needed > most) {
            lose_before_next(1);
            return false;
        }
        while (bytes_waiting() + needed > most) {
            begin_ += lines_[first_++].size;
            lose_before_next(1);
        }
        // Not with each line: moving the rest to the front costs as much as it is long.
        if (begin_ > most || first_ > most / cost_of_line) {
            bytes_.erase(0, std::exchange(begin_, 0));
            lines_.erase(lines_.begin(),
                         lines_.begin() + static_cast<std::ptrdiff_t>(std::exchange(first_, 0)));
        }
        return true;
    }

    log_options how_;
    std::string bytes_{};
    std::vector<record> lines_{};
    std::size_t begin_ = 0;  // of the bytes of those that wait
    std::size_t first_ = 0;  // of those that wait
    std::string given_bytes_{};
    std::vector<log_line> given_{};
    std::uint64_t lost_ = 0;
    std::uint64_t lost_since_ = 0;  // the last batch
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
