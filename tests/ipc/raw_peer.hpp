// SPDX-License-Identifier: BSL-1.0
// A peer of a channel that keeps to no rules but those it wants to: it has the memory and the
// doorbell of one, and says what it likes. For tests with INTERNALS ipc.
#ifndef PROCYARD_TESTS_IPC_RAW_PEER_HPP
#define PROCYARD_TESTS_IPC_RAW_PEER_HPP

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include <procyard/ipc/channel.hpp>
#include <procyard/ipc/detail/doorbell.hpp>
#include <procyard/ipc/detail/overwritten_ring.hpp>
#include <procyard/ipc/detail/ring_memory.hpp>

#include "channel_hello.hpp"

namespace procyard_test {

/// A packet with any descriptors.
inline void send_packet(int socket, std::span<const std::byte> bytes, std::span<const int> fds)
{
    iovec data{const_cast<std::byte*>(bytes.data()), bytes.size()};
    std::vector<std::byte> control(CMSG_SPACE(fds.size_bytes()));
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    if (!fds.empty()) {
        message.msg_control = control.data();
        message.msg_controllen = control.size();
        auto* const rights = CMSG_FIRSTHDR(&message);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(fds.size_bytes());
        std::memcpy(CMSG_DATA(rights), fds.data(), fds.size_bytes());
    }
    REQUIRE(::sendmsg(socket, &message, MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size()));
}

/// The fields of a hello, for who wants to lie. As in channel_hello.cpp.
struct hello_fields {
    std::uint64_t magic = 0x4f4c4c4859435250;
    std::uint32_t version = 1;
    std::uint32_t role = 0;
    procyard::detail::ring_shape shape{};
    std::uint64_t memory_bytes = 0;
};

template <class T>
class raw_peer {
public:
    using ring_role = procyard::detail::ring_role;

    raw_peer(ring_role role, procyard::unique_fd socket,
             const procyard::channel_options& options = {})
        : terms_(procyard::detail::terms_of<T>(options)),
          role_(role),
          socket_(std::move(socket))
    {
        procyard::error_code ec;
        const bool overwrites =
            role == ring_role::producer && options.full == procyard::when_full::drop_oldest;
        const std::uint64_t features =
            overwrites ? procyard::detail::feature_overwrites : procyard::detail::feature_none;
        own_ = procyard::detail::ring_memory::create(role, terms_.shape, features, ec);
        REQUIRE_FALSE(ec);
        bell_ = procyard::detail::doorbell::create(procyard::detail::doorbell_kind::pipe,
                                                   button_for_peer_, ec);
        REQUIRE_FALSE(ec);
        fields.role = static_cast<std::uint32_t>(role);
        fields.shape = terms_.shape;
        fields.memory_bytes = own_.memory().size();
        text = terms_.type->to_bytes();
        fds = {own_.memory().native_handle(), button_for_peer_.get()};
    }

    /// What the hello says, and with which descriptors: an honest one, until it is changed.
    hello_fields fields;
    std::string text;
    std::vector<int> fds;

    [[nodiscard]] std::vector<std::byte> hello() const
    {
        std::vector<std::byte> bytes(sizeof fields + text.size());
        std::memcpy(bytes.data(), &fields, sizeof fields);
        std::memcpy(bytes.data() + sizeof fields, text.data(), text.size());
        return bytes;
    }
    /// Sends it.
    void greet() { send_packet(socket_.get(), hello(), fds); }
    /// Takes the other's, who is honest.
    void meet()
    {
        procyard::error_code ec;
        auto theirs = procyard::detail::receive_hello(socket_.get(), ec);
        REQUIRE_FALSE(ec);
        peer_ = procyard::detail::ring_memory::attach(std::move(theirs.memory), theirs.memory_bytes,
                                                      theirs.role, terms_.shape, ec);
        REQUIRE_FALSE(ec);
        button_ = procyard::detail::doorbell_button::attach(std::move(theirs.button), ec);
        REQUIRE_FALSE(ec);
    }
    /// Its descriptors that an honest one would have closed by now.
    void let_go() { button_for_peer_.reset(); }

    [[nodiscard]] int socket() const noexcept { return socket_.get(); }
    [[nodiscard]] procyard::detail::ring_words& words() { return own_.own_words(); }
    [[nodiscard]] const procyard::detail::ring_words& peer_words() const { return peer_.words(); }
    [[nodiscard]] std::uint64_t capacity() const noexcept { return terms_.shape.unit_count; }
    /// @pre the peer is a producer
    [[nodiscard]] const std::byte* peer_units() const { return peer_.units(); }
    [[nodiscard]] std::span<std::byte> units()
    {
        return {own_.own_units(),
                static_cast<std::size_t>(terms_.shape.unit_count * terms_.shape.unit_bytes)};
    }
    [[nodiscard]] procyard::detail::ring_header& header()
    {
        return *reinterpret_cast<procyard::detail::ring_header*>(
            reinterpret_cast<std::byte*>(&words()) - procyard::detail::ring_words_offset);
    }
    /// Of a producer that drops the oldest.
    [[nodiscard]] procyard::detail::claim_words& claims()
    {
        return *reinterpret_cast<procyard::detail::claim_words*>(
            reinterpret_cast<std::byte*>(&header()) + procyard::detail::ring_claims_offset);
    }
    /// Of a consumer.
    [[nodiscard]] procyard::detail::account_words& accounts()
    {
        return *reinterpret_cast<procyard::detail::account_words*>(
            reinterpret_cast<std::byte*>(&header()) + procyard::detail::ring_accounts_offset);
    }
    void press() const { button_.press(); }
    /// Says that it stands at `position`, and rings.
    void jump_to(std::uint64_t position)
    {
        words().position.store(position, std::memory_order_release);
        press();
    }

private:
    procyard::detail::channel_terms terms_;
    ring_role role_;
    procyard::unique_fd socket_;
    procyard::detail::ring_memory own_;
    procyard::detail::ring_memory peer_;
    procyard::detail::doorbell bell_;
    procyard::unique_fd button_for_peer_;
    procyard::detail::doorbell_button button_;
};

/// Memory that is no end's own, with seals of F_ADD_SEALS.
inline procyard::unique_fd memory_of(std::size_t bytes, unsigned seals)
{
    procyard::unique_fd fd(::memfd_create("peer", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    REQUIRE(::posix_fallocate(fd.get(), 0, static_cast<off_t>(bytes)) == 0);
    REQUIRE(::fcntl(fd.get(), F_ADD_SEALS, seals) == 0);
    return fd;
}
inline constexpr unsigned all_seals =
    F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL;

/// Descriptors that are neither memory nor a doorbell nor a hello socket.
inline std::vector<procyard::unique_fd> wrong_descriptors()
{
    std::vector<procyard::unique_fd> made;
    made.emplace_back(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
    made.emplace_back(::open("/dev/null", O_RDWR | O_CLOEXEC));
    made.emplace_back(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    made.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    made.emplace_back(::eventfd(0, EFD_CLOEXEC));
    return made;
}

}  // namespace procyard_test

#endif
