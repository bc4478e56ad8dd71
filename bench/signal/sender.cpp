// SPDX-License-Identifier: BSL-1.0
#include "sender.hpp"

#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <new>

namespace bench {

int measured_signal() noexcept
{
    return SIGUSR1;
}

signal_sender::signal_sender(const round_options& options)
    : count_(static_cast<std::size_t>(options.number("signals", 10'000))),
      sleep_us_(options.real("sleep_us", 30))
{
    void* const memory =
        ::mmap(nullptr, sizeof(shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    require(memory != MAP_FAILED, "mmap");
    shared_ = new (memory) shared;
    latencies_.reserve(count_);
}

signal_sender::~signal_sender()
{
    if (sender_ > 0)
        ::waitpid(sender_, nullptr, 0);
    ::munmap(shared_, sizeof(shared));
}

void signal_sender::start()
{
    pin_to(0);
    const pid_t self = ::getpid();
    sender_ = ::fork();
    require(sender_ != -1, "fork");
    if (sender_ == 0)
        send(self);
}

void signal_sender::send(pid_t to) const
{
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    pin_to(1);
    for (std::size_t n = 0; n < count_; ++n) {
        while (shared_->answered.load(std::memory_order_acquire) < n) { }
        const double from = now_us();
        while (now_us() < from + sleep_us_) { }
        shared_->sent_us.store(now_us(), std::memory_order_release);
        ::kill(to, measured_signal());
    }
    ::_exit(0);
}

bool signal_sender::answer()
{
    const double now = now_us();
    latencies_.push_back(now - shared_->sent_us.load(std::memory_order_acquire));
    shared_->answered.store(latencies_.size(), std::memory_order_release);
    return latencies_.size() < count_;
}

void signal_sender::report() const
{
    require(latencies_.size() == count_, "every signal");
    auto sorted = latencies_;
    std::sort(sorted.begin(), sorted.end());
    const auto at = [&](double part) {
        return sorted[static_cast<std::size_t>(part * static_cast<double>(sorted.size() - 1))];
    };
    bench::report({{"p50_us", at(0.5)}, {"p99_us", at(0.99)}});
}

}  // namespace bench
