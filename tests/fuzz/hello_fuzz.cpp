// SPDX-License-Identifier: BSL-1.0
// A packet in the place of a channel's hello. The input: a byte that says with which descriptors,
// then the packet.
#include "fuzz_input.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <array>
#include <string>
#include <utility>

#include <procyard/ipc/descriptor_passing.hpp>
#include <procyard/ipc/detail/channel_end.hpp>
#include <procyard/ipc/detail/doorbell.hpp>
#include <procyard/ipc/detail/ring_memory.hpp>
#include <procyard/ipc/type_description.hpp>
#include <procyard/ipc/unix_socket.hpp>

#include "channel_hello.hpp"
#include "message_samples.hpp"

using namespace procyard::detail;
using procyard::error_code;
using procyard::unique_fd;
using procyard_fuzz::demand;
using procyard_fuzz::input;

namespace {

constexpr ring_shape shape{64, 8, 1};

// What a peer could have, made once.
struct possessions {
    procyard::raw_socket_pair sockets;
    ring_memory honest;
    unique_fd unsealed;
    doorbell bell;
    unique_fd button;

    possessions()
    {
        error_code ec;
        sockets = procyard::make_raw_socket_pair(SOCK_SEQPACKET, ec);
        demand(!ec, "a pair of sockets");
        honest = ring_memory::create(ring_role::producer, shape, feature_none, ec);
        demand(!ec, "memory");
        unsealed.reset(::memfd_create("fuzz", MFD_CLOEXEC));
        bell = doorbell::create(doorbell_kind::pipe, button, ec);
        demand(!ec, "a doorbell");
    }
    [[nodiscard]] int one(unsigned which) const
    {
        const std::array<int, 4> all{honest.memory().native_handle(), button.get(), unsealed.get(),
                                     sockets.first.get()};
        return all[which % all.size()];
    }
};

void believe(channel_hello hello)
{
    error_code ec;
    procyard::type_description type;
    if (procyard::type_description::parse(std::as_bytes(std::span(hello.description)), type)) {
        const auto& ours = procyard::describe<procyard_test::tick>();
        demand(type.to_bytes() == hello.description, "a description comes back the same");
        (void)procyard::explain_difference(ours, type);
        (void)type.to_string();
    }
    (void)ring_memory::size_bytes(hello.role, hello.shape, ec);
    const auto memory = ring_memory::attach(std::move(hello.memory), hello.memory_bytes,
                                            ring_role::producer, shape, ec);
    if (!ec)
        (void)memory.words().position.load();
    (void)doorbell_button::attach(std::move(hello.button), ec);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    static const possessions peer;
    input in(data, size);
    const auto with = in.take<std::uint8_t>();
    const auto packet = in.take_rest();
    const std::array<int, 4> all{peer.one(with >> 3U), peer.one(with >> 5U), peer.one(0),
                                 peer.one(1)};
    const auto count = packet.empty() ? 0 : std::size_t{with} % 5;
    error_code ec;
    (void)procyard::try_send_descriptors(peer.sockets.first.get(), packet,
                                         std::span(all).first(count), ec);
    demand(!ec, "a packet can be sent");
    auto hello = receive_hello(peer.sockets.second.get(), ec);
    if (!ec)
        believe(std::move(hello));
    else
        demand(!hello.memory && !hello.button, "of what is refused nothing is kept");
    // A hello is left where it is.
    std::byte rest{};
    while (::recv(peer.sockets.second.get(), &rest, 1, MSG_DONTWAIT) > 0) { }
    return 0;
}
