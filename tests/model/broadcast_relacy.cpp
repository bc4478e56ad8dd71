// SPDX-License-Identifier: BSL-1.0
//
// The ring of broadcast_ring.hpp, the real code, with one writer and two readers, and the claims of
// overwritten_ring.hpp on the ring of a channel, under the memory model of C++ as Relacy explores
// it. As ring_relacy.cpp: each run is made with the code as it is, and again with one of its orders
// weakened, which has to be found out.

// In this order: Relacy has macros by the names of the memory orders.
#include <procyard/ipc/detail/broadcast_ring.hpp>
#include <procyard/ipc/detail/overwritten_ring.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iostream>
#include <memory>
#include <optional>
#include <ostream>
#include <streambuf>
#include <string_view>

#include <relacy/relacy.hpp>

#undef new
#undef delete
#undef malloc
#undef calloc
#undef realloc
#undef free
#undef assert
#undef errno
#undef memory_order_relaxed
#undef memory_order_consume
#undef memory_order_acquire
#undef memory_order_release
#undef memory_order_acq_rel
#undef memory_order_seq_cst

namespace {

using namespace procyard;

constexpr unsigned readers = 2;

enum class word : std::uint8_t {
    committed,
    released,
    oldest,
    sleep,
    wake_at,
    closed,
    claims,
    place,
};

/// What is left out of the code under test, for the whole of a run.
struct weakening {
    enum kind : std::uint8_t {
        nothing,
        publisher_fence,
        sleeper_fence,
        claim_fence,
        intact_fence,
        claim,  // comes after the writing
        store,  // is relaxed, that of `which`
        load,
    } what = nothing;
    word which = word::committed;

    friend bool operator==(const weakening&, const weakening&) = default;
};
weakening weakened;

std::ostream& operator<<(std::ostream& out, const weakening& left_out)
{
    static constexpr std::array kinds{"as it is",
                                      "no fence after a publication",
                                      "no fence in announce",
                                      "no fence in claim",
                                      "no fence in is_intact",
                                      "claimed too late",
                                      "store relaxed",
                                      "load relaxed"};
    static constexpr std::array words{" of the writer's position",
                                      " of a reader's position",
                                      " of oldest",
                                      " of sleep",
                                      " of wake_at",
                                      " of closed",
                                      " of claims",
                                      " of a claim's place"};
    out << kinds[left_out.what];
    if (left_out.what == weakening::store || left_out.what == weakening::load)
        out << words[static_cast<std::size_t>(left_out.which)];
    return out;
}

std::array<bool, 1 + readers> announces;

template <class T>
class modelled_atomic {
public:
    modelled_atomic(T value) : value_(value) { }  // not explicit: std::atomic's is not either
    void is(word name) { name_ = name; }

    [[nodiscard]] T load(std::memory_order order) const
    {
        const bool acquires =
            order == std::memory_order_acquire && weakened != weakening{weakening::load, name_};
        return value_.load(acquires ? rl::mo_acquire : rl::mo_relaxed, RL_INFO);
    }
    void store(T value, std::memory_order order)
    {
        const bool releases =
            order == std::memory_order_release && weakened != weakening{weakening::store, name_};
        value_.store(value, releases ? rl::mo_release : rl::mo_relaxed, RL_INFO);
    }

private:
    rl::atomic<T> value_;
    word name_ = word::wake_at;
};

struct modelled_atomics {
    template <class T>
    using atomic = modelled_atomic<T>;

