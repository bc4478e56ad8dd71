// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/detail/work_broker.hpp>

#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>

#include <cerrno>
#include <new>
#include <utility>

#include <procyard/ipc/detail/fan_in_operations.hpp>
#include <procyard/ipc/syscall.hpp>

#include "lease_book.hpp"
#include "shortage.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

constexpr std::size_t most_leases = 4096;

// Until a producer or consumer that could not be met is tried again.
constexpr std::chrono::milliseconds after_shortage{20};

std::chrono::steady_clock::time_point now() noexcept
{
    return std::chrono::steady_clock::now();
}

}  // namespace

error_code work_broker::check(const work_queue_options& options) noexcept
{
    const bool good = options.capacity > 0 && options.lease.count() > 0
        && options.leases_per_consumer > 0 && options.leases_per_consumer <= most_leases;
    return good ? error_code() : make_errno(EINVAL);
}

work_broker::work_broker(const asio::any_io_executor& ex, const work_queue_options& options,
                         std::shared_ptr<fan_in_core> producers,
                         std::shared_ptr<fan_in_core> answers)
    : executor_(ex),
      options_(options),
      book_(std::make_unique<lease_book>(options)),
      producers_(std::move(producers)),
      answers_(std::move(answers)),
      pushes_(std::make_shared<operation_queue>(ex)),
      letters_(std::make_shared<operation_queue>(ex)),
      drains_(std::make_shared<operation_queue>(ex)),
      timer_(ex)
{
}

work_broker::~work_broker() = default;

// --- what is asked of it ------------------------------------------------------------------------

error_code work_broker::room() const noexcept
{
    if (!open_)
        return failure_ ? failure_ : error_code(asio::error::bad_descriptor);
    if (closing_)
        return channel_errc::closed;
    return book_->is_full() ? error_code(asio::error::would_block) : error_code();
}

error_code work_broker::drained() const noexcept
{
    if (!open_)
        return failure_ ? failure_ : error_code(asio::error::bad_descriptor);
    return book_->is_drained() ? error_code() : error_code(asio::error::would_block);
}

error_code work_broker::collect(dead_item& dead)
{
    if (!open_)
        return failure_ ? failure_ : error_code(asio::error::bad_descriptor);
    const auto letter = book_->collect();
    if (!letter)
        return closing_ && book_->is_drained() ? error_code(channel_errc::closed)
                                               : error_code(asio::error::would_block);
    dead = {letter->item, letter->attempts, letter->reason};
    pump_later();  // there is room for another
    return {};
}

work_queue_statistics work_broker::statistics() const noexcept
{
    auto now = book_->statistics();
    now.producers = producers_->source_count();
    now.consumers = answers_->source_count();
    return now;
}

std::uint64_t work_broker::next_item() const noexcept
{
    return book_->next_item();
}

void work_broker::add_item()
{
    (void)book_->add();
}

// --- beginning and ending -----------------------------------------------------------------------

std::uint64_t work_broker::attach(receiver<work_answer> answers, error_code& ec)
{
    const auto id = answers_->add(take_core(answers), {}, ec);
    if (ec)
        return 0;
    const auto number = static_cast<std::uint64_t>(id);
    book_->attach(number);
    pump_later();
    return number;
}

void work_broker::detach(std::uint64_t consumer) noexcept
{
    book_->detach(consumer);
    (void)answers_->remove(static_cast<source_id>(consumer));
    let_go(consumer);
}

void work_broker::close()
{
    if (!open_ || closing_)
        return;
    closing_ = true;
    producers_->close();
    pump_later();
}

void work_broker::stop() noexcept
{
    if (!open_)
        return;
    open_ = false;
    cancel();
    timer_.cancel();
    producers_->close();
    answers_->close();
    let_all_go();
}

void work_broker::cancel() noexcept
{
    pushes_->abort_all();
    letters_->abort_all();
    drains_->abort_all();
}

// --- the work -----------------------------------------------------------------------------------

void work_broker::pump_later()
{
    if (is_posted_)
        return;
    asio::post(executor_, [self = shared_from_this()] {
        self->is_posted_ = false;
        self->pump();
    });
    is_posted_ = true;
}

void work_broker::pump()
{
    if (!open_)
        return;
    const bool was_posted = std::exchange(is_posted_, true);  // what is added here needs no other
    try {
        const auto time = now();
        const auto due = book_->next_deadline();
        // Whoever has answered in time has done so before this look, though nothing may have been
        // heard of it yet. The others ring: a look at each would be one too many for each item.
        hear_answers(due && *due <= time ? fan_in_look::all : fan_in_look::awake);
        book_->expire(time);
        while (!room() && !owes_a_push() && admit())
            is_pushs_turn_ = true;
        hand_out_items();
    } catch (...) {
        // A user's codec, or no memory. What it means is for whoever calls run(); the queue goes
        // on.
        is_posted_ = was_posted;
        pump_later();
        wait_for_more();
        throw;
    }
    is_posted_ = was_posted;
    if (closing_ && book_->is_drained()) {
        let_all_go();
        answers_->close();  // nobody has anything to answer for
    }
    wait_for_more();
}

