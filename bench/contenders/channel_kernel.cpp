// SPDX-License-Identifier: BSL-1.0
//
// What the kernel offers: POSIX message queues, pipes, Unix sockets, with blocking calls.

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>

#include <fcntl.h>
#include <mqueue.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../channel/round.hpp"

namespace {

template <std::size_t Bytes>
class posix_queue_link {
public:
    explicit posix_queue_link(const bench::round_options&)
    {
        static int made = 0;
        const auto name =
            "/procyard-bench-" + std::to_string(::getpid()) + "-" + std::to_string(made++);
        mq_attr shape{};
        shape.mq_maxmsg = 10;  // what a user without privileges gets, as is the size: 8 KiB
        shape.mq_msgsize = Bytes;
        queue_ = ::mq_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600, &shape);
        bench::require(queue_ != -1, "mq_open");
        ::mq_unlink(name.c_str());  // both processes inherit it
    }

    void open_receiver() { }
    void open_sender() { }

    void send(const bench::message<Bytes>& m)
    {
        bench::require(::mq_send(queue_, bytes_of(m), Bytes, 0) == 0, "mq_send");
    }

    void receive(bench::message<Bytes>& m)
    {
        auto* bytes = reinterpret_cast<char*>(&m);
        bench::require(::mq_receive(queue_, bytes, Bytes, nullptr) == Bytes, "mq_receive");
    }

private:
    static const char* bytes_of(const bench::message<Bytes>& m)
    {
        return reinterpret_cast<const char*>(&m);
    }

    mqd_t queue_;
};

// Messages one after the other in a stream of bytes.
template <std::size_t Bytes>
class stream_link {
public:
    static constexpr std::size_t batch = std::max<std::size_t>(65536 / Bytes, 1);

    void open_receiver() { ::close(write_end_); }
    void open_sender() { ::close(read_end_); }

    void send(const bench::message<Bytes>& m) { send_some(std::span(&m, 1)); }

    void receive(bench::message<Bytes>& m)
    {
        auto* to = reinterpret_cast<char*>(&m);
        for (std::size_t have = 0; have < Bytes;)
            have += read_some(to + have, Bytes - have);
    }

    void send_some(std::span<const bench::message<Bytes>> messages)
    {
        const auto bytes = std::as_bytes(messages);
        for (std::size_t sent = 0; sent < bytes.size();) {
            const auto n = ::write(write_end_, bytes.data() + sent, bytes.size() - sent);
            bench::require(n > 0, "write");
            sent += static_cast<std::size_t>(n);
        }
    }

    std::size_t receive_some(std::span<bench::message<Bytes>> messages)
    {
        auto* to = reinterpret_cast<char*>(messages.data());
        std::size_t have = read_some(to, messages.size_bytes());
        while (have % Bytes != 0)  // the rest of a message
            have += read_some(to + have, Bytes - have % Bytes);
        return have / Bytes;
    }

protected:
    stream_link() = default;

    int read_end_ = -1;
    int write_end_ = -1;

private:
    std::size_t read_some(char* to, std::size_t size) const
    {
        const auto n = ::read(read_end_, to, size);
        if (n == 0)
            errno = 0;
        bench::require(n > 0, "read");
        return static_cast<std::size_t>(n);
    }
};

template <std::size_t Bytes>
class pipe_link : public stream_link<Bytes> {
public:
    explicit pipe_link(const bench::round_options&)
    {
        std::array<int, 2> ends{};
        bench::require(::pipe2(ends.data(), O_CLOEXEC) == 0, "pipe2");
        this->read_end_ = ends[0];
        this->write_end_ = ends[1];
    }
};

template <std::size_t Bytes>
class stream_socket_link : public stream_link<Bytes> {
public:
    explicit stream_socket_link(const bench::round_options&)
    {
        std::array<int, 2> ends{};
        bench::require(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0,
                       "socketpair");
        this->read_end_ = ends[0];
        this->write_end_ = ends[1];
    }
};

template <std::size_t Bytes>
class packet_socket_link {
public:
    explicit packet_socket_link(const bench::round_options&)
    {
        bench::require(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends_.data()) == 0,
                       "socketpair");
        if constexpr (Bytes > 65536)
            enlarge();
    }

    void open_receiver() { ::close(ends_[1]); }
    void open_sender() { ::close(ends_[0]); }

    void send(const bench::message<Bytes>& m)
    {
        bench::require(::send(ends_[1], &m, Bytes, MSG_NOSIGNAL) == Bytes, "send");
    }

    void receive(bench::message<Bytes>& m)
    {
        bench::require(::recv(ends_[0], &m, Bytes, 0) == Bytes, "recv");
    }

    void send_some(std::span<const bench::message<Bytes>> messages)
    {
        prepare(messages.data(), messages.size());
        for (std::size_t sent = 0; sent < messages.size();) {
            const auto n = ::sendmmsg(ends_[1], &headers_[sent],
                                      static_cast<unsigned>(messages.size() - sent), MSG_NOSIGNAL);
            bench::require(n > 0, "sendmmsg");
            sent += static_cast<std::size_t>(n);
        }
    }

    std::size_t receive_some(std::span<bench::message<Bytes>> messages)
    {
        prepare(messages.data(), messages.size());
        const auto n = ::recvmmsg(ends_[0], headers_.data(), static_cast<unsigned>(messages.size()),
                                  MSG_WAITFORONE, nullptr);
        bench::require(n > 0, "recvmmsg");
        const auto count = static_cast<std::size_t>(n);
        for (std::size_t i = 0; i < count; ++i)
            bench::require(headers_[i].msg_len == Bytes, "recvmmsg: a part of a message");
        return count;
    }

private:
    // A packet has to fit as a whole, with the kernel's book-keeping.
    void enlarge() const
    {
        const int size = 2 * static_cast<int>(Bytes);
        for (const int end : ends_)
            if (::setsockopt(end, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) != 0)
                (void)::setsockopt(end, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    }

    void prepare(const bench::message<Bytes>* messages, std::size_t count)
    {
        bench::require(count <= headers_.size(), "the batch is too large");
        for (std::size_t i = 0; i < count; ++i) {
            // sendmmsg does not write through it.
            pieces_[i] = {const_cast<bench::message<Bytes>*>(messages + i), Bytes};
            headers_[i] = {};
            headers_[i].msg_hdr.msg_iov = &pieces_[i];
            headers_[i].msg_hdr.msg_iovlen = 1;
        }
    }

    static constexpr std::size_t together_max =
        std::max(bench::batch_of<Bytes>, bench::burst_messages);

    std::array<int, 2> ends_{-1, -1};
    std::array<mmsghdr, together_max> headers_{};
    std::array<iovec, together_max> pieces_{};
};

void run(const bench::round_options& options)
{
    const auto mechanism = options.text("mechanism", "pipe");
    if (mechanism == "posix_queue")
        bench::run_link<posix_queue_link>(options);
    else if (mechanism == "pipe")
        bench::run_link<pipe_link>(options);
    else if (mechanism == "stream_socket")
        bench::run_link<stream_socket_link>(options);
    else if (mechanism == "packet_socket")
        bench::run_link<packet_socket_link>(options);
    else
        bench::require(false, "mechanism=posix_queue|pipe|stream_socket|packet_socket");
}

}  // namespace

int main(int argc, char** argv)
{
    run(bench::round_options(argc, argv));
}
