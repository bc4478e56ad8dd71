// SPDX-License-Identifier: BSL-1.0
//
// many_runs DEMO: 1,000 runs of `demo run -- true`, first inside this process and then as processes
// of their own, leave nothing behind: no descriptor, thread, memory, child, zombie or cgroup.
#include <fmt/core.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>

#include <procyard/runtime.hpp>

#include "commands.hpp"

namespace {

namespace fs = std::filesystem;
using namespace procyard;

// Sanitizers hold freed memory back and take a second to start a process.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool sanitized = true;
#elif defined(__has_feature)
constexpr bool sanitized = __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#else
constexpr bool sanitized = false;
#endif
constexpr int runs = 1000;
constexpr int processes = sanitized ? 50 : runs;

struct footprint {
    std::size_t descriptors = 0;
    std::size_t threads = 0;
    std::size_t children = 0;
    std::size_t cgroups = 0;
    std::size_t resident_kib = 0;
};

std::size_t entries(const char* directory)
{
    std::size_t count = 0;
    for ([[maybe_unused]] const auto& entry : fs::directory_iterator(directory))
        ++count;
    return count;
}

// Zombies are children too. We are the reaper of all whose parents have gone (see main).
std::size_t children()
{
    std::size_t count = 0;
    for (const auto& entry : fs::directory_iterator("/proc")) {
        std::ifstream file(entry.path() / "stat");
        std::string line;
        std::getline(file, line);  // "7 (name) S 1 …": state and parent
        const auto name_end = line.rfind(") ");
        if (name_end != line.npos && std::atoi(line.c_str() + name_end + 4) == ::getpid())
            ++count;
    }
    return count;
}

// The cgroup that this process and all its runs live in, so that those which they leave behind are
// not somebody else's: names tell nothing, as numbers of processes come round again within minutes.
class place {
public:
    place()
    {
        std::ifstream mounts("/proc/self/mounts");
        std::string device, point, type, rest;
        while (mounts >> device >> point >> type && std::getline(mounts, rest) && type != "cgroup2")
            ;
        std::ifstream own("/proc/self/cgroup");
        std::string line;
        while (std::getline(own, line) && !line.starts_with("0::"))
            ;
        if (type != "cgroup2" || !line.starts_with("0::"))
            return;
        outside_ = point + line.substr(3);
        const auto inside = outside_ / fmt::format("many-runs-{}", ::getpid());
        std::error_code ec;
        if (fs::create_directory(inside, ec) && enter(inside))
            inside_ = inside;
        else
            fs::remove(inside, ec);
    }
    place(const place&) = delete;
    place& operator=(const place&) = delete;
    ~place()
    {
        std::error_code ec;
        if (!inside_.empty() && enter(outside_))
            fs::remove(inside_, ec);
    }

    // None where this process may make none: neither may its runs then.
    [[nodiscard]] std::size_t cgroups() const
    {
        return inside_.empty()
            ? 0
            : static_cast<std::size_t>(std::count_if(
                  fs::recursive_directory_iterator(inside_), fs::recursive_directory_iterator(),
                  [](const fs::directory_entry& entry) { return entry.is_directory(); }));
    }

private:
    static bool enter(const fs::path& cgroup)
    {
        std::ofstream procs(cgroup / "cgroup.procs");
        procs << "0" << std::flush;
        return procs.good();
    }

    fs::path outside_;
    fs::path inside_;
};

footprint measure(const place& here)
{
    footprint now;
    now.descriptors = entries("/proc/self/fd");
    now.threads = entries("/proc/self/task");
    now.children = children();
    now.cgroups = here.cgroups();
    std::size_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages >> pages;
    now.resident_kib = pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)) / 1024;
    return now;
}

// What the allocator keeps is reached after the first runs; then a KiB per run would be 1,000.
constexpr std::size_t tolerated_kib = 256;

bool is_flat(const char* what, int number, const footprint& before, const footprint& after)
{
    fmt::print("{} {}: descriptors {} -> {}, threads {} -> {}, children {} -> {}, cgroups {}, "
               "resident {} -> {} KiB\n",
               number, what, before.descriptors, after.descriptors, before.threads, after.threads,
               before.children, after.children, after.cgroups, before.resident_kib,
               after.resident_kib);
    return after.descriptors == before.descriptors && after.threads == before.threads
        && after.children == 0 && after.cgroups == 0
        && (sanitized || after.resident_kib <= before.resident_kib + tolerated_kib);
}

bool succeeded_inside(int times)
{
    demo::run_command_options options;
    options.words = {"true"};
    options.timeout = std::chrono::minutes(1);
    bool all = true;
    for (int i = 0; i < times; ++i)
        all = demo::run_command(options) == 0 && all;
    return all;
}

bool succeeded_as_processes(const std::string& program, int times)
{
    const command run(program, {"run", "--timeout", "1m", "--", "true"});
    bool all = true;
    for (int i = 0; i < times; ++i) {
        boost::asio::io_context context;
        auto demo = spawn(run, context.get_executor());
        demo.async_wait([&](error_code ec, const exit_status& status) {
            all = !ec && status.success() && all;
        });
        context.run();
    }
    return all;
}

bool check(const std::string& program)
{
    const place here;
    bool fine = succeeded_inside(runs / 10) && succeeded_as_processes(program, 1);
    auto before = measure(here);
    fine = succeeded_inside(runs) && fine;
    fine = is_flat("runs inside", runs, before, measure(here)) && fine;
    before = measure(here);
    fine = succeeded_as_processes(program, processes) && fine;
    return is_flat("processes", processes, before, measure(here)) && fine;
}

}  // namespace

int main(int argc, char** argv)
{
    if (argc != 2)
        return 2;
    try {
        // Whom a run leaves behind becomes our child, and is seen.
        (void)::prctl(PR_SET_CHILD_SUBREAPER, 1);
        return check(argv[1]) ? 0 : 1;
    } catch (const std::exception& error) {
        fmt::print(stderr, "many_runs: {}\n", error.what());
        return 1;
    }
}
