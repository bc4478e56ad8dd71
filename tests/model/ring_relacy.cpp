// SPDX-License-Identifier: BSL-1.0
//
// The ring of ring_core.hpp, the real code, under the memory model of C++ as Relacy explores it: a
// load may see any store that nothing has put in order before a later one, a fence does what the
// standard says and no more, and a cell that both threads touch without an order is a data race.
//
// Each run is made with the code as it is, and again with one of its orders weakened. A weakening
// that goes unnoticed would mean that the run looks at nothing, or that the order is not needed;
// the table at the end says of each which.
//
// Relacy does not know all that the standard allows: a store never passes a load that comes before
// it, and a load never sees more than the last three stores to its word. See docs/memory-model.md.

// In this order: Relacy has macros by the names of the memory orders.
#include <procyard/ipc/detail/ring_core.hpp>

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
using detail::ring_role;

enum class word : std::uint8_t { committed, released, sleep, wake_at, closed, unfenced };

/// What is left out of the code under test, for the whole of a run.
struct weakening {
    enum kind : std::uint8_t {
        nothing,
        publisher_fence,
        last_fence,  // the one between saying that there are no more and leaving out the first
        sleeper_fence,
        membarrier,  // the sleeper has a fence, the publisher has none
        store,       // is relaxed, that of `which`
        load,
    } what = nothing;
    word which = word::committed;

    friend bool operator==(const weakening&, const weakening&) = default;
};
weakening weakened;
bool is_random = false;  // the search of this run

std::ostream& operator<<(std::ostream& out, const weakening& left_out)
{
    static constexpr std::array kinds{
        "as it is",      "no fence in must_ring", "no last fence", "no fence in announce",
        "no membarrier", "store relaxed",         "load relaxed"};
    static constexpr std::array words{" of the producer's position",
                                      " of the consumer's position",
                                      " of sleep",
                                      " of wake_at",
                                      " of closed",
                                      " of unfenced"};
    out << kinds[left_out.what];
    if (left_out.what == weakening::store || left_out.what == weakening::load)
        out << words[static_cast<std::size_t>(left_out.which)];
    return out;
}

rl::memory_order order_of(std::memory_order order, word name)
{
    switch (order) {
    case std::memory_order_acquire:
        return weakened == weakening{weakening::load, name} ? rl::mo_relaxed : rl::mo_acquire;
    case std::memory_order_release:
        return weakened == weakening{weakening::store, name} ? rl::mo_relaxed : rl::mo_release;
    case std::memory_order_relaxed: return rl::mo_relaxed;
    default: return rl::mo_seq_cst;
    }
}

/// What a thread is at, to know which of the fences it has come to.
struct progress {
    bool announces = false;
    bool has_said_unfenced = false;
};
std::array<progress, 2> threads;

progress& this_thread()
{
    return threads[rl::thread_index()];
}

template <class T>
class modelled_atomic {
public:
    modelled_atomic(T value) : value_(value) { }  // not explicit: std::atomic's is not either
    void is(word name) { name_ = name; }

    [[nodiscard]] T load(std::memory_order order) const
    {
        return value_.load(order_of(order, name_), RL_INFO);
    }
    void store(T value, std::memory_order order)
    {
        if (name_ == word::unfenced)
            this_thread().has_said_unfenced = value != 0;
        value_.store(value, order_of(order, name_), RL_INFO);
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
        const auto& thread = this_thread();
        const auto left_out = thread.announces ? weakening::sleeper_fence
            : thread.has_said_unfenced         ? weakening::last_fence
                                               : weakening::publisher_fence;
        if (weakened.what != left_out)
            rl::atomic_thread_fence(rl::mo_seq_cst, RL_INFO);
    }
    static void compiler_fence() noexcept { }
};

using words = detail::basic_ring_words<modelled_atomics>;
using ring_side = detail::basic_ring_side<modelled_atomics>;

/// The words, the cells and the doorbells of one ring, between two threads.
template <unsigned Capacity>
class ring {
public:
    ring()
    {
        for (unsigned n : {0U, 1U}) {
            auto* side = std::construct_at(reinterpret_cast<words*>(storage) + n);
            side->position.is(n == 0 ? word::committed : word::released);
            side->sleep.is(word::sleep);
            side->wake_at.is(word::wake_at);
            side->closed.is(word::closed);
            side->unfenced.is(word::unfenced);
            words_[n] = side;
        }
        for (auto& bell : bells_)
            bell.init(false, false, RL_INFO);
    }
    ~ring()
    {
        for (auto& bell : bells_)
            bell.deinit(RL_INFO);
        for (auto* side : words_)
            std::destroy_at(side);
    }
    ring(const ring&) = delete;
    ring& operator=(const ring&) = delete;

