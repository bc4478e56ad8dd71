// SPDX-License-Identifier: BSL-1.0
// A subscriber, or the reader of a latest value, with a writer that writes what it likes into its
// memory, whenever it likes.
//
// The input: a byte that says who reads, how, and from where, then steps, each a byte and what it
// needs.
#include "fuzz_input.hpp"

#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>

#include <sys/socket.h>

#include <array>
#include <string>
#include <utility>

#include <procyard/ipc/broadcast.hpp>
#include <procyard/ipc/latest_value.hpp>
#include <procyard/ipc/unix_socket.hpp>

#include "broadcast_hello.hpp"

namespace asio = boost::asio;
using namespace procyard::detail;
using procyard::channel_errc;
using procyard::error_code;
using procyard::latest_reader;
using procyard::slow_reader;
using procyard::subscriber;
using procyard::unique_fd;
using procyard::unopened;
using procyard_fuzz::demand;
using procyard_fuzz::input;

namespace {

// The memory of a writer, made once and new for each input.
template <class T>
class writer {
public:
    explicit writer(const procyard::broadcast_options& options)
        : terms_(broadcast_terms_of<T>(options))
    {
        error_code ec;
        memory_ = broadcast_memory::create(broadcast_role::writer, terms_.shape, 0, ec);
        demand(!ec, "memory");
        bell_ = doorbell::create(doorbell_kind::pipe, button_, ec);
        demand(!ec, "a doorbell");
    }

    [[nodiscard]] broadcast_words& words() { return memory_.own_words(); }
    [[nodiscard]] std::uint64_t capacity() const { return terms_.shape.unit_count; }
    [[nodiscard]] std::span<std::byte> units()
    {
        return {memory_.own_units(),
                static_cast<std::size_t>(terms_.shape.unit_count * terms_.shape.unit_bytes)};
    }
    // A subscription to a new broadcast that begins at `start`.
    [[nodiscard]] unique_fd subscribe(std::uint64_t start, slow_reader manner)
    {
        std::memset(units().data(), 0, units().size());
        words().position.store(start);
        words().oldest.store(start);
        words().sleep.store(0);
        words().wake_at.store(0);
        words().closed.store(0);
        broadcast_hello hello;
        hello.role = broadcast_role::writer;
        hello.manner = static_cast<std::uint32_t>(manner);
        hello.shape = terms_.shape;
        hello.memory_bytes = memory_.memory().size();
        hello.start = start;
        hello.start_number = start;
        hello.description = terms_.type->to_bytes();
        error_code ec;
        sockets_ = procyard::make_raw_socket_pair(SOCK_SEQPACKET, ec);
        demand(!ec, "a pair of sockets");
        send_broadcast_hello(sockets_.first.get(), hello, memory_.memory().native_handle(),
                             button_.get(), ec);
        demand(!ec, "a hello");
        return std::move(sockets_.second);
    }

private:
    broadcast_terms terms_;
    broadcast_memory memory_;
    doorbell bell_;
    unique_fd button_;
    procyard::raw_socket_pair sockets_;
};

// What the writer does to its words.
void scribble(input& in, broadcast_words& words, std::uint64_t start)
{
    switch (in.take<std::uint8_t>() % 7) {
    case 0: words.position.store(in.take<std::uint64_t>()); break;
    case 1: words.position.store(start + 8U * in.take<std::uint8_t>()); break;
    case 2: words.position.store(words.position.load() + in.take<std::uint8_t>()); break;
    case 3: words.oldest.store(in.take<std::uint64_t>()); break;
    case 4: words.oldest.store(words.position.load() - 8U * in.take<std::uint8_t>()); break;
    case 5:
        words.sleep.store(in.take<std::uint8_t>());
        words.wake_at.store(in.take<std::uint64_t>());
        break;
    default: words.closed.store(in.take<std::uint8_t>());
    }
}

// What there is to receive. False: it has ended.
bool receive(subscriber<std::string>& from, std::uint64_t capacity)
{
    std::string text;
    error_code ec;
    (void)from.try_receive(text, ec);
    demand(text.size() <= longest_broadcast(capacity), "no longer than a message can be");
    demand(from.is_open() || from.failure(), "an end has a reason");
    return from.is_open();
}
bool receive(subscriber<std::uint64_t>& from, std::uint64_t capacity)
{
    std::array<std::uint64_t, 8> some{};
    error_code ec;
    demand(from.try_receive_some(some, ec) <= some.size(), "no more than fit");
    demand(from.statistics().depth <= capacity, "no more than the ring holds");
    return from.is_open();
}
bool receive(latest_reader<std::uint64_t>& from, std::uint64_t)
{
    const auto before = from.version();
    const bool had_value = from.load().has_value();
    demand(had_value || from.version() == before, "no number without a value");
    return from.is_open();
}

template <class End, class T>
void read(input& in, writer<T>& from, std::uint8_t how)
{
    static asio::io_context ctx;
    // Near the end of the numbers, too. A record begins at a multiple of 8.
    const auto start = (how & 0x80U) != 0 ? std::uint64_t{0} - 8U * (how >> 4U & 7U) : 0;
    error_code ec;
    End end(ctx.get_executor(),
            unopened<End>(from.subscribe(start, static_cast<slow_reader>(how / 4 % 3)), {}), ec);
    demand(!ec, "a subscription");
    for (bool good = true; good && !in.empty();) {
        const auto step = in.take<std::uint8_t>();
        switch (step % 3) {
        case 0: scribble(in, from.words(), start); break;
        case 1: {
            const auto units = from.units();
            const auto at = in.take<std::uint16_t>() % units.size();
            const auto bytes = in.take_bytes(1 + step / 3 % 32);
            std::memcpy(units.data() + at, bytes.data(), std::min(bytes.size(), units.size() - at));
            break;
        }
        default: good = receive(end, from.capacity());
        }
    }
    (void)receive(end, from.capacity());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    static writer<std::string> texts({.capacity_bytes = 256});
    static writer<std::uint64_t> numbers({.capacity_messages = 4});
    input in(data, size);
    const auto how = in.take<std::uint8_t>();
    switch (how % 4) {
    case 0:
    case 1: read<subscriber<std::string>>(in, texts, how); break;
    case 2: read<subscriber<std::uint64_t>>(in, numbers, how); break;
    default: read<latest_reader<std::uint64_t>>(in, numbers, how);
    }
    return 0;
}
