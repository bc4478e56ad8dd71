// SPDX-License-Identifier: BSL-1.0
//
// iceoryx: a message is loaned from a pool in shared memory, and published by its offset. Its
// daemon, RouDi, runs beside the two processes for as long as the round does, with a pool for the
// row's messages.

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <thread>

#include <iceoryx_hoofs/log/logmanager.hpp>
#include <iceoryx_hoofs/posix_wrapper/posix_access_rights.hpp>
#include <iceoryx_posh/iceoryx_posh_types.hpp>
#include <iceoryx_posh/internal/roudi/roudi.hpp>
#include <iceoryx_posh/popo/untyped_publisher.hpp>
#include <iceoryx_posh/popo/untyped_subscriber.hpp>
#include <iceoryx_posh/popo/wait_set.hpp>
#include <iceoryx_posh/roudi/iceoryx_roudi_components.hpp>
#include <iceoryx_posh/runtime/posh_runtime.hpp>
#include <iceoryx_versions.hpp>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../channel/round.hpp"

namespace {

// iceoryx has queues of up to 256 messages.
template <std::size_t Bytes>
constexpr std::uint32_t queue_of = std::min<std::uint32_t>(bench::capacity_of<Bytes>, 256);

// The daemon, in a process of its own: the others must not inherit its threads and its mappings.
class daemon_process {
public:
    daemon_process(std::size_t message_bytes, std::uint32_t chunks)
    {
        std::array<int, 2> ready{};
        std::array<int, 2> stop{};
        bench::require(::pipe2(ready.data(), O_CLOEXEC) == 0, "pipe2");
        bench::require(::pipe2(stop.data(), O_CLOEXEC) == 0, "pipe2");
        pid_ = ::fork();
        bench::require(pid_ != -1, "fork");
        if (pid_ == 0) {
            ::close(stop[1]);
            serve(message_bytes, chunks, ready[1], stop[0]);
        }
        ::close(ready[1]);
        ::close(stop[0]);
        stop_ = stop[1];
        char byte = 0;
        const bool started = ::read(ready[0], &byte, 1) == 1;
        errno = 0;
        bench::require(started, "RouDi does not start (is there another?)");
        ::close(ready[0]);
    }
    daemon_process(const daemon_process&) = delete;
    daemon_process& operator=(const daemon_process&) = delete;
    ~daemon_process()
    {
        ::close(stop_);
        (void)::waitpid(pid_, nullptr, 0);
    }

private:
    // Until nobody holds the other end of `stop`; it then removes what it has made in /dev/shm.
    [[noreturn]] static void serve(std::size_t message_bytes, std::uint32_t chunks, int ready,
                                   int stop)
    {
        using namespace iox;
        log::LogManager::GetLogManager().SetDefaultLogLevel(log::LogLevel::kOff,
                                                            log::LogLevelOutput::kHideLogLevel);
        // It says on stdout that it is ready, where the round's figures go.
        const int nowhere = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
        (void)::dup2(nowhere, STDOUT_FILENO);
        (void)::dup2(nowhere, STDERR_FILENO);
        {
            mepoo::MePooConfig pool;
            pool.addMemPool({static_cast<std::uint32_t>(message_bytes), chunks});
            RouDiConfig_t config;
            const auto group = posix::PosixGroup::getGroupOfCurrentProcess().getName();
            config.m_sharedMemorySegments.push_back({group, group, pool});
            roudi::IceOryxRouDiComponents components(config);
            roudi::RouDi daemon(
                components.rouDiMemoryManager, components.portManager,
                roudi::RouDi::RoudiStartupParameters(roudi::MonitoringMode::OFF, false));
            char byte = 0;
            bench::require(::write(ready, &byte, 1) == 1, "write");
            (void)::read(stop, &byte, 1);
        }
        std::_Exit(0);
    }

