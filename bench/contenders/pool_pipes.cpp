// SPDX-License-Identifier: BSL-1.0
//
// A pool as one writes it by hand: fork, two pipes for each worker, poll. A task is written, and
// read, alone; with way=batches as many at once as there are.

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../pool/tasks.hpp"

namespace {

using bench::pool_message;

struct worker {
    pid_t pid = -1;
    int to = -1;
    int from = -1;
    std::size_t in_flight = 0;
};

// Messages that are read or written at once, at most.
std::size_t at_once(const bench::round_options& options, const bench::task_round& round)
{
    return options.text("way", "one") == "batches" ? round.window() : 1;
}

// Whole messages: a pipe passes less than it has room for in pieces of any length.
void write_all(int fd, const pool_message* messages, std::size_t count)
{
    const auto* bytes = reinterpret_cast<const char*>(messages);
    std::size_t left = count * sizeof(pool_message);
    while (left > 0) {
        const auto n = ::write(fd, bytes, left);
        bench::require(n > 0, "write");
        bytes += n;
        left -= static_cast<std::size_t>(n);
    }
}

std::size_t read_some(int fd, std::vector<pool_message>& messages)
{
    auto* const bytes = reinterpret_cast<char*>(messages.data());
    std::size_t count = 0;
    do {
        const auto n = ::read(fd, bytes + count, messages.size() * sizeof(pool_message) - count);
        if (n <= 0)
            return 0;
        count += static_cast<std::size_t>(n);
    } while (count % sizeof(pool_message) != 0);
    return count / sizeof(pool_message);
}

[[noreturn]] void work(int from, int to, std::size_t most)
{
    std::vector<pool_message> batch(most);
    while (const auto count = read_some(from, batch)) {
        for (std::size_t i = 0; i < count; ++i)
            batch[i] = bench::answer_to(batch[i]);
        write_all(to, batch.data(), count);
    }
    std::_Exit(0);
}

std::vector<worker> start_workers(const bench::task_round& round, std::size_t most)
{
    std::vector<worker> workers(round.workers());
    for (auto& one : workers) {
        int requests[2];
        int responses[2];
        bench::require(::pipe2(requests, O_CLOEXEC) == 0 && ::pipe2(responses, O_CLOEXEC) == 0,
                       "pipe2");
        one.pid = ::fork();
        bench::require(one.pid != -1, "fork");
        if (one.pid == 0) {
            // What earlier workers' ends are here too would keep them from seeing the end.
            for (const auto& other : workers) {
                ::close(other.to);
                ::close(other.from);
            }
            ::close(requests[1]);
            ::close(responses[0]);
            if (workers.size() == 1)
                bench::pin_to(1);
            work(requests[0], responses[1], most);
        }
        ::close(requests[0]);
        ::close(responses[1]);
        one.to = requests[1];
        one.from = responses[0];
    }
    return workers;
}

void fill(bench::task_round& round, worker& one, std::vector<pool_message>& batch)
{
    while (one.in_flight < round.window() && round.more()) {
        std::size_t count = 0;
        while (count < batch.size() && one.in_flight < round.window() && round.more()) {
            batch[count++] = round.next();
            ++one.in_flight;
        }
        write_all(one.to, batch.data(), count);
    }
}

}  // namespace

int main(int argc, char** argv)
{
    const bench::round_options options(argc, argv);
    bench::task_round round(options);
    // Requests and responses of a window fit into a pipe each: nobody waits for room.
    bench::require(round.window() * sizeof(pool_message) <= 65536, "window");
    const auto most = at_once(options, round);
    auto workers = start_workers(round, most);
    if (workers.size() == 1)
        bench::pin_to(0);
    std::vector<pool_message> batch(most);
    std::vector<pollfd> looks;
    for (const auto& one : workers)
        looks.push_back({one.from, POLLIN, 0});
    round.start();
    for (auto& one : workers)
        fill(round, one, batch);
    while (!round.ended()) {
        bench::require(::poll(looks.data(), looks.size(), -1) > 0, "poll");
        for (std::size_t i = 0; i < workers.size(); ++i) {
            if (looks[i].revents == 0)
                continue;
            const auto count = read_some(workers[i].from, batch);
            bench::require(count > 0, "a worker has ended");
            workers[i].in_flight -= count;
            for (std::size_t n = 0; n < count; ++n)
                round.take(batch[n]);
            fill(round, workers[i], batch);
        }
    }
    round.report();
    for (const auto& one : workers) {
        ::close(one.to);
        ::waitpid(one.pid, nullptr, 0);
    }
}
