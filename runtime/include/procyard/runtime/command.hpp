// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_COMMAND_HPP
#define PROCYARD_RUNTIME_COMMAND_HPP

#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/unique_fd.hpp>
#include <procyard/ipc/unopened.hpp>
#include <procyard/runtime/drop_policy.hpp>
#include <procyard/runtime/export.hpp>
#include <procyard/runtime/spawn_error.hpp>
#include <procyard/runtime/stdio.hpp>
#include <procyard/runtime/tree.hpp>

PROCYARD_NAMESPACE_BEGIN

class guardian;

namespace detail {
struct command_access;
class guardian_core;
class passed_end;
}  // namespace detail

/// The namespaces a child gets of its own, and who it is inside a user namespace.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct namespace_options {
    bool user = false;
    bool pid = false;
    bool mount = false;
    bool network = false;
    bool ipc = false;
    bool uts = false;
    bool cgroup = false;
    /// The id the caller's own user has inside. The one mapping an unprivileged process may make.
    /// Refused without `user`, when it is not 0.
    uid_t inside_uid = 0;
    /// The id the caller's own group has inside. Refused without `user`, when it is not 0.
    gid_t inside_gid = 0;
};

/// What to run and how: a program, its arguments, environment, descriptors and attributes. Spawning
/// copies nothing back, so one command can be spawned any number of times.
///
/// Every option either takes effect or fails the spawn, naming itself; `optional(step)` lets one
/// fail, and then `child::info().not_applied` says so. All of them stay on the fast path: none
/// makes a spawn slower with the parent's size.
///
/// Paths mean what they mean to the caller: a program with a slash, the working directory and
/// redirected files are relative to the caller's directory. A program without a slash is looked up
/// in the *child's* `PATH` (so `env("PATH", …)` counts), of which empty and relative entries are
/// skipped; without a `PATH` in `/usr/local/bin:/usr/bin:/bin`.
///
/// A child starts with an empty signal mask, default signal dispositions, and no descriptor but
/// those named here.
/// @par Errors          None here: bad input is reported by `spawn`, before it has created
///                      anything.
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe for writing; any number of
///                      threads may spawn from one.
/// @par Lifetime        Everything is copied or moved into it. `spawn` needs it for the time of the
///                      call alone; the operations take one of their own.
/// @par Cost            A copy copies all texts. Nothing is looked up or opened before the spawn.
/// @par Example         @snippet examples/01_hello_child.cpp hello
class PROCYARD_RUNTIME_EXPORT command {
public:
    explicit command(std::string program) : program_(std::move(program)) { }
    command(std::string program, std::vector<std::string> arguments)
        : program_(std::move(program)),
          arguments_(std::move(arguments))
    {
    }

    /// `/bin/sh -c script`. Whoever puts foreign words into `script` hands over a shell; prefer
    /// arguments, which need no quoting.
    [[nodiscard]] static command shell(std::string script);

    // What to run

    /// Adds one argument.
    command& arg(std::string argument);
    /// Adds arguments: `args("-c", script)`, `args({"-c", script})`, or a vector. Inside of a
    /// `co_await` expression only the first works with GCC 12, which takes no list in braces there
    /// ("array used as initializer").
    template <class... Texts>
        requires(sizeof...(Texts) > 0
                 && (std::is_convertible_v<const Texts&, std::string_view> && ...))
    command& args(const Texts&... arguments)
    {
        return args({std::string_view(arguments)...});
    }
    command& args(std::initializer_list<std::string_view> arguments);
    command& args(const std::vector<std::string>& arguments);
    /// What the program sees as its own name; by default the program as given.
    command& arg0(std::string name);

    // Environment: the parent's at the time of the spawn, as changed by these in the order of their
    // calls

    /// Sets one variable; the last call for a name wins.
    command& env(std::string name, std::string value);
    /// Removes one variable.
    command& env_remove(std::string name);
    /// Starts from nothing: neither the parent's environment nor earlier calls of `env` count.
    command& env_clear();

    /// The directory the program starts in; by default the parent's.
    command& working_directory(std::filesystem::path directory);

    // Descriptors: everything that is not named here is closed in the child