    [[nodiscard]] ring_side side(ring_role role, bool may_relax)
    {
        const bool first = role == ring_role::producer;
        return {role, *words_[first ? 0 : 1], *words_[first ? 1 : 0], Capacity, may_relax};
    }
    rl::var<unsigned>& cell(const ring_side& side) { return cells_[side.position() % Capacity]; }
    /// A doorbell: waiting for it empties it.
    rl::generic_event& bell_of(ring_role role)
    {
        return bells_[role == ring_role::producer ? 0 : 1];
    }

private:
    // Static, since Relacy gets the memory of a suite from malloc, which knows no such alignment.
    alignas(words) static inline std::byte storage[2 * sizeof(words)];

    std::array<words*, 2> words_{};
    std::array<rl::var<unsigned>, Capacity> cells_;
    std::array<rl::generic_event, 2> bells_;
};

constexpr ring_role other(ring_role role)
{
    return role == ring_role::producer ? ring_role::consumer : ring_role::producer;
}

/// When the producer asks whether the consumer sleeps, and whether it closes.
enum class asks : std::uint8_t {
    always,  // after each commit, and after close
    late,    // after each commit but the last, for which it asks after close
    only,    // after each commit, and never closes: the last one has to wake the consumer by itself
};

/// Both sides sleep whenever they can; the producer for any number of units. Where there is more
/// than one unit, a wait is given up now and then (a cancelled operation), so that a threshold can
/// be lower than the one before. If they may, both relax when they have woken: always, or
/// in a random search now and then.
template <bool MayRelax, unsigned Capacity, unsigned Messages, asks Asks>
class sleepers : public rl::test_suite<sleepers<MayRelax, Capacity, Messages, Asks>, 2> {
public:
    /// Makes the sides before there are threads: fewer steps to be interleaved.
    void before()
    {
        threads = {};
        sides_[0].emplace(ring_.side(ring_role::producer, MayRelax));
        sides_[1].emplace(ring_.side(ring_role::consumer, MayRelax));
        sides_[0]->relax();
        sides_[1]->relax();
    }

    void thread(unsigned index)
    {
        auto& side = *sides_[index];
        if (index == 0)
            produce(side);
        else
            consume(side);
    }

private:
    ring<Capacity> ring_;
    std::array<std::optional<ring_side>, 2> sides_;
    std::array<unsigned, 2> patience_{Capacity - 1, Capacity - 1};  // waits that may be given up

    void produce(ring_side& side)
    {
        for (unsigned n = 1; n <= Messages; ++n) {
            while (side.room() == 0)
                wait(side, ring_role::producer);
            ring_.cell(side)(RL_INFO) = n;
            side.advance(1);
            side.publish();
            if (Asks != asks::late || n < Messages)
                ring_if_asleep(side, ring_role::producer);
        }
        if (Asks == asks::only)
            return;
        side.close();
        ring_if_asleep(side, ring_role::producer);
    }

    void consume(ring_side& side)
    {
        unsigned received = 0;
        while (Asks != asks::only || received < Messages) {
            const bool closed = side.peer_closed();
            RL_ASSERT(side.refresh());
            if (side.room() == 0 && closed)
                break;
            if (side.room() == 0) {
                wait(side, ring_role::consumer);
                continue;
            }
            RL_ASSERT(ring_.cell(side)(RL_INFO) == received + 1);
            ++received;
            side.advance(1);
            side.publish();
            ring_if_asleep(side, ring_role::consumer);
        }
        RL_ASSERT(received == Messages);
    }

    void wait(ring_side& side, ring_role role)
    {
        const auto wanted = role == ring_role::producer ? 1 + rl::rand(Capacity) : 1;
        if (side.must_ring_before_sleep())
            ring_.bell_of(other(role)).set(RL_INFO);
        this_thread().announces = true;
        const bool can_be_seen = side.announce(wanted, [] {
            if (weakened.what != weakening::membarrier) {
                rl::ctx().sched();  // the other may go on between the announcement and this
                rl::systemwide_fence(RL_INFO);
            }
            return true;
        });
        RL_ASSERT(can_be_seen);
        this_thread().announces = false;
        const bool closed = side.peer_closed();
        RL_ASSERT(side.refresh());
        auto& patience = patience_[role == ring_role::producer ? 0 : 1];
        if (side.room() < wanted && !closed && patience > 0 && rl::rand(2) == 0)
            --patience;
        else if (side.room() < wanted && !closed)
            ring_.bell_of(role).wait(false, false, RL_INFO);
        side.withdraw();
        if (MayRelax && (!is_random || rl::rand(2) == 0))
            side.relax();
    }