    static void full_fence() noexcept
    {
        if (weakened.what
            != (announces[rl::thread_index()] ? weakening::sleeper_fence
                                              : weakening::publisher_fence))
            rl::atomic_thread_fence(rl::mo_seq_cst, RL_INFO);
    }
    static void compiler_fence() noexcept { }
    static void release_fence() noexcept
    {
        if (weakened.what != weakening::claim_fence)
            rl::atomic_thread_fence(rl::mo_release, RL_INFO);
    }
    static void acquire_fence() noexcept
    {
        if (weakened.what != weakening::intact_fence)
            rl::atomic_thread_fence(rl::mo_acquire, RL_INFO);
    }
};

using words = detail::basic_broadcast_words<modelled_atomics>;
using writer_side = detail::basic_broadcast_writer<modelled_atomics>;
using known_reader = detail::basic_known_reader<modelled_atomics>;
using reader_side = detail::basic_broadcast_reader<modelled_atomics>;

/// The words of the writer (0) and of the readers, and their doorbells.
class sides {
public:
    sides()
    {
        for (unsigned n = 0; n <= readers; ++n) {
            auto* side = std::construct_at(reinterpret_cast<words*>(storage) + n);
            side->position.is(n == 0 ? word::committed : word::released);
            side->oldest.is(word::oldest);
            side->sleep.is(word::sleep);
            side->wake_at.is(word::wake_at);
            side->closed.is(word::closed);
            words_[n] = side;
        }
        for (auto& bell : bells_)
            bell.init(false, false, RL_INFO);
    }
    ~sides()
    {
        for (auto& bell : bells_)
            bell.deinit(RL_INFO);
        for (auto* side : words_)
            std::destroy_at(side);
    }
    sides(const sides&) = delete;
    sides& operator=(const sides&) = delete;

    [[nodiscard]] words& of(unsigned n) { return *words_[n]; }
    void ring(unsigned n) { bells_[n].set(RL_INFO); }
    void sleep(unsigned n) { bells_[n].wait(false, false, RL_INFO); }

private:
    // Static, since Relacy gets the memory of a suite from malloc, which knows no such alignment.
    alignas(words) static inline std::byte storage[(1 + readers) * sizeof(words)];

    std::array<words*, 1 + readers> words_{};
    std::array<rl::generic_event, 1 + readers> bells_;
};

/// Common to both suites: what the writer does after a publication, and how a reader waits.
template <class Suite, unsigned Capacity>
class broadcast : public rl::test_suite<Suite, 1 + readers> {
public:
    void before()
    {
        announces = {};
        writer_.emplace(sides_.of(0), Capacity);
        for (unsigned n = 1; n <= readers; ++n) {
            known_[n - 1].emplace(sides_.of(n), 0);
            readers_[n - 1].emplace(sides_.of(n), sides_.of(0), Capacity, 0);
        }
    }

protected:
    sides sides_;
    std::optional<writer_side> writer_;
    std::array<std::optional<known_reader>, readers> known_;
    std::array<std::optional<reader_side>, readers> readers_;

    void ring_sleepers()
    {
        writer_->fence();
        for (unsigned n = 1; n <= readers; ++n) {
            if (known_[n - 1]->must_ring())
                sides_.ring(n);
        }
    }

    void close()
    {
        writer_->close();
        ring_sleepers();
    }

    /// False: that was all.
    bool wait_for_any(unsigned index)
    {
        auto& side = *readers_[index - 1];
        bool closed = side.writer_closed();
        RL_ASSERT(side.refresh());
        while (side.room() == 0) {
            if (closed)
                return false;
            announces[index] = true;
            side.announce();
            announces[index] = false;
            closed = side.writer_closed();
            RL_ASSERT(side.refresh());
            if (side.room() == 0 && !closed)
                sides_.sleep(index);
            side.withdraw();
            closed = side.writer_closed();
            RL_ASSERT(side.refresh());
        }
        return true;
    }
};

/// Nobody holds back: what is read may be overwritten meanwhile. A message has two words.
template <unsigned Capacity, unsigned Messages>
class lossy : public broadcast<lossy<Capacity, Messages>, Capacity> {
public:
    void thread(unsigned index)
    {
        if (index == 0)
            write();
        else
            read(index);
    }

private:
    std::array<std::array<rl::atomic<unsigned>, 2>, Capacity> cells_;

    void write()
    {
        auto& side = *this->writer_;
        for (unsigned n = 1; n <= Messages; ++n) {
            if (weakened.what != weakening::claim)
                side.claim(side.floor_for(1));
            for (auto& part : cells_[side.position() % Capacity])
                part.store(n, rl::mo_relaxed, RL_INFO);
            side.claim(side.floor_for(1));
            side.advance(1);
            side.publish();
            this->ring_sleepers();
        }
        this->close();
    }

