// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_TESTS_SUPPORT_TEST_PROCESS_HPP
#define PROCYARD_TESTS_SUPPORT_TEST_PROCESS_HPP

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include <procyard/ipc/unique_fd.hpp>

namespace procyard_test {

/// The helper program (tests/support/helper.cpp), started without the library, for tests of the
/// parts below `spawn`. Its standard output is a pipe; whoever it forks holds that pipe too.
///
/// The waits are bounded by a deadlock guard that throws; the destructor kills and reaps the
/// process (not its descendants).
class test_process {
public:
    enum class placement { own_group, own_session, host_group };

    struct start_options {
        placement where = placement::own_group;
        std::vector<std::string> environment = {};  ///< added to the inherited one
        int cgroup_procs = -1;                      ///< joins this cgroup.procs before the exec
        pid_t with_pid = 0;  ///< takes this number, which must be free (root only)
    };

    /// `{"family", "3"}` runs `helper --mode=family 3`.
    explicit test_process(std::vector<std::string> mode)
        : test_process(std::move(mode), start_options())
    {
    }
    test_process(std::vector<std::string> mode, const start_options& options);
    test_process(test_process&& other) noexcept;
    test_process& operator=(test_process&&) = delete;
    ~test_process();

    [[nodiscard]] pid_t pid() const noexcept { return pid_; }
    [[nodiscard]] int pidfd() const noexcept { return pidfd_.get(); }

    /// Waits for `count` more reports "WORD PID" and returns the pids of those that say `word`.
    std::vector<pid_t> expect(std::string_view word, std::size_t count);
    /// Waits until nobody holds the pipe any more, that is until every process of the family is
    /// dead. Returns what was still said.
    std::string read_to_end();
    /// Waits for the end of the process itself and takes its status (as waitid's si_status).
    int reap();

private:
    std::string read_line();

    pid_t pid_ = -1;
    bool reaped_ = false;
    procyard::unique_fd pidfd_;
    procyard::unique_fd output_;
    std::string buffered_;
};

/// Waits until `fd` is ready for `events`; throws when it takes as long as only a deadlock does.
void wait_ready(int fd, short events);

/// Makes this process a child subreaper for as long as it lives.
class subreaper_guard {
public:
    subreaper_guard();
    subreaper_guard(const subreaper_guard&) = delete;
    subreaper_guard& operator=(const subreaper_guard&) = delete;
    ~subreaper_guard();
};

}  // namespace procyard_test

#endif
