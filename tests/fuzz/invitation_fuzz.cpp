// SPDX-License-Identifier: BSL-1.0
// What lies in the one descriptor by which a subscription, or a consumer of a work queue, goes to
// where it is opened; and what a reader of a broadcast sends back.
//
// The input: a byte that says who is spoken to, a byte that says with which descriptors, then the
// packet.
#include "fuzz_input.hpp"

#include <boost/asio/io_context.hpp>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <array>
#include <string>
#include <utility>

#include <procyard/ipc/broadcast.hpp>
#include <procyard/ipc/descriptor_passing.hpp>
#include <procyard/ipc/detail/broadcast_memory.hpp>
#include <procyard/ipc/detail/doorbell.hpp>
#include <procyard/ipc/latest_value.hpp>
#include <procyard/ipc/socket_error.hpp>
#include <procyard/ipc/unix_socket.hpp>
#include <procyard/ipc/work_queue.hpp>

namespace asio = boost::asio;
using namespace procyard::detail;
using procyard::error_code;
using procyard::unique_fd;
using procyard::unopened;
using procyard_fuzz::demand;
using procyard_fuzz::input;

namespace {

procyard::raw_socket_pair make_sockets()
{
    error_code ec;
    auto sockets = procyard::make_raw_socket_pair(SOCK_SEQPACKET, ec);
    demand(!ec, "a pair of sockets");
    return sockets;
}

// What a peer could have, made once; and what is spoken to.
class places {
public:
    places() : numbers_(ctx_.get_executor(), {.capacity_messages = 4})
    {
        error_code ec;
        const auto terms = broadcast_terms_of<std::uint64_t>({.capacity_messages = 4});
        writer_ = broadcast_memory::create(broadcast_role::writer, terms.shape, 0, ec);
        demand(!ec, "memory of a writer");
        reader_ = broadcast_memory::create(broadcast_role::reader, terms.shape, 0, ec);
        demand(!ec, "memory of a reader");
        bell_ = doorbell::create(doorbell_kind::pipe, button_, ec);
        demand(!ec, "a doorbell");
        unsealed_.reset(::memfd_create("fuzz", MFD_CLOEXEC));
    }

    // Opens what lies in a descriptor.
    template <class End>
    void open(std::span<const std::byte> packet, unsigned with)
    {
        auto sockets = make_sockets();
        say(sockets.first.get(), packet, with);
        error_code ec;
        End end(ctx_.get_executor(),
                unopened<End>(std::move(sockets.second), {.max_peer_bytes = 1U << 16U}), ec);
        demand(ec.failed() != end.is_open() || end.failure(), "an end, or an error");
        demand(ec.category() != procyard::socket_category(),
               "an error of the end's, not a socket's");
        if (!ec)
            use(end);
    }
    // A reader comes, or what says so.
    void greet_writer(std::span<const std::byte> packet, unsigned with)
    {
        error_code ec;
        auto holding = numbers_.subscribe({.when_slow = procyard::slow_reader::holds_back}, ec);
        demand(!ec, "a subscription");
        const auto cut_off = numbers_.cut_off();
        say(holding.native_handle(), packet, with);
        for (std::uint64_t n = 0; n < 6; ++n)
            (void)numbers_.try_send(n, ec);
        demand(numbers_.cut_off() <= cut_off + 1, "it alone");
        holding = {};
        demand(numbers_.readers() == 0, "whoever has gone holds nobody back");
        demand(numbers_.try_send(7, ec), "there is room again");
    }

private:
    void say(int socket, std::span<const std::byte> packet, unsigned with)
    {
        const auto items = make_sockets();
        const auto answers = make_sockets();
        const std::array<std::array<int, 2>, 8> all{{
            {writer_.memory().native_handle(), button_.get()},
            {reader_.memory().native_handle(), button_.get()},
            {items.first.get(), answers.first.get()},
            {items.first.get(), items.second.get()},
            {unsealed_.get(), button_.get()},
            {button_.get(), reader_.memory().native_handle()},
            {writer_.memory().native_handle(), unsealed_.get()},
            {reader_.memory().native_handle(), items.first.get()},
        }};
        error_code ignored;
        (void)procyard::try_send_descriptors(
            socket, packet, std::span(all[with % 8]).first(packet.empty() ? 0 : with / 8 % 3),
            ignored);
    }
    static void use(procyard::subscriber<std::uint64_t>& end)
    {
        error_code ec;
        std::uint64_t n = 0;
        (void)end.try_receive(n, ec);
    }
    static void use(procyard::subscriber<std::string>& end)
    {
        error_code ec;
        std::string text;
        (void)end.try_receive(text, ec);
    }
    static void use(procyard::latest_reader<std::uint64_t>& end) { (void)end.load(); }
    static void use(procyard::work_source<std::uint64_t>& end)
    {
        error_code ec;
        procyard::leased<std::uint64_t> taken;
        (void)end.try_take(taken, ec);
    }

    asio::io_context ctx_;
    procyard::broadcaster<std::uint64_t> numbers_;
    broadcast_memory writer_;
    broadcast_memory reader_;
    doorbell bell_;
    unique_fd button_;
    unique_fd unsealed_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    static places here;
    input in(data, size);
    const auto whom = in.take<std::uint8_t>();
    const auto with = in.take<std::uint8_t>();
    const auto packet = procyard_fuzz::copy_of(in.take_rest());
    switch (whom % 5) {
    case 0: here.open<procyard::subscriber<std::uint64_t>>(packet, with); break;
    case 1: here.open<procyard::subscriber<std::string>>(packet, with); break;
    case 2: here.open<procyard::latest_reader<std::uint64_t>>(packet, with); break;
    case 3: here.open<procyard::work_source<std::uint64_t>>(packet, with); break;
    default: here.greet_writer(packet, with);
    }
    return 0;
}