    void read(unsigned index)
    {
        auto& side = *this->readers_[index - 1];
        std::uint64_t received = 0;
        std::uint64_t lost = 0;
        while (this->wait_for_any(index)) {
            auto& cell = cells_[side.position() % Capacity];
            const auto first = cell[0].load(rl::mo_relaxed, RL_INFO);
            const auto second = cell[1].load(rl::mo_relaxed, RL_INFO);
            if (side.is_intact()) {
                RL_ASSERT(first == side.position() + 1 && second == first);
                ++received;
                side.advance(1);
            } else {
                const auto before = side.position();
                RL_ASSERT(side.skip_lost());
                RL_ASSERT(side.position() > before);
                lost += side.position() - before;
            }
        }
        RL_ASSERT(received + lost == Messages);
    }
};

/// Both hold back: nothing is overwritten that anybody still reads. The cells are no atomics.
template <unsigned Capacity, unsigned Messages>
class holding : public broadcast<holding<Capacity, Messages>, Capacity> {
public:
    void thread(unsigned index)
    {
        if (index == 0)
            write();
        else
            read(index);
    }

private:
    std::array<rl::var<unsigned>, Capacity> cells_;

    [[nodiscard]] bool has_room()
    {
        auto& side = *this->writer_;
        bool room = true;
        for (auto& each : this->known_) {
            RL_ASSERT(each->refresh(side.position()));
            room = room && detail::distance(side.floor_for(1), each->position()) >= 0;
        }
        return room;
    }

    void write()
    {
        auto& side = *this->writer_;
        for (unsigned n = 1; n <= Messages; ++n) {
            while (!has_room()) {
                announces[0] = true;
                side.announce(1);
                announces[0] = false;
                if (!has_room())
                    this->sides_.sleep(0);
                side.withdraw();
            }
            side.claim(side.floor_for(1));
            cells_[side.position() % Capacity](RL_INFO) = n;
            side.advance(1);
            side.publish();
            this->ring_sleepers();
        }
        this->close();
    }

    void read(unsigned index)
    {
        auto& side = *this->readers_[index - 1];
        unsigned received = 0;
        while (this->wait_for_any(index)) {
            RL_ASSERT(cells_[side.position() % Capacity](RL_INFO) == received + 1);
            RL_ASSERT(side.is_intact());
            ++received;
            side.advance(1);
            if (side.publish())
                this->sides_.ring(0);
        }
        RL_ASSERT(received == Messages);
    }
};

/// A channel whose sender drops the oldest: one receiver, and claims that say how many are gone.
template <unsigned Capacity, unsigned Messages>
class overwriting : public rl::test_suite<overwriting<Capacity, Messages>, 2> {
public:
    overwriting()
    {
        claims_ = std::construct_at(reinterpret_cast<claim_words*>(claim_storage));
        claims_->claims.is(word::claims);
        for (auto& place : claims_->places) {
            place.oldest.is(word::place);
            place.gone.is(word::place);
        }
        for (unsigned n = 0; n < 2; ++n) {
            auto* side = std::construct_at(reinterpret_cast<ring_words*>(storage) + n);
            side->position.is(n == 0 ? word::committed : word::released);
            side->sleep.is(word::sleep);
            side->closed.is(word::closed);
            words_[n] = side;
        }
        bell_.init(false, false, RL_INFO);
    }
    ~overwriting()
    {
        bell_.deinit(RL_INFO);
        for (auto* side : words_)
            std::destroy_at(side);
        std::destroy_at(claims_);
    }
    overwriting(const overwriting&) = delete;
    overwriting& operator=(const overwriting&) = delete;

