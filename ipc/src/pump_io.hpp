// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_SRC_PUMP_IO_HPP
#define PROCYARD_IPC_SRC_PUMP_IO_HPP

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include <procyard/ipc/config.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// How a turn of a pump ended.
enum class pump_status : std::uint8_t {
    more,          // moved what was asked for, or what is enough for one turn
    source_empty,  // would wait for the source
    sink_full,     // would wait for the sink
    end,           // of the source
    source_failed,
    sink_failed,
    unsupported  // no splice between these two; reading and writing will do, or tell why not
};

struct pump_step {
    pump_status status = pump_status::more;
    std::uint64_t bytes = 0;  // taken by the sink, in any case
    error_code ec{};
};

// One turn: at most so many calls, of at most so many bytes each (what the largest usual pipe
// holds).
inline constexpr int pump_calls_per_turn = 16;
inline constexpr std::uint64_t splice_bytes_per_call = std::uint64_t{1} << 20U;

// Moves up to `most` bytes from one non-blocking descriptor to another in the kernel, until one of
// the two would wait. Never raises SIGPIPE.
[[nodiscard]] pump_step splice_now(int source, int sink, std::uint64_t most) noexcept;

// Bytes between a source that gave them and a sink that has not taken them.
class pump_buffer {
public:
    explicit pump_buffer(std::size_t size_bytes) noexcept : capacity_(size_bytes) { }

    [[nodiscard]] bool empty() const noexcept { return begin_ == end_; }
    [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
    [[nodiscard]] std::string_view rest() const noexcept
    {
        return {data_.get() + begin_, end_ - begin_};
    }
    // All of it, to be filled while it is empty. Takes the memory when first called.
    [[nodiscard]] char* room()
    {
        if (!data_)
            data_ = std::make_unique_for_overwrite<char[]>(capacity_);
        return data_.get();
    }
    void filled(std::size_t n) noexcept
    {
        begin_ = 0;
        end_ = n;
    }
    void taken(std::size_t n) noexcept { begin_ += n; }

private:
    std::size_t capacity_;
    std::unique_ptr<char[]> data_;
    std::size_t begin_ = 0;
    std::size_t end_ = 0;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
