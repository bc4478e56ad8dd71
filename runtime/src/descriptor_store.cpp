// SPDX-License-Identifier: BSL-1.0
#include "descriptor_store.hpp"

#include <linux/kcmp.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <exception>
#include <utility>

#include <procyard/ipc/syscall.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

void descriptor_store::keep(std::string_view name, std::vector<unique_fd>&& descriptors,
                            bool until_hang_up)
{
    for (auto& one : descriptors) {
        if (kept_.size() >= most_ || has(one.get()))
            continue;
        const int number = one.get();
        kept_.push_back({std::string(name), std::make_shared<const unique_fd>(std::move(one))});
        if (until_hang_up)
            watch(number);
    }
}

void descriptor_store::remove(std::string_view name)
{
    std::erase_if(kept_, [&](const entry& one) {
        if (one.name != name)
            return false;
        unwatch(one.descriptor->get());
        return true;
    });
}

void descriptor_store::clear() noexcept
{
    error_code ignored;
    (void)hang_ups_.close(ignored);
    kept_.clear();
}

// The same open file, whose flags and position they share: the same inode is not enough, since the
// two ends of a pipe have one. Where kcmp is forbidden none is taken for another.
bool descriptor_store::has(int descriptor) const noexcept
{
    const auto self = ::getpid();
    return std::any_of(kept_.begin(), kept_.end(), [&](const entry& one) {
        return ::syscall(SYS_kcmp, self, self, KCMP_FILE,
                         static_cast<unsigned long>(one.descriptor->get()),
                         static_cast<unsigned long>(descriptor))
            == 0;
    });
}

void descriptor_store::watch(int descriptor)
{
    try {
        if (!hang_ups_.is_open()) {
            unique_fd made(::epoll_create1(EPOLL_CLOEXEC));
            if (!made)
                return;
            hang_ups_.assign(made.get());
            (void)made.release();
            waits_ = false;
        }
        if (!waits_)
            wait();
    } catch (const std::exception&) {
        error_code ignored;
        (void)hang_ups_.close(ignored);
        return;
    }
    epoll_event event{};  // of errors and hang-ups, which need not be asked for
    event.data.fd = descriptor;
    (void)::epoll_ctl(hang_ups_.native_handle(), EPOLL_CTL_ADD, descriptor, &event);
}

// Before it is closed: as long as the service has the open file, too, it would stay in there.
void descriptor_store::unwatch(int descriptor) noexcept
{
    if (hang_ups_.is_open())
        (void)::epoll_ctl(hang_ups_.native_handle(), EPOLL_CTL_DEL, descriptor, nullptr);
}

void descriptor_store::wait()
{
    hang_ups_.async_wait(asio::posix::stream_descriptor::wait_read,
                         [weak = weak_from_this()](const error_code& ec) {
                             const auto self = weak.lock();
                             if (ec || !self || !self->hang_ups_.is_open())
                                 return;
                             self->waits_ = false;
                             self->drop_hung_up();
                             try {
                                 self->wait();
                             } catch (const std::exception&) {
                                 self->waits_ = false;  // then with the next that comes
                             }
                         });
    waits_ = true;
}

void descriptor_store::drop_hung_up()
{
    std::array<epoll_event, 16> events{};
    int count = 0;
    do {
        count = retry_eintr([&] {
            return ::epoll_wait(hang_ups_.native_handle(), events.data(),
                                static_cast<int>(events.size()), 0);
        });
        for (int i = 0; i < count; ++i) {
            const int number = events.at(static_cast<std::size_t>(i)).data.fd;
            unwatch(number);
            std::erase_if(kept_, [&](const entry& one) { return one.descriptor->get() == number; });
        }
    } while (count == static_cast<int>(events.size()));
}

}  // namespace detail

PROCYARD_NAMESPACE_END