    void before()
    {
        announces = {};
        sender_.emplace(detail::ring_role::producer, *words_[0], *words_[1], Capacity);
        receiver_.emplace(detail::ring_role::consumer, *words_[1], *words_[0], Capacity);
        claimer_.emplace(*claims_, 0);
    }
    void thread(unsigned index)
    {
        if (index == 0)
            send();
        else
            receive();
    }

private:
    using ring_words = detail::basic_ring_words<modelled_atomics>;
    using ring_side = detail::basic_ring_side<modelled_atomics>;
    using claim_words = detail::basic_claim_words<modelled_atomics>;

    enum class found : std::uint8_t { some, none, overtaken };

    // Static: see sides.
    alignas(ring_words) static inline std::byte storage[2 * sizeof(ring_words)];
    alignas(claim_words) static inline std::byte claim_storage[sizeof(claim_words)];

    std::array<ring_words*, 2> words_{};
    claim_words* claims_ = nullptr;
    std::optional<ring_side> sender_;
    std::optional<ring_side> receiver_;
    std::optional<detail::basic_claimer<modelled_atomics>> claimer_;
    rl::generic_event bell_;
    std::array<std::array<rl::atomic<unsigned>, 2>, Capacity> cells_;
    std::uint64_t expected_ = 0;
    std::uint64_t lost_ = 0;
    std::uint64_t received_ = 0;

    void claim()
    {
        const auto floor = sender_->position() + 1 - Capacity;
        if (detail::distance(claimer_->oldest(), floor) > 0)
            claimer_->claim_up_to(floor, floor);
    }

    void send()
    {
        for (unsigned n = 1; n <= Messages; ++n) {
            if (weakened.what != weakening::claim)
                claim();
            for (auto& part : cells_[sender_->position() % Capacity])
                part.store(n, rl::mo_relaxed, RL_INFO);
            claim();
            sender_->advance(1);
            sender_->publish();
            if (sender_->must_ring())
                bell_.set(RL_INFO);
        }
        sender_->close();
        if (sender_->must_ring_before_sleep())
            bell_.set(RL_INFO);
    }

    // As ring_mirror::try_fetch, of one message.
    found try_fetch()
    {
        const detail::basic_claim_reader<modelled_atomics> reader(*claims_);
        detail::claim before;
        if (!reader.look(before))
            return found::overtaken;
        RL_ASSERT(before.oldest == before.gone);
        auto at = receiver_->position();
        if (detail::distance(at, before.oldest) > 0)
            at = before.oldest;
        const auto room = receiver_->peer_position() - at;
        if (room > Capacity) {
            RL_ASSERT(detail::distance(0, room) > 0);
            RL_ASSERT(!reader.is_latest(before));
            return found::overtaken;
        }
        if (room != 0) {
            auto& cell = cells_[at % Capacity];
            const auto first = cell[0].load(rl::mo_relaxed, RL_INFO);
            const auto second = cell[1].load(rl::mo_relaxed, RL_INFO);
            detail::claim after;
            if (!reader.look(after) || detail::distance(at, after.oldest) > 0)
                return found::overtaken;
            RL_ASSERT(first == at + 1 && second == first);
        }
        lost_ += at - expected_;
        expected_ = at + (room != 0 ? 1 : 0);
        receiver_->go_on(expected_, expected_);
        received_ += room != 0 ? 1 : 0;
        return room != 0 ? found::some : found::none;
    }

    found fetch()
    {
        constexpr int most_tries = 2;
        auto answer = found::overtaken;
        for (int i = 0; i < most_tries && answer == found::overtaken; ++i)
            answer = try_fetch();
        return answer;
    }

