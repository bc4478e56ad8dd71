// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/detail/broadcast_reader_core.hpp>

#include <boost/asio/error.hpp>

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include <procyard/ipc/detail/record_ring.hpp>
#include <procyard/ipc/syscall.hpp>

#include "broadcast_hello.hpp"
#include "connection_messages.hpp"
#include "hello_sort.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

doorbell_kind possible_kind(doorbell_kind asked) noexcept
{
    return ::access("/proc/self/fd", X_OK) == 0 ? asked : doorbell_kind::socket;
}

std::string explain_mismatch(const type_description& ours, const std::string& description)
{
    type_description theirs;
    return type_description::parse(std::as_bytes(std::span(description)), theirs)
        ? explain_difference(ours, theirs)
        : "here " + ours.to_string() + ", there a type that cannot be read";
}

// The most that the writer's memory may have: how long the ring is, is its business, up to this.
std::uint64_t most_writer_bytes(const broadcast_terms& terms) noexcept
{
    error_code ec;  // our own idea of it is possible
    const auto expected = broadcast_memory::size_in_pages(broadcast_role::writer, terms.shape, ec);
    return std::max<std::uint64_t>(terms.max_peer_bytes, expected);
}

// Whether a hello fits; how long the ring is, is the writer's business.
error_code check(const broadcast_hello& hello, const broadcast_terms& terms) noexcept
{
    if (hello.shape.type != terms.shape.type || hello.shape.unit_bytes != terms.shape.unit_bytes)
        return channel_errc::other_type;
    if (hello.manner > static_cast<std::uint32_t>(slow_reader::holds_back))
        return channel_errc::bad_hello;
    // A record begins at a multiple of 8, or it could end beyond the memory.
    if (hello.shape.unit_bytes == 1 && hello.start % record_alignment_bytes != 0)
        return channel_errc::bad_hello;
    return {};
}

// The writer's hello, which fits. `here`: what this end is.
broadcast_hello take_hello(int socket, const broadcast_terms& terms, const std::string& here,
                           std::string& explanation, error_code& ec)
{
    auto hello = receive_broadcast_hello(socket, broadcast_role::writer, ec);
    // Whoever makes a subscription sends it first.
    const bool is_missing = ec == asio::error::would_block || ec == asio::error::eof;
    if (is_missing || ec == channel_errc::bad_hello) {
        ec = channel_errc::bad_hello;
        explanation = explain_sorts(here, name_of_peer(socket, broadcast_hello_magic, ec));
        if (!is_missing && !explanation.empty())
            ec = channel_errc::other_direction;
    }
    if (!ec)
        ec = check(hello, terms);
    if (ec == channel_errc::other_type)
        explanation = explain_mismatch(*terms.type, hello.description);
    return hello;
}

// What a header says, on a private copy of it. A message has its number, and the rest of it is no
// longer than what it is copied to. Parts are a channel's.
enum class header_check : std::uint8_t { message, padding, violation };

header_check check_header(const record_header& header, std::uint64_t offset, std::uint64_t room,
                          std::uint64_t capacity) noexcept
{
    switch (check_record(header, offset, room, capacity)) {
    case record_check::padding: return header_check::padding;
    case record_check::data: break;
    case record_check::part:
    case record_check::violation: return header_check::violation;
    }
    const bool has_number = header.length >= sizeof(std::uint64_t);
    return has_number && record_bytes(header.length) <= capacity / broadcast_longest_part
        ? header_check::message
        : header_check::violation;
}

// How often a reader that is overtaken tries again, before it lets others have their turn. It does
// not fall asleep for good: who has overtaken it publishes, and rings.
constexpr int most_tries = 8;

}  // namespace

broadcast_reader_core::broadcast_reader_core(const asio::any_io_executor& ex,
                                             const broadcast_terms& terms, broadcast_memory own,
                                             broadcast_memory writer, std::uint64_t start)
    : operation_line(ex, waking::reads, terms.spin),
      side_(own.own_words(), writer.words(), terms.shape.unit_count, start),
      units_(writer.units()),
      scratch_(new std::byte[terms.shape.unit_bytes == 1
                                 ? terms.shape.unit_count / broadcast_longest_part
                                 : terms.shape.unit_bytes]),
      cell_bytes_(terms.shape.unit_bytes),
      own_(std::move(own)),
      writer_(std::move(writer)),
      owner_(::getpid())
{
    broadcast_reader_core::show_counts();
}

