// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/detail/fan_in_core.hpp>

#include <boost/asio/error.hpp>

#include <sys/epoll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <new>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>

#include <procyard/ipc/detail/channel_operations.hpp>
#include <procyard/ipc/syscall.hpp>

#include "fan_in_schedule.hpp"
#include "spinning.hpp"
#include "wake_barrier.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

using state = fan_in_schedule::state;

// A fan-in that never sleeps listens to its doorbells after so many messages all the same: they
// tell of deaths, too.
constexpr std::uint64_t listen_after = 1024;

constexpr int listen_at_once = 64;

static_assert(fan_in_lanes == fan_in_schedule::lanes);

// What a label of the epoll set stands for. A copy of this process may hold a descriptor that has
// been closed here, and then its label goes on being told: so each names what it was made for.
constexpr std::uint64_t bell_bit = 1;

source_id id_of_label(std::uint64_t label) noexcept
{
    return static_cast<source_id>(label / 2);
}

}  // namespace

struct fan_in_core::source {
    // Which descriptor is in the epoll set.
    enum class watched : std::uint8_t { nothing, socket, bell };

    source(source_id i, std::shared_ptr<channel_core> c, const source_options& options)
        : id(i),
          channel(std::move(c)),
          name(options.name),
          place(options.lane, *this)
    {
    }

    struct own_place : fan_in_schedule::place {
        own_place(unsigned lane, source& s) noexcept : fan_in_schedule::place(lane), whose(s) { }
        source& whose;
    };
    [[nodiscard]] static source& of(fan_in_schedule::place& p) noexcept
    {
        return static_cast<own_place&>(p).whose;
    }

    const source_id id;
    const std::shared_ptr<channel_core> channel;
    std::string name;
    own_place place;
    watched in_epoll = watched::nothing;
    bool must_rearm = false;  // the socket has been told of, and is not watched until it is again
    bool is_abandoned = false;
    error_code ended;
};

// What can still be asked of a source that has gone. Not the source: that has the memory of its
// channel, and nobody knows when the next one ends.
struct told_source {
    explicit told_source(source_id which) noexcept : id(which) { }

    source_id id;
    std::string name{};
    std::string explanation{};
    channel_statistics statistics{};
};

struct fan_in_core::sources {
    explicit sources(unsigned burst) noexcept : schedule(burst) { }
    sources(const sources&) = delete;
    sources& operator=(const sources&) = delete;
    ~sources()
    {
        for (auto& [id, s] : by_id)
            schedule.remove(s->place);
    }

    fan_in_schedule schedule;
    std::unordered_map<std::uint64_t, std::unique_ptr<source>> by_id;
    std::optional<told_source> told;  // the last one whose end was told
    std::uint64_t last_id = 0;
};

fan_in_core::fan_in_core(const asio::any_io_executor& ex, const fan_in_options& options,
                         std::uint64_t busy_after, unique_fd epoll)
    : options_(options),
      busy_after_(busy_after),
      owner_(::getpid()),
      epoll_(std::move(epoll)),
      operations_(std::make_shared<operation_queue>(ex)),
      sources_(std::make_unique<sources>(options.burst)),
      spin_(sensible_spin(options.spin))
{
    operations_->watch(epoll_.get());
}

std::shared_ptr<fan_in_core> fan_in_core::open(const asio::any_io_executor& ex,
                                               const fan_in_options& options,
                                               std::uint64_t busy_after, error_code& ec)
{
    unique_fd epoll(::epoll_create1(EPOLL_CLOEXEC));
    if (!epoll) {
        ec = last_error();
        return nullptr;
    }
    ec.clear();
    return std::shared_ptr<fan_in_core>(new fan_in_core(ex, options, busy_after, std::move(epoll)));
}

fan_in_core::~fan_in_core()
{
    close();
}

// --- sources ------------------------------------------------------------------------------------

source_id fan_in_core::add(std::shared_ptr<channel_core> channel, const source_options& options,
                           error_code& ec)
{
    ec = open_ && channel ? channel->blocked() : error_code(asio::error::bad_descriptor);
    if (ec == asio::error::bad_descriptor || ec == channel_errc::lent)
        return {};
    ec.clear();  // what has ended it is told later
    if (options.lane >= fan_in_lanes || channel->executor() != operations_->executor())
        ec = make_errno(EINVAL);
    if (ec)
        return {};
    channel->cancel();  // what its former owner had waited for
    const auto number = ++sources_->last_id;
    auto made =
        std::make_unique<source>(static_cast<source_id>(number), std::move(channel), options);
    auto& s = *sources_->by_id.emplace(number, std::move(made)).first->second;
    sources_->schedule.add(s.place);
    ec = watch(s);
    if (ec) {
        (void)remove(s.id);
        return {};
    }
    operations_->wake();
    return s.id;
}

