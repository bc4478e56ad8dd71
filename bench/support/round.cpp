// SPDX-License-Identifier: BSL-1.0
#include "round.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>

#include <sched.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

namespace bench {

round_options::round_options(int argc, char** argv)
{
    if (argc > 1)
        command_ = argv[1];
    for (int i = 2; i < argc; ++i) {
        const std::string argument = argv[i];
        const auto equals = argument.find('=');
        require(equals != std::string::npos, "arguments are COMMAND key=value …");
        values_[argument.substr(0, equals)] = argument.substr(equals + 1);
    }
}

std::string round_options::text(const std::string& key, std::string otherwise) const
{
    const auto found = values_.find(key);
    return found == values_.end() ? std::move(otherwise) : found->second;
}

long round_options::number(const std::string& key, long otherwise) const
{
    const auto found = values_.find(key);
    return found == values_.end() ? otherwise : std::stol(found->second);
}

double round_options::real(const std::string& key, double otherwise) const
{
    const auto found = values_.find(key);
    return found == values_.end() ? otherwise : std::stod(found->second);
}

double now_us() noexcept
{
    timespec t{};
    ::clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<double>(t.tv_sec) * 1e6 + static_cast<double>(t.tv_nsec) / 1e3;
}

void hold_memory(long mib)
{
    if (mib <= 0)
        return;
    const auto bytes = static_cast<std::size_t>(mib) << 20;
    void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    require(memory != MAP_FAILED, "mmap of the ballast");
    // Huge pages would hide the cost this row is about: a heap that grew in small steps has none.
    (void)::madvise(memory, bytes, MADV_NOHUGEPAGE);
    auto* bytes_of = static_cast<volatile unsigned char*>(memory);
    for (std::size_t at = 0; at < bytes; at += 4096)
        bytes_of[at] = 1;
}

void hold_descriptors(long count)
{
    rlimit limit{};
    require(::getrlimit(RLIMIT_NOFILE, &limit) == 0, "getrlimit");
    limit.rlim_cur = limit.rlim_max;
    require(::setrlimit(RLIMIT_NOFILE, &limit) == 0, "setrlimit");
    for (long i = 0; i < count; ++i)
        require(::eventfd(0, EFD_CLOEXEC) != -1, "the row's descriptors (see ulimit -Hn)");
}

void pin_to(long processor)
{
    if (processor < 0 || processor >= ::sysconf(_SC_NPROCESSORS_ONLN))
        return;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(static_cast<std::size_t>(processor), &set);
    (void)::sched_setaffinity(0, sizeof set, &set);  // a container may forbid it: then unpinned
}

std::size_t anonymous_bytes()
{
    // Not VmRSS of /proc/self/status: that counter is kept per processor and is off by hundreds of
    // KiB.
    std::ifstream rollup("/proc/self/smaps_rollup");
    std::string word;
    while (rollup >> word) {
        std::size_t kib = 0;
        if (word == "Anonymous:" && rollup >> kib)
            return kib * 1024;
    }
    require(false, "Anonymous: in /proc/self/smaps_rollup");
    return 0;
}

void report(std::initializer_list<std::pair<const char*, double>> figures)
{
    const char* separator = "{";
    for (const auto& [name, value] : figures) {
        std::printf("%s\"%s\": %.6g", separator, name, value);
        separator = ", ";
    }
    std::printf("}\n");
}

void require(bool held, const char* what)
{
    if (held)
        return;
    if (errno != 0)
        std::fprintf(stderr, "%s: %s\n", what, std::strerror(errno));
    else
        std::fprintf(stderr, "%s\n", what);
    std::exit(1);
}

}  // namespace bench