    pid_t pid_ = -1;
    int stop_ = -1;
};

void use_runtime()
{
    static bool used = false;
    if (used)
        return;
    used = true;
    iox::log::LogManager::GetLogManager().SetDefaultLogLevel(
        iox::log::LogLevel::kOff, iox::log::LogLevelOutput::kHideLogLevel);
    const auto name = "procyard-bench-" + std::to_string(::getpid());
    iox::runtime::PoshRuntime::initRuntime(
        iox::RuntimeName_t(iox::cxx::TruncateToCapacity, name.c_str()));
}

template <std::size_t Bytes>
class iceoryx_link {
public:
    explicit iceoryx_link(const bench::round_options& options)
        : spins_(options.text("wait", "spin") == "spin")
    {
        static int made = 0;
        direction_ = std::to_string(made++);
    }

    void open_receiver()
    {
        use_runtime();
        iox::popo::SubscriberOptions options;
        options.queueCapacity = queue_of<Bytes>;
        options.queueFullPolicy = iox::popo::QueueFullPolicy::BLOCK_PRODUCER;
        subscriber_.emplace(service(), options);
        if (spins_)
            return;
        wait_set_.emplace();
        const bool attached =
            !wait_set_->attachState(*subscriber_, iox::popo::SubscriberState::HAS_DATA).has_error();
        bench::require(attached, "WaitSet::attachState");
    }

    void open_sender()
    {
        use_runtime();
        iox::popo::PublisherOptions options;
        options.subscriberTooSlowPolicy = iox::popo::ConsumerTooSlowPolicy::WAIT_FOR_CONSUMER;
        publisher_.emplace(service(), options);
        // What is published before the daemon has brought the two together is lost.
        while (!publisher_->hasSubscribers())
            std::this_thread::yield();
    }

    void send(const bench::message<Bytes>& m)
    {
        send_in_place([&m](bench::message<Bytes>& loaned) { loaned = m; });
    }

    void receive(bench::message<Bytes>& m)
    {
        receive_in_place([&m](const bench::message<Bytes>& taken) { m = taken; });
    }

    template <class Make>
    void send_in_place(Make make)
    {
        const auto loan = publisher_->loan(Bytes, alignof(bench::message<Bytes>));
        errno = 0;
        bench::require(!loan.has_error(), "UntypedPublisher::loan");
        make(*static_cast<bench::message<Bytes>*>(loan.value()));
        publisher_->publish(loan.value());
    }

    template <class Look>
    void receive_in_place(Look look)
    {
        while (true) {
            const auto taken = subscriber_->take();
            if (!taken.has_error()) {
                look(*static_cast<const bench::message<Bytes>*>(taken.value()));
                subscriber_->release(taken.value());
                return;
            }
            if (spins_)
                bench::relax();
            else
                (void)wait_set_->wait();
        }
    }

private:
    [[nodiscard]] iox::capro::ServiceDescription service() const
    {
        const iox::capro::IdString_t direction(iox::cxx::TruncateToCapacity, direction_.c_str());
        return {"procyard", "bench", direction};
    }

    bool spins_;
    std::string direction_;
    std::optional<iox::popo::UntypedPublisher> publisher_;
    std::optional<iox::popo::UntypedSubscriber> subscriber_;
    std::optional<iox::popo::WaitSet<1>> wait_set_;
};

}  // namespace

int main(int argc, char** argv)
{
    const bench::round_options options(argc, argv);
    if (options.command() == "version") {
        std::printf("%s\n", ICEORYX_LATEST_RELEASE_VERSION);
        return 0;
    }
    // Static: it is waited for also when the round fails and leaves by std::exit. In the two
    // processes, which are not its parent, it is a closed descriptor.
    static std::optional<daemon_process> daemon;
    bench::for_message_size(options,
                            [&]<std::size_t Bytes>(std::integral_constant<std::size_t, Bytes>) {
                                // Two queues of a ping-pong, and what both sides hold.
                                daemon.emplace(Bytes, 2 * queue_of<Bytes> + 16);
                            });
    bench::run_link<iceoryx_link>(options);
}
