// SPDX-License-Identifier: BSL-1.0
//
// nng over Unix sockets: push and pull, blocking.

#include <cstdio>
#include <string>

#include <nng/nng.h>
#include <nng/protocol/pipeline0/pull.h>
#include <nng/protocol/pipeline0/push.h>

#include <unistd.h>

#include "../channel/round.hpp"

namespace {

void expect_success(int error, const char* what)
{
    if (error != 0)
        std::fprintf(stderr, "%s: %s\n", what, nng_strerror(error));
    bench::require(error == 0, what);
}

template <std::size_t Bytes>
class nng_link {
public:
    explicit nng_link(const bench::round_options&)
    {
        static int made = 0;
        // No file to remove.
        address_ = "abstract://procyard-bench-" + std::to_string(::getpid()) + "-"
            + std::to_string(made++);
    }

    void open_receiver()
    {
        expect_success(nng_pull0_open(&socket_), "nng_pull0_open");
        expect_success(nng_socket_set_size(socket_, NNG_OPT_RECVMAXSZ, 0), "NNG_OPT_RECVMAXSZ");
        expect_success(nng_listen(socket_, address_.c_str(), nullptr, 0), "nng_listen");
    }

    void open_sender()
    {
        expect_success(nng_push0_open(&socket_), "nng_push0_open");
        // Tries again until the receiver listens.
        expect_success(nng_dial(socket_, address_.c_str(), nullptr, NNG_FLAG_NONBLOCK), "nng_dial");
    }

    void send(const bench::message<Bytes>& m)
    {
        // It does not write to what it is given.
        auto* bytes = const_cast<bench::message<Bytes>*>(&m);
        expect_success(nng_send(socket_, bytes, Bytes, 0), "nng_send");
    }

    void receive(bench::message<Bytes>& m)
    {
        std::size_t size = Bytes;
        expect_success(nng_recv(socket_, &m, &size, 0), "nng_recv");
        bench::require(size == Bytes, "nng_recv: a part of a message");
    }

private:
    std::string address_;
    nng_socket socket_{};
};

}  // namespace

int main(int argc, char** argv)
{
    const bench::round_options options(argc, argv);
    if (options.command() == "version")
        std::printf("%s\n", nng_version());
    else
        bench::run_link<nng_link>(options);
}