    /// What the child reads from descriptor 0; by default the parent's.
    command& std_in(stdio source);
    /// Where the child's descriptor 1 leads; by default the parent's.
    command& std_out(stdio target);
    /// Where the child's descriptor 2 leads; by default the parent's.
    command& std_err(stdio target);
    /// All three on one new pseudo-terminal.
    command& terminal(window_size size = {});
    /// Connects the child's descriptor `number` (3 or above; 0, 1 and 2 are the three above).
    command& descriptor(int number, stdio connection);
    /// Gives the child a descriptor by the protocol of socket activation: as 3, the next one as 4,
    /// and so on, with `LISTEN_FDS`, `LISTEN_FDNAMES` and the child's own id as `LISTEN_PID` in its
    /// environment, whatever the command says of these variables otherwise. There
    /// `activation_descriptors` takes it, or sd_listen_fds(3).
    ///
    /// `connection` owns or borrows a descriptor (`stdio::descriptor`, `stdio::borrow`), and every
    /// child that is spawned gets it: several that share a listener can take each other's place
    /// without a connection refused. Its O_NONBLOCK, which is one for all who have it, is left as
    /// it is, unlike that of `descriptor`. `name` has 1 to 255 printable ASCII characters but ':';
    /// several may have the same. A number that `descriptor` uses as well is refused by `spawn`.
    command& listen_descriptor(stdio connection, std::string name);
    /// Passes an end of a channel to the child, which opens it by `inherited<End>(executor, name)`.
    ///
    /// It goes along with the first child that is spawned from this command or a copy of it, and
    /// cannot be passed twice: a second spawn is refused, so a `service` with it would never be
    /// started again (give that a channel_listener). A spawn that fails keeps it.
    /// `name` consists of letters, digits, `_`, `-` and `.`. The ends of a duplex count as
    /// `NAME.out` and `NAME.in`.
    /// @par Example   @snippet examples/09_channel_to_child.cpp parent
    template <class End>
    command& pass(unopened<End> end, std::string name)
    {
        if constexpr (requires { std::move(end).take(); }) {
            const auto options = end.options();
            return pass_end(std::move(end).take(), options, std::move(name));
        } else {  // a duplex: two ends, and two names
            pass(std::move(end.sender), name + ".out");
            return pass(std::move(end.receiver), name + ".in");
        }
    }

    // Place in the system

    /// How the child's descendants are held together; see `tree_mode`.
    command& tree(tree_mode mode);
    /// The cgroup v2 directory in which the child's own leaf is made (it must be this process' to
    /// manage).
    command& cgroup_parent(std::filesystem::path directory);
    /// Starts the child as a member of an existing cgroup, given by its directory. It is one or the
    /// other: a tree in a cgroup of its own cannot be asked for as well.
    command& cgroup(std::filesystem::path directory);
    /// Joins the process group `id`; 0 makes a new one. A child in somebody else's group is no tree
    /// of its own.
    command& process_group(pid_t id);
    /// Starts a session.
    command& new_session();
    /// Makes the terminal at the child's descriptor `number` the controlling one; implies
    /// `new_session()`.
    command& controlling_terminal(int number = 0);
    /// Gives the child namespaces of its own; see namespaces(7). Most need privileges, or a user
    /// namespace along with them.
    command& namespaces(const namespace_options& options);

    // Attributes

    /// Permission bits alone, 0 to 0777.
    command& umask(mode_t mask);
    /// Adds to the parent's nice value.
    command& nice(int increment);
    /// A policy of sched_setscheduler(2), with its priority (0 for the policies that have none).
    command& scheduler(int policy, int priority = 0);
    /// The CPUs to run on, by number; at least one.
    command& cpu_affinity(std::vector<unsigned> cpus);
    /// A resource limit of setrlimit(2), soft and hard.
    command& limit(int resource, rlim_t soft, rlim_t hard);
    command& limit(int resource, rlim_t both) { return limit(resource, both, both); }

    /// Real, effective and saved user. Without `supplementary_groups`, the child has none but its
    /// group.
    /// @par Process-wide effects   While such a child is spawned, this process is not dumpable
    ///                             (the kernel makes the memory so, which both share until the
    ///                             exec): no core file, no debugger, and root owns its /proc
    ///                             files. It is as it was when the spawn returns.
    command& user(uid_t id);
    /// Real, effective and saved group.
    /// @par Process-wide effects   Those of `user`.
    command& group(gid_t id);
    /// The supplementary groups, instead of the parent's. Empty: none.
    command& supplementary_groups(std::vector<gid_t> ids);
    /// Sets PR_SET_NO_NEW_PRIVS: no set-user-id program gains anything below this child.
    command& no_new_privileges();
    /// Drops every capability but those listed (numbers of capabilities(7)), from all five sets;
    /// the kept ones survive a change of user and the exec.
    command& drop_capabilities(std::vector<int> keep = {});

