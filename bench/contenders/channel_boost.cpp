// SPDX-License-Identifier: BSL-1.0
//
// Boost's queues between processes: Boost.Lockfree's spsc_queue in shared memory, which is polled,
// and Boost.Interprocess' message_queue, which sleeps.

#include <algorithm>
#include <cstdio>
#include <string>

#include <boost/interprocess/creation_tags.hpp>
#include <boost/interprocess/exceptions.hpp>
#include <boost/interprocess/ipc/message_queue.hpp>
#include <boost/lockfree/spsc_queue.hpp>
#include <boost/version.hpp>

#include <unistd.h>

#include "../channel/round.hpp"

namespace {

template <std::size_t Bytes>
class lockfree_link {
public:
    explicit lockfree_link(const bench::round_options&) : queue_(bench::make_shared_object<queue>())
    {
    }

    void open_receiver() { }
    void open_sender() { }

    void send(const bench::message<Bytes>& m)
    {
        while (!queue_.push(m))
            bench::relax();
    }

    void receive(bench::message<Bytes>& m)
    {
        while (!queue_.pop(m))
            bench::relax();
    }

    void send_some(std::span<const bench::message<Bytes>> messages)
    {
        while (!messages.empty()) {
            const auto sent = queue_.push(messages.data(), messages.size());
            messages = messages.subspan(sent);
            if (sent == 0)
                bench::relax();
        }
    }

    std::size_t receive_some(std::span<bench::message<Bytes>> messages)
    {
        while (true) {
            if (const auto received = queue_.pop(messages.data(), messages.size()))
                return received;
            bench::relax();
        }
    }

private:
    using queue = boost::lockfree::spsc_queue<bench::message<Bytes>,
                                              boost::lockfree::capacity<bench::capacity_of<Bytes>>>;

    queue& queue_;
};

template <std::size_t Bytes>
class interprocess_link {
public:
    explicit interprocess_link(const bench::round_options&)
        : queue_(boost::interprocess::create_only, next_name().c_str(), bench::capacity_of<Bytes>,
                 Bytes)
    {
        boost::interprocess::message_queue::remove(name_.c_str());  // both processes inherit it
    }

    void open_receiver() { }
    void open_sender() { }

    void send(const bench::message<Bytes>& m) { queue_.send(&m, Bytes, 0); }

    void receive(bench::message<Bytes>& m)
    {
        boost::interprocess::message_queue::size_type received = 0;
        unsigned priority = 0;
        queue_.receive(&m, Bytes, received, priority);
        bench::require(received == Bytes, "a part of a message");
    }

private:
    const std::string& next_name()
    {
        static int made = 0;
        name_ = "procyard-bench-" + std::to_string(::getpid()) + "-" + std::to_string(made++);
        return name_;
    }

    std::string name_;
    boost::interprocess::message_queue queue_;
};

void run(const bench::round_options& options)
{
    const auto mechanism = options.text("mechanism", "lockfree");
    if (options.command() == "version")
        std::printf("%d.%d\n", BOOST_VERSION / 100000, BOOST_VERSION / 100 % 1000);
    else if (mechanism == "lockfree")
        bench::run_link<lockfree_link>(options);
    else if (mechanism == "message_queue")
        bench::run_link<interprocess_link>(options);
    else
        bench::require(false, "mechanism=lockfree|message_queue");
}

}  // namespace

int main(int argc, char** argv)
{
    run(bench::round_options(argc, argv));
}