std::shared_ptr<broadcast_reader_core>
broadcast_reader_core::open(const asio::any_io_executor& ex, unique_fd socket,
                            const broadcast_terms& terms, std::string& explanation, error_code& ec)
{
    if (!socket) {
        ec = make_errno(EBADF);
        return nullptr;
    }
    const auto here = name_of(terms.sort, false, true);
    auto hello = take_hello(socket.get(), terms, here, explanation, ec);
    if (ec)
        return nullptr;
    auto agreed = terms;
    agreed.shape = hello.shape;
    const auto most = most_writer_bytes(terms);
    auto writer = broadcast_memory::attach(std::move(hello.memory), hello.memory_bytes, most,
                                           broadcast_role::writer, agreed.shape, ec);
    if (ec == channel_errc::over_limit)
        explanation = "the broadcast has " + std::to_string(hello.memory_bytes)
            + " bytes, and at most " + std::to_string(most) + " are allowed";
    if (ec)
        return nullptr;
    if (const auto theirs = writer.sort(); theirs && *theirs != terms.sort) {
        explanation = explain_sorts(here, name_of(*theirs, true, false));
        ec = channel_errc::other_direction;
        return nullptr;
    }
    auto own = broadcast_memory::create(broadcast_role::reader, agreed.shape, hello.start, ec);
    if (ec)
        return nullptr;
    own.put_sort(terms.sort);
    own.label_type(terms.type->name);
    own.label_writer(writer);
    writer.release_descriptor();
    std::shared_ptr<broadcast_reader_core> made(
        new broadcast_reader_core(ex, agreed, std::move(own), std::move(writer), hello.start));
    made->manner_ = static_cast<slow_reader>(hello.manner);
    made->expected_ = hello.start_number;
    made->button_ = doorbell_button::attach(std::move(hello.button), ec);
    if (ec)
        return nullptr;
    unique_fd button;
    made->bell_ = doorbell::create(possible_kind(terms.bell), button, ec);
    if (ec)
        return nullptr;
    broadcast_hello answer;
    answer.role = broadcast_role::reader;
    answer.shape = agreed.shape;
    answer.memory_bytes = made->own_.memory().size();
    answer.description = terms.type->to_bytes();
    send_broadcast_hello(socket.get(), answer, made->own_.memory().native_handle(), button.get(),
                         ec);
    // A writer that has gone has left what it had sent.
    made->writer_gone_ =
        ec == boost::system::errc::broken_pipe || ec == boost::system::errc::connection_reset;
    if (ec == asio::error::would_block)  // whoever has made it has filled it up
        ec = channel_errc::bad_hello;
    if (ec && !made->writer_gone_)
        return nullptr;
    ec.clear();
    made->own_.release_descriptor();
    return made;
}

broadcast_reader_core::~broadcast_reader_core()
{
    close();
}

// --- the hot path -------------------------------------------------------------------------------

error_code broadcast_reader_core::wait_for_any()
{
    if (closed_)
        return asio::error::bad_descriptor;
    if (failure_)
        return failure_;
    // First how the writer has ended, then what it had published before: whoever looks the other
    // way round loses what came between.
    const bool has_closed = side_.writer_closed();
    if (!side_.refresh()) {
        fail(channel_errc::peer_broke_rules);
        return failure_;
    }
    if (side_.room() > 0)
        return {};
    if (has_closed || writer_gone_) {
        fail(has_closed ? channel_errc::closed : channel_errc::peer_died);
        return failure_;
    }
    return asio::error::would_block;
}

error_code broadcast_reader_core::look_at_cell(std::span<const std::byte>& message)
{
    for (int tries = 0; tries < most_tries; ++tries) {
        if (const auto ec = find_any())
            return ec;
        if (copy_cell()) [[likely]] {
            message = {scratch_.get(), cell_bytes_};
            return note_number(side_.position());
        }
        if (const auto ec = skip_lost(tries > 0))
            return ec;
    }
    return asio::error::would_block;
}