    void receive()
    {
        for (;;) {
            bool closed = receiver_->peer_closed();
            auto answer = fetch();
            if (answer == found::some)
                continue;
            if (closed)
                break;
            receiver_->publish();
            announces[1] = true;
            receiver_->announce(1);
            announces[1] = false;
            closed = receiver_->peer_closed();
            answer = fetch();
            if (answer != found::some && !closed)
                bell_.wait(false, false, RL_INFO);
            receiver_->withdraw();
        }
        RL_ASSERT(received_ + lost_ == Messages);
    }
};

/// Keeps what Relacy says, or the beginning of it (see ring_relacy.cpp).
class transcript : public std::streambuf {
public:
    transcript() { setp(text_.data(), text_.data() + text_.size()); }
    [[nodiscard]] std::string_view text() const { return {pbase(), pptr()}; }

private:
    std::array<char, 100'000> text_;
};

/// One run: see ring_relacy.cpp.
template <class Suite>
bool run(const char* name, unsigned bound, weakening left_out, bool holds)
{
    transcript kept;
    std::ostream said(&kept);
    rl::test_params params;
    params.output_stream = &said;
    params.progress_stream = &said;
    params.search_type = bound != 0 ? rl::sched_bound : rl::sched_random;
    params.context_bound = bound;
    params.iteration_count = 50'000;
    weakened = left_out;
    const bool held = rl::simulate<Suite>(params);
    std::cout << (held ? "holds: " : "refuted: ") << name << ", " << left_out << ": "
              << params.stop_iteration << " executions";
    if (!held)
        std::cout << ", " << rl::test_result_str(params.test_result);
    std::cout << std::endl;
    if (held == holds)
        return true;
    std::cout << "FAILED: should " << (holds ? "hold" : "be refuted") << '\n'
              << kept.text() << '\n';
    return false;
}

template <class Suite>
bool check(const char* name, unsigned bound, std::initializer_list<weakening> needed,
           std::initializer_list<weakening> not_needed = {})
{
    bool good = bound == 0 || run<Suite>(name, bound, {}, true);
    good = run<Suite>(name, 0, {}, true) && good;
    for (const auto& what : needed)
        good = run<Suite>(name, 0, what, false) && good;
    for (const auto& what : not_needed)
        good = run<Suite>(name, 0, what, true) && good;
    return good;
}

}  // namespace

int main()
{
    const weakening publisher_fence{weakening::publisher_fence};
    const weakening sleeper_fence{weakening::sleeper_fence};
    const weakening claim_fence{weakening::claim_fence};
    const weakening intact_fence{weakening::intact_fence};
    const weakening late_claim{weakening::claim};
    const weakening commit_store{weakening::store, word::committed};
    const weakening commit_load{weakening::load, word::committed};
    const weakening release_store{weakening::store, word::released};
    const weakening release_load{weakening::load, word::released};
    const weakening oldest_store{weakening::store, word::oldest};
    const weakening oldest_load{weakening::load, word::oldest};
    const weakening closed_load{weakening::load, word::closed};
    const weakening sleep_store{weakening::store, word::sleep};
    const weakening sleep_load{weakening::load, word::sleep};

    const weakening claims_store{weakening::store, word::claims};
    const weakening claims_load{weakening::load, word::claims};

    bool good = true;
    good &= check<overwriting<1, 3>>("drop_oldest, capacity 1", 1, {claim_fence, intact_fence});
    good &=
        check<overwriting<2, 4>>("drop_oldest, capacity 2", 0,
                                 {publisher_fence, sleeper_fence, claim_fence, intact_fence,
                                  late_claim, commit_store, commit_load, claims_store, claims_load},
                                 {sleep_store, sleep_load, closed_load});
    good &= check<overwriting<2, 3>>("drop_oldest, 3 messages", 1, {claim_fence, intact_fence});
    good &= check<lossy<2, 3>>("lossy, 3 messages", 1, {claim_fence, intact_fence});
    good &= check<lossy<2, 4>>("lossy, 4 messages", 0,
                               {publisher_fence, sleeper_fence, claim_fence, intact_fence,
                                late_claim, commit_store, commit_load, oldest_load, closed_load},
                               {sleep_store, sleep_load, oldest_store});
    good &= check<holding<1, 3>>(
        "holding back, capacity 1", 1,
        {publisher_fence, sleeper_fence, commit_store, commit_load, release_store, release_load},
        {sleep_store, sleep_load});
    good &= check<holding<2, 3>>(
        "holding back, capacity 2", 1,
        {publisher_fence, sleeper_fence, commit_store, commit_load, release_store, release_load});
    return good ? 0 : 1;
}
