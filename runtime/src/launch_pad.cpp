// SPDX-License-Identifier: BSL-1.0
#include "launch_pad.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <procyard/ipc/syscall.hpp>

PROCYARD_NAMESPACE_BEGIN
namespace detail {

namespace {

std::size_t page_size() noexcept
{
    return static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace

launch_pad::launch_pad(bool with_slots)
{
    const std::size_t guard = page_size();
    mapping_ = ::mmap(nullptr, stack_bytes + guard, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (mapping_ == MAP_FAILED) {
        mapping_ = nullptr;
    } else {
        (void)::mprotect(mapping_, guard, PROT_NONE);
        stack_ = static_cast<char*>(mapping_) + guard;
    }
    if (!with_slots)
        return;
    // A path descriptor of the root directory: needs no file system but the one there is, and can
    // do nothing.
    placeholder_.reset(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
    error_code ec;
    for (auto& slot : slots_) {
        slot = placeholder_.duplicate(ec, 3);
        if (ec)
            break;  // out of descriptors: the last slot stays empty, and the pad has none
    }
    if (!has_slots()) {
        for (auto& slot : slots_)
            slot.reset();
    }
}

launch_pad::~launch_pad()
{
    if (mapping_ != nullptr)
        (void)::munmap(mapping_, stack_bytes + page_size());
}

int launch_pad::place(int fd) noexcept
{
    if (placed_ == slot_count)
        return -1;
    const int slot = slots_[placed_].get();
    if (retry_eintr([&] { return ::dup3(fd, slot, O_CLOEXEC); }) == -1)
        return -1;
    ++placed_;
    return slot;
}

void launch_pad::clear() noexcept
{
    // At once, also for the sake of pipes: a slot that kept a child's end would keep the parent
    // from seeing the end of file.
    while (placed_ > 0) {
        --placed_;
        (void)retry_eintr(
            [&] { return ::dup3(placeholder_.get(), slots_[placed_].get(), O_CLOEXEC); });
    }
}

launch_pads::launch_pads()
{
    // Both at once, while descriptor numbers are low.
    pads_[0] = std::make_unique<launch_pad>(true);
    pads_[1] = std::make_unique<launch_pad>(true);
}

launch_pads::lease::~lease()
{
    if (pad_ == nullptr)
        return;
    pad_->clear();
    // Release, pairs with the acquire in launch_pads::acquire: the next spawn finds the slots
    // empty.
    pad_->busy.store(false, std::memory_order_release);
}

launch_pads::lease launch_pads::acquire()
{
    for (auto& pad : pads_) {
        // Acquire, pairs with the release in ~lease.
        if (pad->has_stack() && !pad->busy.exchange(true, std::memory_order_acquire))
            return lease(pad.get());
    }
    auto own = std::make_unique<launch_pad>(false);
    return own->has_stack() ? lease(std::move(own)) : lease(static_cast<launch_pad*>(nullptr));
}

}  // namespace detail
PROCYARD_NAMESPACE_END
