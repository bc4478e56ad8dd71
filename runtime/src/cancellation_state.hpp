// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_CANCELLATION_STATE_HPP
#define PROCYARD_RUNTIME_SRC_CANCELLATION_STATE_HPP

#include <boost/asio/execution_context.hpp>

#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/cancellation.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// What the copies of a source and their tokens share.
//
//   open --cancel--> cancelled
//     \--owner gone, and no parent (left)--> abandoned
//
//   open:      listeners wait.
//   cancelled: the word has the reason. There are no listeners, and who comes is told at once.
//   abandoned: nobody is left who could cancel. The same, but that they hear of this.
//
// The word decides, by one exchange; the mutex guards the list. Who cancels sets the word first and
// takes the list afterwards; who registers looks at the word with the mutex held. So a listener is
// either in the list that is taken, or sees the word: it hears once. It is never called with the
// mutex held, and no two states' mutexes are ever held together.
class cancellation_state : public std::enable_shared_from_this<cancellation_state> {
public:
    cancellation_state();
    cancellation_state(const cancellation_state&) = delete;
    cancellation_state& operator=(const cancellation_state&) = delete;
    ~cancellation_state();

    // Once each, before anybody else knows of it.
    void follow(std::shared_ptr<cancellation_state> parent);
    void follow(const std::stop_token& parent);

    bool cancel(const cancellation_reason& reason) noexcept;
    void owner_gone() noexcept;
    void parent_gone() noexcept;

    [[nodiscard]] std::optional<cancellation_reason> reason() const noexcept;
    [[nodiscard]] bool abandoned() const noexcept;
    [[nodiscard]] const std::atomic<std::uint64_t>& word() const noexcept { return word_; }

    void listen(const std::shared_ptr<cancellation_listener>& listener);
    bool unlisten(cancellation_listener& listener) noexcept;
    // Takes those out of the list that it accepts, unheard.
    void drop(const std::function<bool(cancellation_listener&)>& accepts);

    [[nodiscard]] std::stop_token stop_token();

private:
    using listeners = std::list<std::shared_ptr<cancellation_listener>>;
    class parent_link;
    struct stop_link;

    // With the mutex held: the list, which is nobody's any more.
    listeners take_all() noexcept;
    void leave(bool& link) noexcept;

    std::atomic<std::uint64_t> word_{0};
    mutable std::mutex mutex_;
    listeners listeners_;
    bool owned_ = true;
    bool has_parent_ = false;
    bool abandoned_ = false;
    std::optional<std::stop_source> stop_source_;  // made when first asked for

    std::shared_ptr<cancellation_state> parent_;
    std::shared_ptr<parent_link> link_;  // in the parent's list
    std::unique_ptr<stop_link> stop_link_;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
