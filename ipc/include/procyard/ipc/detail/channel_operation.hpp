// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_CHANNEL_OPERATION_HPP
#define PROCYARD_IPC_DETAIL_CHANNEL_OPERATION_HPP

#include <boost/asio/any_completion_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/handler_place.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// The memory of an end's operations: keeps that of the last one for the next, so that none is
// allocated for a message once the first has gone through.
//
// Rejected: asio::recycling_allocator. It keeps two blocks for a thread, and a handler and what the
// executor makes of a turn are two already.
class operation_memory {
public:
    operation_memory() = default;
    operation_memory(const operation_memory&) = delete;
    operation_memory& operator=(const operation_memory&) = delete;
    ~operation_memory() { ::operator delete(spare_, alignment); }

    // A line: messages may be aligned to one.
    static constexpr std::align_val_t alignment{64};

    /// At least `bytes`; says how many these are.
    [[nodiscard]] void* take(std::size_t& bytes)
    {
        if (spare_ == nullptr || spare_bytes_ < bytes)
            return ::operator new(bytes, alignment);
        bytes = spare_bytes_;
        return std::exchange(spare_, nullptr);
    }
    void give_back(void* at, std::size_t bytes) noexcept
    {
        ::operator delete(std::exchange(spare_, at), alignment);
        spare_bytes_ = bytes;
    }

private:
    void* spare_ = nullptr;
    std::size_t spare_bytes_ = 0;
};

// An asynchronous operation on an end of a channel.
//
//   start --> posted --turn--> done                    claimed something, failed, or was aborted
//       |\        \--turn, blocked--> waiting --woken--> (the same turn again)
//       | \--others are before it--> parked --they are done--> posted
//        \--nothing is there--> waiting
//
//   posted:  a turn of the handler's executor is on its way; nothing has been claimed.
//   waiting: the reactor watches the doorbell; nothing has been claimed.
//   parked:  behind others of the same end. One operation at a time waits for the doorbell, so that
//            none can take the ring that was meant for another.
//   done:    the handler runs in the turn that has claimed the message, before anything else does.
//            So whoever cancels an operation that has not completed knows that it has taken
//            nothing, and sent nothing.
//
// Who waits for the channel's end and takes nothing (async_wait_closed) is in another line: it
// waits for the button to be let go and not for a ring, so it is in nobody's way. So is who never
// waits (a send with when_full::fail or drop_newest): it is behind others of its kind for a turn,
// and behind none that waits.
//
// Owned by the function object that the executor or the reactor holds, a parked one by the one
// before it; the end only knows them. So an io_context that goes down takes all of them along.
class channel_operation {
public:
    enum class progress : std::uint8_t { done, blocked };

    channel_operation() = default;
    channel_operation(const channel_operation&) = delete;
    channel_operation& operator=(const channel_operation&) = delete;
    virtual ~channel_operation() = default;

    // In its end's memory, which outlives it.
    template <class Operation, class... Args>
    [[nodiscard]] static std::unique_ptr<Operation> make(operation_memory& memory, Args&&... args)
    {
        static_assert(alignof(Operation) <= static_cast<std::size_t>(operation_memory::alignment),
                      "a message that is aligned to more than 64 bytes can be used in place only: "
                      "by async_loan and async_receive_some");
        auto bytes = sizeof(Operation);
        void* const at = memory.take(bytes);
        try {
            std::unique_ptr<Operation> made(::new (at) Operation(std::forward<Args>(args)...));
            made->memory_ = &memory;
            made->bytes_ = bytes;
            return made;
        } catch (...) {
            memory.give_back(at, bytes);
            throw;
        }
    }
    static void operator delete(channel_operation* self, std::destroying_delete_t) noexcept
    {
        auto* const memory = self->memory_;
        const auto bytes = self->bytes_;
        self->~channel_operation();
        memory->give_back(self, bytes);
    }

    // Tries to do it, without waiting. `done`: its result is remembered, also a failure.
    // `blocked`: it has changed nothing, and needs room for `wanted` units.
    [[nodiscard]] virtual progress attempt() = 0;
    // Calls the handler, with the result of attempt() or with this error. `self` is this operation:
    // its memory is free before the handler runs.
    virtual void complete(std::unique_ptr<channel_operation> self, const error_code& instead) = 0;

    std::uint64_t wanted = 1;
    std::uint64_t serial = 0;      // names it for a late cancellation; never used twice
    std::uint64_t generation = 0;  // of the ring at which it waits
    bool aborted = false;          // completes with operation_aborted in its next turn
    bool waiting = false;
    bool at_once = false;  // never waits
    bool for_end = false;  // waits for the channel's end alone
    handler_place place = handler_place::same_turn;
    asio::any_completion_executor handler_work;  // of a handler that runs elsewhere, kept busy
    asio::cancellation_signal wake;              // ends the wait in the reactor
    std::unique_ptr<channel_operation> next;     // parked

private:
    operation_memory* memory_ = nullptr;
    std::size_t bytes_ = 0;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