bool fan_in_core::remove(source_id id) noexcept
{
    const auto at = sources_->by_id.find(static_cast<std::uint64_t>(id));
    if (at == sources_->by_id.end())
        return false;
    auto& s = *at->second;
    sources_->schedule.remove(s.place);
    unwatch(s);
    s.channel->close();
    if (lender_ == s.channel)
        lender_.reset();  // a batch that is still there has the channel for itself
    sources_->by_id.erase(at);
    operations_->wake();  // it may have been the last one
    return true;
}

void fan_in_core::close() noexcept
{
    if (!open_)
        return;
    open_ = false;
    if (owner_ == ::getpid())
        operations_->abort_all();
    operations_->unwatch();
    for (auto& [id, s] : sources_->by_id) {
        unwatch(*s);
        s->channel->close();
    }
    epoll_.reset();
    operations_->unwatch();
}

const fan_in_core::source* fan_in_core::known(source_id id) const noexcept
{
    const auto at = sources_->by_id.find(static_cast<std::uint64_t>(id));
    return at == sources_->by_id.end() ? nullptr : at->second.get();
}

std::size_t fan_in_core::source_count() const noexcept
{
    return open_ ? sources_->by_id.size() : 0;
}

std::string fan_in_core::name(source_id id) const
{
    if (sources_->told && sources_->told->id == id)
        return sources_->told->name;
    const auto* const s = known(id);
    return s != nullptr ? s->name : std::string();
}

std::string fan_in_core::explanation(source_id id) const
{
    if (sources_->told && sources_->told->id == id)
        return sources_->told->explanation;
    const auto* const s = known(id);
    return s != nullptr ? s->channel->explanation() : std::string();
}

channel_statistics fan_in_core::statistics(source_id id) const noexcept
{
    if (sources_->told && sources_->told->id == id)
        return sources_->told->statistics;
    const auto* const s = known(id);
    return s != nullptr ? s->channel->statistics() : channel_statistics{};
}

// --- receiving ----------------------------------------------------------------------------------

// True: it has a message. Else `ec` says why not; would_block: it has none by now, else it has
// ended. Not the error_code as the result: to copy it costs more than all the rest of a look that
// finds something.
bool fan_in_core::look(source& s, error_code& ec)
{
    auto& channel = *s.channel;
    // A death is told by the set that joins the bells. To ask each idle one would be a system call
    // for each, now and then, while others are busy.
    channel.in_vain_ = 0;
    if (has_room_now(channel, false, busy_after_, 1, ec)) [[likely]]
        return true;
    // What one has lost is told by its statistics: an error here would be that of all.
    constexpr int most_losses = 3;
    for (int i = 1; i < most_losses && ec == channel_errc::lapped; ++i) {
        if (has_room_now(channel, false, busy_after_, 1, ec))
            return true;
    }
    if (ec == channel_errc::lapped)
        ec = asio::error::would_block;
    return false;
}

// A message, or an end to be told, or an error.
bool fan_in_core::has_something(source& s)
{
    error_code ec;
    const bool found = look(s, ec) || ec != asio::error::would_block;
    // A look can find that the sender has come. From then on the doorbell tells of its death, also
    // to a fan-in that never sleeps. What fails now is tried, and told, before the next sleep.
    if (s.in_epoll == source::watched::socket && s.channel->is_connected())
        (void)watch(s);
    auto& side = s.channel->side();
    if (found && side.is_announced())
        side.withdraw();
    if (s.place.state() == state::asleep && !side.is_announced()) {
        // Or a look has found that the sender has come. Then nothing has been announced to it.
        if (!found)
            sources_->schedule.set(s.place, state::quiet);
        operations_->wake();  // who waits counts on being rung for
    }
    return found;
}

// The same of one that is not looked at for want of others. Whether a sender has come takes a
// system call, and its socket tells it as well, so that is asked now and then.
bool fan_in_core::has_something_by_now(source& s)
{
    constexpr std::uint64_t now_and_then = 64;
    return (s.channel->is_connected() || taken_ % now_and_then == 0) && has_something(s);
}

error_code fan_in_core::find(fan_in_found& found, fan_in_look how)
{
    return how == fan_in_look::before_sleep ? find_or_sleep(found) : find_now(found, how);
}