    /// The signal the child gets when this process dies.
    ///
    /// The kernel ties it to the *thread* that spawned. So a command with this option is spawned on
    /// the context's spawner thread (see `async_spawn`), which lives as long as the context does,
    /// whichever thread asks.
    command& parent_death_signal(int signal_number);

    /// Has all that the child starts killed when this process dies, however that happens; see
    /// `guardian`. A service and a worker die with their supervisor's or pool's process anyhow;
    /// with this, what they have started does so, too.
    command& guarded_by(const guardian& by);

    /// The signals the child starts with blocked; by default none.
    command& signal_mask(const sigset_t& blocked);
    /// A signal the child starts with ignored.
    command& ignore_signal(int signal_number);
    /// Leaves mask and ignored signals as they are in the spawning thread, as exec itself would
    /// (handlers never survive).
    command& inherit_signals();

    // Behaviour

    /// What becomes of the child when its `child` object goes; by default the whole tree is killed.
    command& on_drop(drop_policy policy);

    /// How often an exec that fails with ETXTBSY is tried again (1 ms later, then 2, 4, …). A
    /// program that was just written can be "busy" because another thread's fork holds the
    /// descriptor it was written through; that ends by itself. Default 5 (31 ms); at most 16 (about
    /// a minute), more is refused by `spawn`. The thread that spawns waits meanwhile: with `spawn`
    /// and `async_run` that is as a rule the event loop's, so many belong to `async_spawn`.
    command& text_busy_retries(unsigned count);

    /// Lets the option of this step fail without failing the spawn. Only the working directory, the
    /// attributes and the place in the system are options; a spawn that lets another step fail is
    /// refused.
    command& optional(spawn_step step);

    [[nodiscard]] const std::string& program() const noexcept { return program_; }
    [[nodiscard]] const std::vector<std::string>& arguments() const noexcept { return arguments_; }
    /// The program and its arguments as one would type them into a shell.
    [[nodiscard]] std::string to_string() const;

private:
    friend struct detail::command_access;

    command& pass_end(unique_fd socket, const channel_options& options, std::string name);

    struct resource_limit {
        int resource;
        rlim_t soft;
        rlim_t hard;
    };
    struct scheduling {
        int policy;
        int priority;
    };

    std::string program_;
    std::vector<std::string> arguments_;
    std::optional<std::string> arg0_;
    bool env_clear_ = false;
    // An ordered map: the child's environment does not depend on the order of calls, and a name
    // cannot be there twice.
    std::map<std::string, std::optional<std::string>, std::less<>> environment_;
    std::filesystem::path working_directory_;
    stdio standard_[3] = {stdio::inherit(), stdio::inherit(), stdio::inherit()};
    std::map<int, stdio> descriptors_;
    struct named_connection {
        stdio connection;
        std::string name;
    };
    std::vector<named_connection> listen_descriptors_;
    std::vector<std::shared_ptr<detail::passed_end>> passed_;
    tree_mode tree_ = tree_mode::automatic;
    std::filesystem::path cgroup_parent_;
    std::filesystem::path cgroup_;
    std::optional<pid_t> process_group_;
    bool new_session_ = false;
    std::optional<int> controlling_terminal_;
    std::optional<namespace_options> namespaces_;
    std::optional<mode_t> umask_;
    std::optional<int> nice_;
    std::optional<scheduling> scheduler_;
    std::optional<std::vector<unsigned>> cpu_affinity_;
    std::vector<resource_limit> limits_;
    std::optional<uid_t> user_;
    std::optional<gid_t> group_;
    std::optional<std::vector<gid_t>> supplementary_groups_;
    bool no_new_privileges_ = false;
    std::optional<std::vector<int>> keep_capabilities_;
    int parent_death_signal_ = 0;
    std::shared_ptr<detail::guardian_core> guarded_by_;
    std::optional<sigset_t> signal_mask_;
    std::vector<int> ignored_signals_;
    bool inherit_signals_ = false;
    drop_policy on_drop_ = drop_policy::kill_tree();
    unsigned text_busy_retries_ = 5;
    std::uint64_t optional_steps_ = 0;
};

PROCYARD_NAMESPACE_END

#endif
