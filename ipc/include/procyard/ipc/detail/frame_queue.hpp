// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_FRAME_QUEUE_HPP
#define PROCYARD_IPC_DETAIL_FRAME_QUEUE_HPP

#include <boost/asio/buffer.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/error.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/framed_error.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// Frames that wait to be written, in order, each with who waits for it. Decides what a write and a
// cancellation mean; writes nothing.
//
//   queued --written in part--> started --the rest--> done: success
//     | cancelled                 | cancelled, terminal
//     v                           v
//   done: operation_aborted     done: half_sent; the rest stays, nobody waits for it
//
// queued:  not a byte is out: a cancellation takes the frame away as if it had never been there.
// started: the peer has seen the beginning; without the rest it would understand nothing any more.
//          So the rest stays in any case, and only a terminal cancellation ends the wait for it.
//
// While a write is in flight nothing is taken away, since it looks at the bytes: cancellations are
// remembered and applied when it has ended.
template <class Waiter>
class frame_queue {
public:
    struct done {
        Waiter waiter;
        error_code ec;
    };
    /// More buffers than these do not make a write faster.
    static constexpr std::size_t most_buffers = 16;

    /// What cancel() will know the next frame by.
    [[nodiscard]] std::uint64_t next_id() const noexcept { return next_id_; }
    /// @return what cancel() knows the frame by
    std::uint64_t push(std::vector<std::byte> bytes, Waiter waiter)
    {
        entries_.push_back(
            {std::move(bytes), 0, std::move(waiter), asio::cancellation_type::none, next_id_});
        ++waiting_;
        return next_id_++;
    }

    /// Whether there is somebody to write for.
    [[nodiscard]] bool waiting() const noexcept { return waiting_ != 0; }
    [[nodiscard]] bool in_flight() const noexcept { return in_flight_; }

    /// What to write next: a part of the first frames. A write is in flight then, until written().
    [[nodiscard]] std::span<const asio::const_buffer> gather()
    {
        std::size_t count = 0;
        for (const auto& each : entries_) {
            if (count == most_buffers)
                break;
            if (each.left() != 0)
                buffers_[count++] = asio::buffer(each.bytes) + each.written;
        }
        in_flight_ = true;
        return std::span(buffers_).first(count);
    }

    /// A write has ended, with `n` bytes written.
    void written(std::size_t n, const error_code& ec, std::vector<done>& out)
    {
        in_flight_ = false;
        pop_written(n, out);
        if (ec == asio::error::operation_aborted && std::exchange(stopping_, false))
            apply_cancellations(out);
        else if (ec)
            give_up(ec, out);
        else
            apply_cancellations(out);
        stopping_ = false;
    }

    /// @return whether the write that is in flight has to be stopped
    bool cancel(std::uint64_t id, asio::cancellation_type type, std::vector<done>& out)
    {
        for (auto& each : entries_) {
            if (each.id != id || !each.waiter)
                continue;
            each.cancelled = each.cancelled | type;
            if (in_flight_) {
                stopping_ = true;
                return true;
            }
            apply_cancellations(out);
            return false;
        }
        return false;
    }

    /// The write in flight has gone without an end: so has all that waited for it.
    void drop(std::vector<done>& out)
    {
        in_flight_ = false;
        abandon(out);
    }

    /// Nobody waits any more.
    void abandon(std::vector<done>& out)
    {
        for (auto& each : entries_)
            finish(each, asio::error::operation_aborted, out);
        if (!in_flight_)
            entries_.clear();
    }

private:
    struct entry {
        std::vector<std::byte> bytes;
        std::size_t written;
        std::optional<Waiter> waiter;
        asio::cancellation_type cancelled;
        std::uint64_t id;

        [[nodiscard]] std::size_t left() const noexcept { return bytes.size() - written; }
    };

    void finish(entry& one, const error_code& ec, std::vector<done>& out)
    {
        if (!one.waiter)
            return;
        out.push_back({std::move(*one.waiter), ec});
        one.waiter.reset();
        --waiting_;
    }

    void pop_written(std::size_t n, std::vector<done>& out)
    {
        while (!entries_.empty()) {
            auto& first = entries_.front();
            const auto part = n < first.left() ? n : first.left();
            first.written += part;
            n -= part;
            if (first.left() != 0)
                return;
            finish(first, {}, out);
            entries_.pop_front();
        }
    }

    void apply_cancellations(std::vector<done>& out)
    {
        using type = asio::cancellation_type;
        for (auto& each : entries_) {
            if (each.cancelled == type::none)
                continue;
            if (each.written == 0)
                finish(each, asio::error::operation_aborted, out);
            else if ((each.cancelled & type::terminal) != type::none)
                finish(each, framed_errc::half_sent, out);
            each.cancelled = type::none;
        }
        drop_unstarted();
    }

    // The stream has failed, or somebody has stopped the write from outside.
    void give_up(const error_code& ec, std::vector<done>& out)
    {
        const bool aborted = ec == asio::error::operation_aborted;
        for (auto& each : entries_)
            finish(each, aborted && each.written != 0 ? framed_errc::half_sent : ec, out);
        drop_unstarted();
    }

    void drop_unstarted()
    {
        std::erase_if(entries_, [](const entry& e) { return !e.waiter && e.written == 0; });
    }

    std::deque<entry> entries_;
    std::array<asio::const_buffer, most_buffers> buffers_;
    std::uint64_t next_id_ = 1;
    std::size_t waiting_ = 0;
    bool in_flight_ = false;
    bool stopping_ = false;  // we have asked the write in flight to end
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