    void ring_if_asleep(ring_side& side, ring_role role)
    {
        if (side.must_ring())
            ring_.bell_of(other(role)).set(RL_INFO);
    }
};

/// Nobody sleeps, so that no fence and no doorbell puts anything in order.
template <unsigned Capacity, unsigned Messages>
class spinners : public rl::test_suite<spinners<Capacity, Messages>, 2> {
public:
    void thread(unsigned index)
    {
        const auto role = index == 0 ? ring_role::producer : ring_role::consumer;
        auto side = ring_.side(role, false);
        unsigned n = 0;
        while (n < Messages) {
            const bool closed = side.peer_closed();
            RL_ASSERT(side.refresh());
            RL_ASSERT(side.room() > 0 || !closed);
            for (; side.room() > 0 && n < Messages; side.advance(1)) {
                ++n;
                if (role == ring_role::producer)
                    ring_.cell(side)(RL_INFO) = n;
                else
                    RL_ASSERT(ring_.cell(side)(RL_INFO) == n);
            }
            if (side.is_published())
                rl::yield(1, RL_INFO);
            else
                side.publish();
        }
        side.close();
    }

private:
    ring<Capacity> ring_;
};

/// Keeps what Relacy says, or the beginning of it. A string cannot: what it allocates while a run
/// goes on comes from Relacy, and would be returned to malloc.
class transcript : public std::streambuf {
public:
    transcript() { setp(text_.data(), text_.data() + text_.size()); }
    [[nodiscard]] std::string_view text() const { return {pbase(), pptr()}; }

private:
    std::array<char, 100'000> text_;
};

/// One run, with one weakening or none: to the end, or to the first execution that goes wrong. With
/// a bound all executions are looked at in which a thread is preempted that often at most; without
/// one 50,000 that are chosen by chance, always the same ones. False if it ends otherwise than it
/// should.
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
    is_random = bound == 0;
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

/// The code as it is, in both ways, and then what is needed of it and what is not.
template <class Suite>
bool check(const char* name, unsigned bound, std::initializer_list<weakening> needed,
           std::initializer_list<weakening> not_needed = {})
{
    bool good = run<Suite>(name, bound, {}, true);
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
    const weakening last_fence{weakening::last_fence};
    const weakening sleeper_fence{weakening::sleeper_fence};
    const weakening membarrier{weakening::membarrier};
    const weakening commit_store{weakening::store, word::committed};
    const weakening commit_load{weakening::load, word::committed};
    const weakening release_store{weakening::store, word::released};
    const weakening release_load{weakening::load, word::released};
    const weakening closed_store{weakening::store, word::closed};
    const weakening closed_load{weakening::load, word::closed};
    const weakening sleep_store{weakening::store, word::sleep};
    const weakening sleep_load{weakening::load, word::sleep};
    const weakening unfenced_store{weakening::store, word::unfenced};
    const weakening unfenced_load{weakening::load, word::unfenced};

    bool good = true;
    const auto own_fences = {publisher_fence, sleeper_fence, commit_store, commit_load,
                             release_store,   release_load,  closed_store, closed_load};
    good &= check<sleepers<false, 1, 2, asks::late>>("own fences, capacity 1", 3, own_fences,
                                                     {sleep_store, sleep_load});
    good &= check<sleepers<false, 2, 3, asks::late>>("own fences, capacity 2", 2, own_fences,
                                                     {sleep_store, sleep_load});
    // A fence between the last commit and close puts the two in order.
    good &= check<sleepers<false, 1, 3, asks::always>>("own fences, always asked", 2, {closed_load},
                                                       {closed_store});

    const auto either = {publisher_fence, last_fence,    sleeper_fence, membarrier,   commit_store,
                         commit_load,     release_store, release_load,  closed_store, closed_load};
    good &= check<sleepers<true, 1, 3, asks::always>>("membarrier, capacity 1", 2, either,
                                                      {sleep_store, sleep_load});
    good &= check<sleepers<true, 2, 3, asks::late>>("membarrier, capacity 2", 1, either,
                                                    {sleep_store, sleep_load});
    good &= check<sleepers<true, 2, 3, asks::only>>(
        "membarrier, never closed", 1,
        {publisher_fence, last_fence, sleeper_fence, membarrier, unfenced_store, unfenced_load},
        {sleep_store, sleep_load});

    const auto no_fences = {commit_store, commit_load,  release_store,
                            release_load, closed_store, closed_load};
    good &= check<spinners<1, 3>>("no doorbells, capacity 1", 3, no_fences);
    good &= check<spinners<2, 4>>("no doorbells, capacity 2", 3, no_fences);
    return good ? 0 : 1;
}
