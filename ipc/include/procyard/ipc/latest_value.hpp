// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_LATEST_VALUE_HPP
#define PROCYARD_IPC_LATEST_VALUE_HPP

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/deferred.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>

#include <procyard/ipc/broadcast_options.hpp>
#include <procyard/ipc/channel_error.hpp>
#include <procyard/ipc/codec.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/broadcast_end.hpp>
#include <procyard/ipc/detail/broadcast_operations.hpp>
#include <procyard/ipc/detail/end_sort.hpp>
#include <procyard/ipc/plain_message.hpp>
#include <procyard/ipc/type_description.hpp>
#include <procyard/ipc/unopened.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

/// How many values lie beside one another: whoever copies the last one has the time in which three
/// more are stored.
inline constexpr std::size_t latest_value_cells = 4;

/// Of both sides.
template <class T>
[[nodiscard]] broadcast_terms latest_value_terms()
{
    auto terms = broadcast_terms_of<T>({.capacity_messages = latest_value_cells});
    terms.sort = end_sort::latest_value;
    return terms;
}

}  // namespace detail

template <plain_message T>
class latest_reader;

/// A value that one writes and many read: its latest state, and nothing of what was before. A
/// reader gets it whole, however often it is stored meanwhile, and when the writer has died in the
/// middle of it, the one before.
///
/// It is a broadcast of which only the last message matters; see broadcaster.
/// @par Thread safety, lifetime, fork   As broadcaster's.
template <plain_message T>
class latest_value : public detail::broadcast_writer_end {
public:
    using value_type = T;
    using reader_type = latest_reader<T>;

    /// None: is_open() is false.
    latest_value() noexcept = default;

    /// Makes one, without a value as yet.
    /// @par Errors   Those of segment::create, where there is no memory; EMFILE, ENFILE.
    /// @par Cost     As broadcaster's.
    latest_value(const asio::any_io_executor& ex, error_code& ec)
        : broadcast_writer_end(ex, detail::latest_value_terms<T>(), ec)
    {
    }
    /// The same; throws boost::system::system_error.
    explicit latest_value(const asio::any_io_executor& ex)
        : broadcast_writer_end(ex, detail::latest_value_terms<T>())
    {
    }

    /// Stores a value. Never waits. False: this end is closed.
    /// @par Cost   Two copies, a fence, a look at a word of each reader's, and a system call for
    ///             each of those that sleep.
    bool store(const T& value)
    {
        std::uint64_t wanted = 0;
        return !detail::broadcast_now(core(), value, wanted);
    }
    /// How often a value has been stored.
    [[nodiscard]] std::uint64_t version() const noexcept
    {
        return core_ ? core_->next_number() : 0;
    }

    /// Makes a reader, which is opened here, or in another thread or process.
    /// @par Errors, cost   As broadcaster::subscribe.
    [[nodiscard]] unopened<latest_reader<T>> subscribe(bool across_users, error_code& ec)
    {
        const auto options = options_of(across_users);
        return {core().subscribe(options, ec), detail::passed_options(options, core())};
    }
    /// The same; throws boost::system::system_error.
    [[nodiscard]] unopened<latest_reader<T>> subscribe(bool across_users = false)
    {
        error_code ec;
        auto made = subscribe(across_users, ec);
        if (ec)
            detail::throw_broadcast(ec, "subscribe to latest ", describe<T>());
        return made;
    }

private:
    [[nodiscard]] static subscription_options options_of(bool across_users) noexcept
    {
        subscription_options options;
        options.history = 1;
        options.across_users = across_users;
        return options;
    }
};

/// Reads the latest value.
/// @par Thread safety, lifetime, fork   As subscriber's.
template <plain_message T>
class latest_reader : public detail::broadcast_reader_end {
public:
    using value_type = T;

    /// None: is_open() is false.
    latest_reader() noexcept = default;

    /// Opens a reader.
    /// @par Errors, limits, cost   As subscriber's constructor; `other_direction`: it is a
    ///                             broadcast, or an end of another kind.
    latest_reader(const asio::any_io_executor& ex, unopened<latest_reader> end, error_code& ec)
        : broadcast_reader_end(ex, std::move(end).take(), end.options(),
                               detail::latest_value_terms<T>(), ec)
    {
    }
    /// The same; throws boost::system::system_error.
    latest_reader(const asio::any_io_executor& ex, unopened<latest_reader> end)
        : broadcast_reader_end(ex, std::move(end).take(), end.options(),
                               detail::latest_value_terms<T>())
    {
    }

    /// The latest value; empty if none has been stored as yet. Never waits, and can be asked as
    /// often as one likes; of a writer that has gone it is the last one that was stored.
    ///
    /// It is at least as new as the one before. If the writer stores several values while it is
    /// copied, time and again, it is the one before.
    /// @par Cost   Where there is a new one, a copy out of the ring; no system call, no allocation.
    [[nodiscard]] const std::optional<T>& load()
    {
        std::span<const std::byte> bytes;
        if (core().take_latest(bytes))
            return value_;
        T value{};
        if (decode_message(bytes.first(fixed_bytes<T>), value)) {
            value_ = value;
            version_ = core().number();
        } else {
            core().fail(channel_errc::bad_message);
        }
        return value_;
    }
    /// The number of the value that load() has returned, counted from 1; 0: there was none.
    [[nodiscard]] std::uint64_t version() const noexcept { return version_; }

    /// Waits until there is a value that load() has not returned.
    /// @par Completion    void(error_code)
    /// @par Errors        `channel_errc::closed`: the writer has closed, and its last value has
    ///                    been loaded; `peer_died`: the same with one that has died; `bad_message`,
    ///                    `peer_broke_rules`: it does not keep to the protocol; EBADF: this end is
    ///                    closed.
    /// @par Cancellation  terminal, partial and total.
    template <asio::completion_token_for<void(error_code)> Token = asio::deferred_t>
    [[nodiscard]] auto async_wait_changed(Token&& token = {})
    {
        return asio::async_initiate<Token, void(error_code)>(detail::initiate_wait_for_broadcast{},
                                                             token, core_);
    }

private:
    std::optional<T> value_;
    std::uint64_t version_ = 0;
};

namespace detail {

template <class T>
struct given_kind<latest_reader<T>> {
    static constexpr end_sort sort = end_sort::latest_value;
    using item_type = T;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