error_code broadcast_reader_core::take_latest(std::span<const std::byte>& message)
{
    for (int tries = 0; tries < most_tries; ++tries) {
        if (const auto ec = find_any())
            return ec;
        // Again, if it was found before: there may be a later one.
        if (const auto ec = skip_lost(false))
            return ec;
        side_.skip_to_last(1);
        if (copy_cell()) [[likely]] {
            expected_ = side_.position();
            message = {scratch_.get(), cell_bytes_};
            pass();
            publish();
            return {};
        }
    }
    return asio::error::would_block;
}

bool broadcast_reader_core::copy_cell() noexcept
{
    const auto at = ring_offset(side_.position(), side_.capacity()) * cell_bytes_;
    copy_out(scratch_.get(), units_ + at, cell_bytes_);
    looked_at_ = 1;
    return side_.is_intact();
}

error_code broadcast_reader_core::look_at_record(std::span<const std::byte>& message)
{
    for (int tries = 0; tries < most_tries;) {
        if (const auto ec = find_any())
            return ec;
        record_header header{};
        switch (copy_record(header)) {
        case copied::record: {
            std::uint64_t number = 0;
            std::memcpy(&number, scratch_.get() + sizeof header, sizeof number);
            message = {scratch_.get() + numbered_header_bytes, header.length - sizeof number};
            return note_number(number);
        }
        case copied::padding: side_.advance(record_bytes(header.length)); break;
        case copied::overtaken:
            if (const auto ec = skip_lost(tries++ > 0))
                return ec;
            break;
        case copied::violation: fail(channel_errc::peer_broke_rules); return failure_;
        }
    }
    return asio::error::would_block;
}

// `header` is the one that was checked, and not the one that is copied with the rest.
broadcast_reader_core::copied broadcast_reader_core::copy_record(record_header& header) noexcept
{
    const auto offset = ring_offset(side_.position(), side_.capacity());
    const auto word = load_once(units_ + offset);
    if (!side_.is_intact())
        return copied::overtaken;
    std::memcpy(&header, &word, sizeof header);
    switch (check_header(header, offset, side_.room(), side_.capacity())) {
    case header_check::message: break;
    case header_check::padding: return copied::padding;
    case header_check::violation: return copied::violation;
    }
    const auto taken = record_bytes(header.length);
    copy_out(scratch_.get(), units_ + offset, static_cast<std::size_t>(taken));
    looked_at_ = taken;
    return side_.is_intact() ? copied::record : copied::overtaken;
}

// The writer has overtaken us. What is the oldest now may be gone before it is copied, again and
// again, if the writer is as quick as we are: so the second time to the middle.
error_code broadcast_reader_core::skip_lost(bool to_middle)
{
    // A record begins at a multiple of 8, or it could end beyond the memory.
    if (!side_.skip_lost()
        || (cell_bytes_ == 1 && side_.position() % record_alignment_bytes != 0)) {
        fail(channel_errc::peer_broke_rules);
        return failure_;
    }
    const auto half = side_.half();
    if (!to_middle)
        return {};
    if (cell_bytes_ != 1) {
        side_.advance(half);
        return {};
    }
    // From record to record: that is quicker than to write them.
    for (const auto until = side_.position() + half; distance(side_.position(), until) > 0;) {
        const auto offset = ring_offset(side_.position(), side_.capacity());
        const auto word = load_once(units_ + offset);
        if (!side_.is_intact())
            return {};
        record_header header{};
        std::memcpy(&header, &word, sizeof header);
        if (check_header(header, offset, side_.room(), side_.capacity())
            == header_check::violation) {
            fail(channel_errc::peer_broke_rules);
            return failure_;
        }
        side_.advance(record_bytes(header.length));
    }
    return {};
}

// A message is there. The first one after a loss tells how many are missing.
error_code broadcast_reader_core::note_number(std::uint64_t number)
{
    const auto missing = distance(expected_, number);
    if (missing == 0) [[likely]]
        return {};
    if (missing < 0) {
        fail(channel_errc::peer_broke_rules);
        return failure_;
    }
    lost_ += static_cast<std::uint64_t>(missing);
    show_counts();
    expected_ = number;
    // One that the writer should have waited for has been given up by it.
    if (manner_ != slow_reader::loses)
        fail(channel_errc::lapped);
    return channel_errc::lapped;
}

