// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_BENCH_CHANNEL_FLOW_HPP
#define PROCYARD_BENCH_CHANNEL_FLOW_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "message.hpp"

namespace bench {

/// Numbers the messages of a sender until the row's time is over (`seconds=`).
class outgoing {
public:
    explicit outgoing(const round_options& options);

    /// Whether the last message has been numbered.
    [[nodiscard]] bool ended() const noexcept { return ended_; }

    [[nodiscard]] std::uint64_t next_number() noexcept
    {
        if (--until_look_ == 0) [[unlikely]]
            look_at_clock();
        return next_++ | (ended_ ? last_message : 0);
    }

    template <std::size_t Bytes>
    void number(message<Bytes>& m) noexcept
    {
        m.set_number(next_number());
    }

    /// Numbers as many as are left, which are those to send.
    template <std::size_t Bytes>
    [[nodiscard]] std::span<const message<Bytes>> number(std::span<message<Bytes>> batch) noexcept
    {
        std::size_t count = 0;
        while (count < batch.size() && !ended_) {
            count += number_until_look(batch.subspan(count));
            if (count < batch.size())
                number(batch[count++]);
        }
        return batch.first(count);
    }

private:
    void look_at_clock() noexcept;

    // Counts in a local variable: a word of a message could be `next_` for all that the compiler
    // knows, and a count in memory takes longer than the whole of a contender's work on a message.
    template <std::size_t Bytes>
    std::size_t number_until_look(std::span<message<Bytes>> batch) noexcept
    {
        const auto run = batch.first(std::min<std::size_t>(batch.size(), until_look_ - 1));
        auto next = next_;
        for (auto& m : run)
            m.set_number(next++);
        next_ = next;
        until_look_ -= run.size();
        return run.size();
    }

    std::uint64_t next_ = 0;
    std::uint64_t until_look_ = 1;
    std::uint64_t stride_ = 1;  // messages between two looks at the clock, which is not free
    double looked_us_ = 0;
    double until_us_;
    bool ended_ = false;
};

/// Checks the numbers of what a receiver gets. The clock starts with the first message: connecting
/// is not the row's business.
class incoming {
public:
    /// Whether there are more to come.
    template <std::size_t Bytes>
    [[nodiscard]] bool take(const message<Bytes>& m)
    {
        if (m.torn()) [[unlikely]]
            fail(m.number(), "torn");
        return take(m.number());
    }

    [[nodiscard]] bool take(std::uint64_t number)
    {
        if (number == expected_) [[likely]] {
            ++expected_;
            return true;
        }
        return take_first_or_last(number);
    }

    template <std::size_t Bytes>
    [[nodiscard]] bool take(std::span<const message<Bytes>> batch)
    {
        for (const auto& m : batch.subspan(take_expected(batch)))
            if (!take(m)) {
                require(&m == &batch.back(), "a message came after the last");
                return false;
            }
        return true;
    }

    /// `take` of a message that is read where it was made.
    template <std::size_t Bytes>
    [[nodiscard]] bool take_all_of(const message<Bytes>& m)
    {
        if (!m.is_all(m.number())) [[unlikely]]
            fail(m.number(), "torn");
        return take(m.number());
    }

    /// Prints what the row asks for: `ns` per message and `gb_per_s`.
    void print(std::size_t message_bytes) const;

private:
    static constexpr std::uint64_t none_yet = last_message - 1;

    // How many of them are what is expected, from the first on. Counted in a local variable, as by
    // `outgoing`.
    template <std::size_t Bytes>
    std::size_t take_expected(std::span<const message<Bytes>> batch) noexcept
    {
        auto next = expected_;
        std::size_t count = 0;
        while (count < batch.size() && batch[count].number() == next && !batch[count].torn()) {
            ++next;
            ++count;
        }
        expected_ = next;
        return count;
    }

    bool take_first_or_last(std::uint64_t number);
    [[noreturn]] void fail(std::uint64_t number, const char* what) const;

    std::uint64_t expected_ = none_yet;
    double first_us_ = 0;
    double last_us_ = 0;
};

/// The round trips of a ping-pong, each from the end of the one before, and the numbers of its
/// messages. The first ones do not count.
class round_trips {
public:
    explicit round_trips(const round_options& options);

    /// Before each: the number of its message.
    [[nodiscard]] std::uint64_t next_number() noexcept
    {
        return next_ | (ended_ ? last_message : 0);
    }

    /// After each, with the answer. Whether it was not the last.
    template <std::size_t Bytes>
    [[nodiscard]] bool take(const message<Bytes>& answer)
    {
        require(answer.number() == next_number() && !answer.torn(),
                "an answer is lost, repeated or torn");
        return end_trip();
    }

    /// `p50_us` and `p99_us`.
    void print();

private:
    bool end_trip();

    std::vector<float> trips_us_;
    std::uint64_t next_ = 0;
    double trip_us_ = 0;  // when the last one ended
    double until_us_;
    bool ended_ = false;
};

}  // namespace bench

#endif