// The owner and the producers take turns where there is not room for all, so a push gets in though
// producers have more to send than there will ever be room for.
//
// Rejected: to keep a place free for the owner. Owners that always push would use it all the time,
// and of a queue of one item producers had none.
bool work_broker::owes_a_push() const noexcept
{
    return is_pushs_turn_ && !pushes_->is_empty();
}

void work_broker::has_pushed()
{
    is_pushs_turn_ = false;
    pump_later();
}

void work_broker::wait_for_more()
{
    wake_operations();
    if (deaf_until_ && *deaf_until_ <= now())
        deaf_until_.reset();
    set_timer();
    if (deaf_until_)
        return;
    listen(*answers_, listens_to_answers_);
    if (!room() && !owes_a_push())
        listen(*producers_, listens_to_producers_);
}

void work_broker::hear_answers(fan_in_look how)
{
    arrival<work_answer> got;
    for (auto may_fail = answers_->source_count();;) {
        if (const auto ec = receive_now(*answers_, got, how)) {
            // A consumer that cannot be met for now keeps none of the others from being heard.
            if (!is_shortage(ec) || may_fail-- == 0)
                return;
            continue;
        }
        may_fail = answers_->source_count();
        const auto consumer = static_cast<std::uint64_t>(got.source);
        if (got.ended || !apply(consumer, got.message))
            detach(consumer);
    }
}

// False: no honest consumer says that.
bool work_broker::apply(std::uint64_t consumer, const work_answer& answer)
{
    lease_book::answered said{lease_book::verdict::unknown, 0};
    switch (answer.what) {
    case work_reply::want: return book_->want(consumer);
    case work_reply::acknowledge: said = book_->acknowledge(consumer, answer.lease); break;
    case work_reply::reject: said = book_->reject(consumer, answer.lease); break;
    }
    if (said.what == lease_book::verdict::done)
        forget(said.item);
    return said.what != lease_book::verdict::unknown;
}

void work_broker::hand_out_items()
{
    while (const auto what = book_->next(now())) {
        error_code ec;
        try {
            ec = send(*what, book_->late_answers(what->consumer));
        } catch (const std::bad_alloc&) {
            book_->undo(*what);
            throw;
        } catch (...) {  // a user's codec, which would throw at each attempt
            book_->bury(*what);
            throw;
        }
        if (!ec)
            continue;
        if (ec == channel_errc::too_long || ec == channel_errc::bad_message) {
            book_->bury(*what);
            continue;
        }
        book_->undo(*what);
        book_->pause(what->consumer, true);
        if (ec == asio::error::would_block)
            wait_for_room(what->consumer);
        else
            has_ended(what->consumer, ec);
    }
}

// What it has said before it closed or died counts, and is perhaps still on its way: the end of its
// answers is the end.
void work_broker::has_ended(std::uint64_t consumer, const error_code& ec)
{
    if (ec != channel_errc::closed && ec != channel_errc::peer_died)
        detach(consumer);
}

void work_broker::has_room(std::uint64_t consumer, const error_code& ec)
{
    if (!open_)
        return;
    if (ec)
        has_ended(consumer, ec);
    else
        book_->pause(consumer, false);
    pump();
}

void work_broker::wake_operations() noexcept
{
    if (room() != asio::error::would_block)
        pushes_->wake();
    if (book_->has_dead() || (closing_ && book_->is_drained()))
        letters_->wake();
    if (book_->is_drained())
        drains_->wake();
}

void work_broker::set_timer()
{
    auto next = book_->next_deadline();
    if (deaf_until_ && (!next || *deaf_until_ < *next))
        next = deaf_until_;
    if (next == timer_set_)
        return;
    timer_set_ = next;
    timer_.cancel();
    if (!next)
        return;
    timer_.expires_at(*next);
    timer_.async_wait([self = shared_from_this()](const error_code& ec) {
        if (ec)
            return;
        self->timer_set_.reset();
        self->pump();
    });
}

// As long as there is somebody to be heard. What keeps run() from returning meanwhile is this.
//
// Neither of the two spins before it sleeps (fan_in_options::spin): they wait at the same time, on
// one executor, with a deadline beside them, so each would keep the other from being heard. A
// consumer spins, if it is told to: it waits for its items alone.
void work_broker::listen(fan_in_core& to, bool& is_listening)
{
    if (is_listening || to.source_count() == 0)
        return;
    is_listening = true;
    auto heard = [self = shared_from_this(), &is_listening](const error_code& ec) {
        is_listening = false;
        self->has_heard(ec);
    };
    queue_operation<fan_in_wait>(to.operations(), to.shared_from_this(), std::move(heard));
}

void work_broker::has_heard(const error_code& ec)
{
    const bool was_closed =
        ec == asio::error::operation_aborted || ec == asio::error::bad_descriptor;
    if (is_shortage(ec)) {
        deaf_until_ = now() + after_shortage;
    } else if (ec && !was_closed && open_) {
        failure_ = ec;
        return stop();
    }
    pump();
}

}  // namespace detail

PROCYARD_NAMESPACE_END