// --- waiting and ending -------------------------------------------------------------------------

bool broadcast_reader_core::lacks(std::uint64_t)
{
    return find_any() == asio::error::would_block;
}

void broadcast_reader_core::announce(std::uint64_t) noexcept
{
    side_.announce();
}

void broadcast_reader_core::withdraw() noexcept
{
    if (side_.is_announced())
        side_.withdraw();
}

// Aborted: the operation was.
void broadcast_reader_core::hear(const error_code& wait_error) noexcept
{
    if (closed_)
        return;
    withdraw();
    if (!wait_error)
        ++woken_;
    else if (wait_error != asio::error::operation_aborted)  // end of file, or reset
        writer_gone_ = true;
}

void broadcast_reader_core::fail(error_code why) noexcept
{
    if (failure_ || closed_)
        return;
    failure_ = why;
    usable_ = false;
    let_go_of_writer();
    leave_reactor();  // whoever waits is told, and not by the writer
}

// It must not wait for an end that is closed, or has failed.
void broadcast_reader_core::let_go_of_writer() noexcept
{
    if (side_.close())
        ring();
    // That nobody presses its bell any more tells the writer the rest.
    button_ = doorbell_button();
}

void broadcast_reader_core::close() noexcept
{
    if (closed_)
        return;
    closed_ = true;
    usable_ = false;
    if (owner_ != ::getpid()) {  // the words and the reactor are the original's, which goes on
        leave_reactor();
        bell_ = doorbell();
        button_ = doorbell_button();
        leave_reactor();
        return;
    }
    cancel();
    if (button_)
        let_go_of_writer();
    bell_ = doorbell();
}

// To whoever looks in from outside. Called where this side waits, rings, or has lost something, and
// nowhere else.
void broadcast_reader_core::show_counts() noexcept
{
    auto& shown = own_.own_tally();
    // Relaxed, all: only this side writes them, and nothing hangs on them.
    shown.counts.counts.store(1, std::memory_order_relaxed);
    shown.counts.stalls.store(stalls_, std::memory_order_relaxed);
    shown.counts.sleeps.store(sleeps_, std::memory_order_relaxed);
    shown.counts.rung.store(rung_, std::memory_order_relaxed);
    shown.lost.store(lost_, std::memory_order_relaxed);
}

// Those that could be received now, if the writer stood still: it overwrites them meanwhile, or
// says what it likes, so no more than the ring holds are looked at.
std::uint64_t broadcast_reader_core::count_messages(broadcast_reader_side look) const noexcept
{
    if (look.room() > look.capacity() && !look.skip_lost())
        return 0;
    auto left = std::min(look.room(), look.capacity());
    if (cell_bytes_ != 1)
        return left;
    std::uint64_t count = 0;
    while (left > 0 && look.position() % record_alignment_bytes == 0) {
        const auto offset = ring_offset(look.position(), look.capacity());
        const auto word = load_once(units_ + offset);
        record_header header{};
        std::memcpy(&header, &word, sizeof header);
        const auto what = check_header(header, offset, left, look.capacity());
        if (!look.is_intact() || what == header_check::violation)
            break;
        count += what == header_check::message ? 1 : 0;
        look.advance(record_bytes(header.length));
        left -= record_bytes(header.length);
    }
    return count;
}

channel_statistics broadcast_reader_core::statistics() const noexcept
{
    auto look = side_;  // a copy: what is seen for the statistics is not for the ring
    (void)look.refresh();
    channel_statistics now;
    now.messages = messages_;
    now.dropped = lost_;
    now.depth = count_messages(look);
    now.used = std::min(look.room(), look.capacity());
    now.capacity = look.capacity();
    now.stalls = stalls_;
    now.rung = rung_;
    now.woken = woken_;
    now.spins = spins_;
    now.sleeps = sleeps_;
    return now;
}

}  // namespace detail

PROCYARD_NAMESPACE_END
