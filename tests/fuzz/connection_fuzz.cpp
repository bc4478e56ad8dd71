// SPDX-License-Identifier: BSL-1.0
// What a channel_listener and its clients say to each other before there is a channel.
//
// The input: a byte that says who is spoken to, and which end that wants, then the packet: a
// client's request, or a listener's answer. Or what a client is told by whom it has connected to:
// any number of packets, each a length (u16), a byte that says with how many sockets, and what they
// are, and its bytes.
#include "fuzz_input.hpp"

#include <boost/asio/io_context.hpp>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <procyard/ipc/broadcast.hpp>
#include <procyard/ipc/channel_connect.hpp>
#include <procyard/ipc/descriptor_passing.hpp>
#include <procyard/ipc/detail/end_plan.hpp>
#include <procyard/ipc/unix_socket.hpp>

#include "client_handshake.hpp"
#include "connection_messages.hpp"
#include "message_samples.hpp"

namespace asio = boost::asio;
using namespace procyard::detail;
using procyard::duplex;
using procyard::error_code;
using procyard::receiver;
using procyard::sender;
using procyard::unique_fd;
using procyard_fuzz::demand;
using procyard_fuzz::input;
using procyard_test::tick;

namespace {

using client_end = receiver<tick>;

end_plan offered(end_plan plan)
{
    plan.is_offered = true;
    return plan;
}

// Small ones: a listener makes the memory of each ring that fits.
end_plan plan_of(unsigned which)
{
    const procyard::channel_options options{.capacity_messages = 4, .max_peer_bytes = 1U << 16U};
    switch (which % 5) {
    case 3: return offered(end_kind<client_end>::opposite(options));
    case 4: return offered(end_kind<procyard::subscriber<tick>>::opposite(options));
    case 0: return end_kind<sender<tick>>::plan(options);
    case 1: return end_kind<client_end>::plan(options);
    default: return end_kind<duplex<tick, std::string>>::plan({.capacity_bytes = 256});
    }
}

// What is believed of a packet is said again in the same words.
template <class Message, class Parse>
void say_again(const Message& got, Parse parse)
{
    const auto again = to_bytes(got);
    error_code ec;
    const auto heard = parse(again, ec);
    demand(!ec && to_bytes(heard) == again, "what was understood can be said again");
}

void hear_request(std::span<const std::byte> packet, const end_plan& ours)
{
    error_code ec;
    const auto request = parse_request(packet, ec);
    if (ec)
        return;
    say_again(request, parse_request);
    const auto verdict = judge(ours, request);
    const bool is_opposite = request.side.sends.has_value() == ours.receives.has_value()
        && request.side.receives.has_value() == ours.sends.has_value()
        && request.side.sort == ours.sort;
    demand(is_opposite || verdict.status != connection_status::accepted, "only the opposite fits");
}

void hear_answer(std::span<const std::byte> packet, end_plan ours)
{
    error_code ec;
    const auto answer = parse_answer(packet, ec);
    if (ec)
        return;
    if (answer.status == connection_status::accepted)
        say_again(answer, parse_answer);
    else
        demand(to_error(answer.status).failed(), "who is sent away has an error");
    const auto verdict = judge(ours, answer);
    if (verdict.status != connection_status::accepted)
        return;
    adopt(answer, ours, ec);
    for (const auto* const terms : {&ours.sends, &ours.receives}) {
        if (ec || !*terms)
            continue;
        const auto bytes = ring_memory::size_bytes(ring_role::producer, (*terms)->shape, ec);
        demand(!ec && bytes <= (*terms)->max_peer_bytes, "a ring that can be, within the limit");
    }
}

procyard::raw_socket_pair make_sockets()
{
    error_code ec;
    auto sockets = procyard::make_raw_socket_pair(SOCK_SEQPACKET, ec);
    demand(!ec, "a pair of sockets");
    return sockets;
}

// The listener itself, all but its socket.
void ask_listener(std::span<const std::byte> packet, const end_plan& ours)
{
    static asio::io_context ctx;
    auto sockets = make_sockets();
    error_code ec;
    (void)procyard::try_send_descriptors(sockets.first.get(), packet, {}, ec);
    if (ec)
        return;
    client_handshake client(ctx.get_executor(), std::move(sockets.second), {},
                            std::make_shared<end_plan>(ours));
    const auto got = client.resume(accept_event::begun);
    demand(ours.is_offered || got != client_handshake::progress::ready,
           "nobody is in without a ring of his own");
    if (got == client_handshake::progress::over)
        demand(client.refusal().why.failed(), "who is sent away has an error");
}

// Whom a client takes for a listener.
class liar {
public:
    liar()
        : name_("procyard-fuzz-" + std::to_string(::getpid())),
          socket_(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)),
          memory_(::memfd_create("fuzz", MFD_CLOEXEC))
    {
        const auto where = procyard::unix_abstract_endpoint<procyard::unix_seqpacket>(name_);
        demand(::bind(socket_.get(), where.data(), static_cast<socklen_t>(where.size())) == 0
                   && ::listen(socket_.get(), 4) == 0,
               "a socket that listens");
        make_reactor();
    }
    void meet_client(input& in)
    {
        const auto lowest = ::fcntl(0, F_DUPFD_CLOEXEC, 0);
        ::close(lowest);
        bool is_done = false;
        ctx_.restart();
        procyard::async_connect<client_end>(
            ctx_.get_executor(), procyard::channel_address::abstract_name(name_),
            {.channel = {.max_peer_bytes = 1U << 16U}}, [&](error_code ec, client_end end) {
                is_done = true;
                demand(ec ? !end.is_open() : end.is_connected() || end.failure(),
                       "an end, or an error");
            });
        ctx_.poll();
        unique_fd client(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        demand(static_cast<bool>(client), "a client that has connected");
        while (!in.empty())
            tell(client.get(), in);
        client.reset();
        ring_ = {};
        for (int turns = 0; !is_done && turns < 100; ++turns)
            ctx_.poll();
        demand(is_done, "who is hung up on does not wait");
        const auto now = ::fcntl(0, F_DUPFD_CLOEXEC, 0);
        ::close(now);
        demand(now == lowest, "no descriptor is left");
    }

private:
    // Its descriptors have to be there before any are counted.
    void make_reactor() { const procyard::unix_seqpacket::socket first(ctx_); }
    // One packet, with none, one or two of: the socket of a ring, with a hello or without; memory.
    void tell(int client, input& in)
    {
        const auto length = in.take<std::uint16_t>();
        const auto with = in.take<std::uint8_t>();
        if (ring_.second.get() == -1)
            ring_ = make_sockets();
        const std::array<int, 2> all{(with & 4U) != 0 ? memory_.get() : ring_.second.get(),
                                     ring_.second.get()};
        const auto packet = in.take_bytes(length);
        error_code ignored;
        const bool is_hello = (with & 8U) != 0;
        (void)procyard::try_send_descriptors(is_hello ? ring_.first.get() : client, packet,
                                             std::span(all).first(packet.empty() ? 0 : with % 3U),
                                             ignored);
    }

    asio::io_context ctx_;
    const std::string name_;
    unique_fd socket_;
    unique_fd memory_;
    procyard::raw_socket_pair ring_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    static liar whom;
    input in(data, size);
    const auto how = in.take<std::uint8_t>();
    if (how % 3 == 2) {
        whom.meet_client(in);
        return 0;
    }
    const auto packet = procyard_fuzz::copy_of(in.take_rest());
    const auto ours = plan_of(how / 3U);
    if (how % 3 == 1) {
        hear_answer(packet, ours);
        return 0;
    }
    hear_request(packet, ours);
    ask_listener(packet, ours);
    return 0;
}