error_code fan_in_core::find_now(fan_in_found& found, fan_in_look how)
{
    if (!open_)
        return asio::error::bad_descriptor;
    if (lender_) {
        if (lender_->is_open() && lender_->is_lent())
            return channel_errc::lent;
        lender_.reset();
    }
    auto& schedule = sources_->schedule;
    const auto ask = [this](fan_in_schedule::place& p) { return has_something(source::of(p)); };
    const auto look_at_others = [&] {
        if (how == fan_in_look::all)
            schedule.look_at_idle(ask);
        else
            schedule.look_at_quiet(ask);
    };
    if (schedule.first() == nullptr)
        look_at_others();
    else
        schedule.look_ahead([this](auto& p) { return has_something_by_now(source::of(p)); });
    error_code ec;
    while (auto* const first = schedule.first()) {
        auto& s = source::of(*first);
        if (look(s, ec)) [[likely]] {
            found.source = s.id;
            found.channel = s.channel.get();
            return {};
        }
        if (ec == asio::error::would_block) {
            schedule.set(s.place, state::quiet);
            if (schedule.first() == nullptr)
                look_at_others();
            continue;
        }
        // What is missing in this process for now is no end: its sender, and what that has sent,
        // are still there. Counted, so that others have their turn before it is tried again.
        if (s.channel->is_open()) {
            schedule.set(s.place, state::quiet);
            ++taken_;
            return ec;
        }
        found.source = s.id;
        found.ended = ec;
        return {};
    }
    if (sources_->by_id.empty() && options_.ends_with_last_source)
        return channel_errc::closed;
    return asio::error::would_block;
}

error_code fan_in_core::find_or_sleep(fan_in_found& found)
{
    // Who has slept has been rung for, most likely. What rings meanwhile ends the next sleep.
    if (has_slept_ || taken_ >= listen_after)
        hear_doorbells();
    auto ec = find_now(found, fan_in_look::awake);
    if (ec == asio::error::would_block)
        ec = spin(found);
    if (ec != asio::error::would_block)
        return ec;
    ec = put_all_to_sleep();
    if (!ec)
        ec = find_now(found, fan_in_look::awake);
    has_slept_ = ec == asio::error::would_block;
    return ec;
}

// Before a sleep: whether somebody has something after all, soon enough.
error_code fan_in_core::spin(fan_in_found& found)
{
    error_code ec = asio::error::would_block;
    const auto budget = sources_->by_id.empty() ? std::chrono::nanoseconds(0)
                                                : std::chrono::nanoseconds(spin_.next());
    if (budget.count() <= 0)
        return ec;
    constexpr unsigned looks_per_time = 8;
    constexpr unsigned looks_per_bell = 64;  // a system call, for those that are not looked at
    const auto until = std::chrono::steady_clock::now() + budget;
    for (unsigned looks = 1; ec == asio::error::would_block; ++looks) {
        relax_processor();
        if (looks % looks_per_bell == 0)
            hear_doorbells();
        ec = find_now(found, fan_in_look::awake);
        if (looks % looks_per_time == 0 && std::chrono::steady_clock::now() >= until)
            break;
    }
    if (ec == asio::error::would_block)
        spin_.has_failed();
    else
        spin_.has_succeeded();
    return ec;
}

void fan_in_core::has_taken(const fan_in_found& found, bool all)
{
    ++taken_;
    const auto at = sources_->by_id.find(static_cast<std::uint64_t>(found.source));
    if (at != sources_->by_id.end())
        sources_->schedule.has_served(at->second->place, all);
}

void fan_in_core::has_told_end(const fan_in_found& found)
{
    const auto at = sources_->by_id.find(static_cast<std::uint64_t>(found.source));
    if (at == sources_->by_id.end())
        return;
    auto& s = *at->second;
    sources_->schedule.remove(s.place);
    unwatch(s);
    s.channel->close();
    auto& told = sources_->told.emplace(s.id);
    told.name = std::move(s.name);
    told.statistics = s.channel->statistics();
    try {
        told.explanation = s.channel->explanation();
    } catch (const std::bad_alloc&) {
        told.explanation.clear();  // a sentence for a person, and the end is told without it
    }
    sources_->by_id.erase(at);
}

void fan_in_core::lends(const fan_in_found& found)
{
    lender_ = found.channel->shared_from_this();
    has_taken(found, true);
}

// --- sleeping -----------------------------------------------------------------------------------

