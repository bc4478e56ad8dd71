// SPDX-License-Identifier: BSL-1.0
//
// ZeroMQ over its ipc transport: PUSH and PULL, blocking.

#include <cstdio>
#include <string>

#include <zmq.h>

#include <unistd.h>

#include "../channel/round.hpp"

namespace {

// One per process, made where it is used: its threads do not survive a fork.
void* context()
{
    static void* const made = zmq_ctx_new();
    return made;
}

template <std::size_t Bytes>
class zeromq_link {
public:
    explicit zeromq_link(const bench::round_options&)
    {
        static int made = 0;
        // Abstract: no file to remove.
        address_ =
            "ipc://@procyard-bench-" + std::to_string(::getpid()) + "-" + std::to_string(made++);
    }

    void open_receiver()
    {
        socket_ = zmq_socket(context(), ZMQ_PULL);
        bench::require(zmq_bind(socket_, address_.c_str()) == 0, "zmq_bind");
    }

    void open_sender()
    {
        socket_ = zmq_socket(context(), ZMQ_PUSH);
        bench::require(zmq_connect(socket_, address_.c_str()) == 0, "zmq_connect");
    }

    void send(const bench::message<Bytes>& m)
    {
        bench::require(zmq_send(socket_, &m, Bytes, 0) == Bytes, "zmq_send");
    }

    void receive(bench::message<Bytes>& m)
    {
        bench::require(zmq_recv(socket_, &m, Bytes, 0) == Bytes, "zmq_recv");
    }

private:
    std::string address_;
    void* socket_ = nullptr;
};

}  // namespace

int main(int argc, char** argv)
{
    const bench::round_options options(argc, argv);
    if (options.command() == "version")
        std::printf("%d.%d.%d\n", ZMQ_VERSION_MAJOR, ZMQ_VERSION_MINOR, ZMQ_VERSION_PATCH);
    else
        bench::run_link<zeromq_link>(options);
}
