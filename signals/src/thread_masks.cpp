// SPDX-License-Identifier: BSL-1.0
#include "thread_masks.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string_view>

#include <procyard/ipc/syscall.hpp>
#include <procyard/ipc/unique_fd.hpp>

#include "signal_mailbox.hpp"

PROCYARD_NAMESPACE_BEGIN
namespace detail {

namespace {

constexpr std::uint64_t everything = ~std::uint64_t{0};

// Nothing: the thread has ended.
std::optional<std::uint64_t> mask_of(const char* thread) noexcept
{
    char path[64];
    std::snprintf(path, sizeof path, "/proc/self/task/%s/status", thread);
    const unique_fd file(::open(path, O_RDONLY | O_CLOEXEC));
    char text[4096];
    const auto size = retry_eintr([&] { return ::read(file.get(), text, sizeof text); });
    if (size <= 0)
        return std::nullopt;
    const std::string_view status(text, static_cast<std::size_t>(size));
    const std::string_view field = "\nSigBlk:\t";
    const auto at = status.find(field);
    if (at == status.npos)
        return std::nullopt;
    std::uint64_t mask = 0;
    const auto* const begin = text + at + field.size();
    (void)std::from_chars(begin, text + size, mask, 16);
    return mask;
}

}  // namespace

std::uint64_t own_mask() noexcept
{
    sigset_t set;
    (void)::pthread_sigmask(SIG_BLOCK, nullptr, &set);
    std::uint64_t mask = 0;
    for (int number = 1; number <= last_signal; ++number) {
        if (::sigismember(&set, number) == 1)
            mask |= signal_bit(number);
    }
    return mask;
}

std::uint64_t mask_of_other_threads() noexcept
{
    const auto close = [](DIR* directory) { (void)::closedir(directory); };
    const std::unique_ptr<DIR, decltype(close)> tasks(::opendir("/proc/self/task"));
    std::uint64_t mask = everything;
    while (tasks) {
        const dirent* const entry = ::readdir(tasks.get());
        if (entry == nullptr)
            break;
        if (entry->d_name[0] == '.' || std::atoi(entry->d_name) == ::gettid())
            continue;
        mask &= mask_of(entry->d_name).value_or(everything);
    }
    return mask;
}

std::uint64_t mask_of_all_threads() noexcept
{
    const auto mine = own_mask();
    return mine == 0 ? 0 : mine & mask_of_other_threads();
}

}  // namespace detail
PROCYARD_NAMESPACE_END