// Has the descriptor in the epoll set by which the sender can wake us now: the socket on which its
// hello comes, and after that the doorbell.
error_code fan_in_core::watch(source& s) noexcept
{
    using watched = source::watched;
    const bool connected = s.channel->is_connected();
    if (s.is_abandoned || (s.in_epoll == watched::bell)
        || (s.in_epoll == watched::socket && !connected && !s.must_rearm))
        return {};
    const int fd = connected ? s.channel->bell_.native_handle() : s.channel->socket_.get();
    if (fd == -1)
        return {};  // it has failed, and that is told when it is looked at
    epoll_event event{};
    // The socket once: it is closed by the channel when the hello has come, and a copy of this
    // process may keep it open.
    event.events = connected ? EPOLLIN : EPOLLIN | EPOLLONESHOT;
    event.data.u64 = static_cast<std::uint64_t>(s.id) * 2 + (connected ? bell_bit : 0);
    const bool again = s.in_epoll == watched::socket && !connected;
    if (::epoll_ctl(epoll_.get(), again ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event) == -1)
        return last_error();
    s.in_epoll = connected ? watched::bell : watched::socket;
    s.must_rearm = false;
    return {};
}

// Before its channel is closed. Not in a copy of the process, which has the same epoll set.
void fan_in_core::unwatch(source& s) noexcept
{
    if (s.in_epoll == source::watched::nothing || owner_ != ::getpid())
        return;
    const int fd = s.in_epoll == source::watched::bell ? s.channel->bell_.native_handle()
                                                       : s.channel->socket_.get();
    if (fd != -1)
        (void)::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
    s.in_epoll = source::watched::nothing;
}

// Lets the sender know that it has to ring; see channel_core::may_sleep.
error_code fan_in_core::put_to_sleep(source& s)
{
    auto& schedule = sources_->schedule;
    auto& channel = *s.channel;
    error_code ec;
    do {
        if (!channel.announce(1, ec))
            return ec;
        if (has_something(s)) {
            schedule.set(s.place, state::ready);
            return {};
        }
        // A look can find that the sender has come. Then this is another ring_side, which has not
        // announced anything.
    } while (!channel.side().is_announced());
    ec = watch(s);
    if (ec)
        return ec;
    ++channel.counts_.sleeps;
    channel.show_counts();
    schedule.set(s.place, state::asleep);
    return {};
}

error_code fan_in_core::put_all_to_sleep()
{
    error_code failure;
    sources_->schedule.for_each_quiet([&](fan_in_schedule::place& p) {
        const auto ec = put_to_sleep(source::of(p));
        if (ec)
            failure = ec;
    });
    return failure;
}

// --- hearing ------------------------------------------------------------------------------------

void fan_in_core::hear_doorbells()
{
    taken_ = 0;
    has_slept_ = false;
    std::array<epoll_event, listen_at_once> events;
    // Not until there is none: a sender that rings all the time must not keep us here.
    const int count =
        retry_eintr([&] { return ::epoll_wait(epoll_.get(), events.data(), listen_at_once, 0); });
    const auto label_of = [&](int i) { return events[static_cast<std::size_t>(i)].data.u64; };
    // All are heard before any is looked at: a look can throw, and a socket tells of itself once.
    for (int i = 0; i < count; ++i)
        hear(label_of(i));
    for (int i = 0; i < count; ++i) {
        auto* const s = (label_of(i) & bell_bit) == 0 ? of_label(label_of(i)) : nullptr;
        if (s != nullptr && has_something(*s))
            sources_->schedule.set(s->place, state::ready);
    }
}

fan_in_core::source* fan_in_core::of_label(std::uint64_t label) const noexcept
{
    const auto at = sources_->by_id.find(static_cast<std::uint64_t>(id_of_label(label)));
    return at == sources_->by_id.end() ? nullptr : at->second.get();
}

void fan_in_core::hear(std::uint64_t label)
{
    auto* const told = of_label(label);
    if (told == nullptr)
        return;
    auto& s = *told;
    if ((label & bell_bit) == 0) {
        s.must_rearm = s.in_epoll == source::watched::socket;
    } else {
        const auto heard = s.channel->bell_.answer();
        if (heard == doorbell_state::silent)
            return;
        const bool is_abandoned = heard == doorbell_state::abandoned;
        s.channel->hear(is_abandoned ? error_code(asio::error::eof) : error_code());
        if (is_abandoned) {
            s.is_abandoned = true;
            unwatch(s);
        }
    }
    if (s.place.state() == state::asleep)
        sources_->schedule.set(s.place, state::quiet);
}

// --- the channel of an end ----------------------------------------------------------------------

namespace {

// channel_end keeps its core to its descendants.
struct opened : channel_end {
    static std::shared_ptr<channel_core>& core_of(channel_end& end)
    {
        return end.*(&opened::core_);
    }
};

}  // namespace

std::shared_ptr<channel_core> take_core(channel_end& end)
{
    return std::move(opened::core_of(end));
}

}  // namespace detail

PROCYARD_NAMESPACE_END
