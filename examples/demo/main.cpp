// SPDX-License-Identifier: BSL-1.0
//
// The command line of the demo; each sub-command has a file of its own.
#include <CLI/CLI.hpp>
#include <fcntl.h>
#include <fmt/core.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <procyard/runtime.hpp>

#include "commands.hpp"
#include "duration.hpp"
#include "index_job.hpp"
#include "index_part.hpp"
#include "say.hpp"
#include "top_job.hpp"

namespace {

// CLI11 does not know that a command with a prefix has words behind its options.
class usage_formatter : public CLI::Formatter {
public:
    std::string make_usage(const CLI::App* app, std::string name) const override
    {
        auto usage = CLI::Formatter::make_usage(app, std::move(name));
        if (app->get_prefix_command())
            usage.insert(usage.find_last_not_of('\n') + 1, " [--] CMD [ARGUMENT...]");
        return usage;
    }
};

// CLI11 takes `--` for the begin of positional arguments, of which there are none here: the command
// behind it is cut off before CLI11 sees it.
struct command_line {
    std::vector<std::string> ours;
    std::vector<std::string> behind_dashes;
    bool dashes = false;

    command_line(int argc, char** argv)
    {
        for (int i = 1; i < argc; ++i) {
            if (!dashes && std::string_view(argv[i]) == "--")
                dashes = true;
            else
                (dashes ? behind_dashes : ours).emplace_back(argv[i]);
        }
    }

    /// CMD and its arguments: what follows the options, and what follows `--`.
    [[nodiscard]] std::vector<std::string> words_of(const CLI::App& command) const
    {
        auto words = command.remaining();
        if (!words.empty() && dashes)
            words.emplace_back("--");  // it was the command's own
        words.insert(words.end(), behind_dashes.begin(), behind_dashes.end());
        if (words.empty())
            throw CLI::RequiredError("CMD");
        return words;
    }
};

template <class Target>
void add_duration(CLI::App& app, const std::string& name, Target& target, const std::string& help)
{
    app.add_option_function<std::string>(
           name,
           [&target, name](const std::string& text) {
               try {
                   target = demo::parse_duration(text);
               } catch (const std::invalid_argument& error) {
                   throw CLI::ValidationError(name, error.what());
               }
           },
           help)
        ->type_name("DURATION");
}

void describe_main(CLI::App& app, demo::top_options& options)
{
    app.add_option("--input", options.input, "Where to look; /usr/include unless given")
        ->type_name("DIR")
        ->check([](const std::string& name) { return name.empty() ? "an empty name" : ""; });
    add_duration(app, "--timeout", options.timeout, "Stops everything when it is over");
    app.add_flag("--check", options.check, "Runs the same through sh -c, and compares");
    app.require_subcommand(0, 1);
    app.footer(
        "Exit code: 0; 1 when something could not be read, nothing was found, or the check\n"
        "failed; 2 when nothing could be done; 124 after a timeout; 125 when the demo itself\n"
        "failed, 126 when one of its programs cannot be run, 127 when it is not found; 128 + N\n"
        "after signal N (130 after ^C; 129 after SIGHUP, 143 after SIGTERM). The result goes to\n"
        "standard output, everything else to standard error.");
}

CLI::App* describe_run(CLI::App& app, demo::run_command_options& options)
{
    auto* run =
        app.add_subcommand("run", "Runs CMD and stops all it has started when time is over");
    run->prefix_command();
    add_duration(*run, "--timeout", options.timeout,
                 "How long CMD may take (5, 5s, 500ms, 2m, 1h; at most 366 days)");
    add_duration(*run, "--grace", options.grace,
                 "How long after SIGTERM before SIGKILL; 5s unless given");
    run->footer(
        "Exit code: 124 when time was over, 137 when SIGKILL was needed then, else that of CMD,\n"
        "128 + N when signal N ended it; 125 when the demo itself failed, 126 when CMD cannot\n"
        "be run, 127 when it is not found. SIGINT, SIGTERM, SIGHUP and SIGQUIT go to all CMD\n"
        "has started, and SIGKILL after the grace; a second one does not wait for it. SIGKILL to\n"
        "the demo itself takes CMD along, but not what CMD has started.");
    return run;
}

CLI::App* describe_pty(CLI::App& app)
{
    auto* pty = app.add_subcommand("pty", "Runs CMD on a terminal of its own, shown in this one");
    pty->prefix_command();
    pty->footer(
        "Exit code: that of CMD, 128 + N when signal N ended it or us; 125 when the demo\n"
        "itself failed, 126 when CMD cannot be run, 127 when it is not found. SIGINT, SIGTERM,\n"
        "SIGHUP and SIGQUIT hang up, and SIGKILL follows after 5 s; a second one does not\n"
        "wait for it.");
    return pty;
}

CLI::App* describe_channel(CLI::App& app, demo::channel_command_options& options)
{
    constexpr std::size_t largest = 16 << 20;
    auto* channel = app.add_subcommand(
        "channel", "Compares messages to a process through a channel with a pipe");
    channel->add_option("--size", options.sizes, "Bytes of a message; may be given several times")
        ->type_name("BYTES")
        ->check(CLI::Range(std::size_t{8}, largest))
        ->capture_default_str()
        ->allow_extra_args(false);
    add_duration(*channel, "--seconds", options.step, "How long each step takes; 1s unless given");
    add_duration(*channel, "--spin", options.spin,
                 "How long a side looks for an answer before it sleeps; 50us unless given");
    channel->add_flag("--kill", options.kill,
                      "Kills the other process in the middle, and tells what was heard of it");
    add_duration(*channel, "--timeout", options.timeout, "Stops everything when it is over");
    channel->final_callback([&options] {
        if (options.step.count() == 0)
            throw CLI::ValidationError("--seconds", "a step takes some time");
        if (options.spin > std::chrono::milliseconds(100))
            throw CLI::ValidationError("--spin", "more than 100 ms");
    });
    channel->footer(
        "Each message has a number, which the receiver checks; GB are powers of ten. Exit code:\n"
        "0; 1 when a message was wrong or lost; 2 when nothing could be done; 124 after a\n"
        "timeout; 125 when the demo itself or its other process failed; 128 + N after signal N.\n"
        "The table goes to standard output, everything else to standard error.");
    return channel;
}

CLI::App* describe_index(CLI::App& app, demo::index_options& options)
{
    constexpr unsigned most = 256;
    auto* index = app.add_subcommand(
        "index", "Counts the identifiers by a pool of processes, over shared memory");
    index->add_option("--input", options.input, "Where to look; /usr/include unless given")
        ->type_name("DIR")
        ->check([](const std::string& name) { return name.empty() ? "an empty name" : ""; });
    index
        ->add_option("--workers", options.workers, "Processes; one for each processor unless given")
        ->type_name("N")
        ->check(CLI::Range(1u, most));
    add_duration(*index, "--timeout", options.timeout, "Stops everything when it is over");
    index->add_flag(
        "--check", options.check,
        "Runs the same through sh -c, and compares; and through xargs -P, for the time");
    index->add_flag("--chaos", options.chaos,
                    "Kills a worker, whichever it is, after every third part of the work");
    index->footer(
        "A first ^C lets the workers finish what they have begun, for a few seconds; a second one\n"
        "ends everything at once. Exit code: 0; 1 when something could not be read, nothing was\n"
        "found, or the check failed; 2 when nothing could be done; 124 after a timeout; 125 when\n"
        "the demo itself failed; 128 + N after signal N. The result goes to standard output,\n"
        "everything else to standard error.");
    return index;
}

// How `demo channel` starts itself.
struct peer_options {
    std::string role;
    std::size_t size = 0;
};

CLI::App* describe_channel_peer(CLI::App& app, peer_options& options)
{
    auto* peer = app.add_subcommand("channel-peer")->group("");
    peer->add_option("role", options.role)->required();
    peer->add_option("size", options.size)->required();
    return peer;
}

// Descriptors that nobody has opened would be given to the first that comes, and our output would
// go to, say, the event loop's. Opened the wrong way round, writing to them is still an error.
void open_standard_descriptors()
{
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
        if (::fcntl(fd, F_GETFD) == -1)
            // tidy: allow cloexec: a child is to have it
            (void)::open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

int run(int argc, char** argv)
{
    const command_line line(argc, argv);
    CLI::App app(
        "Prints the 20 most frequent identifiers of the C and C++ headers of this machine,\n"
        "by a pipeline of programs with a coroutine in it.",
        "demo");
    app.formatter(std::make_shared<usage_formatter>());
    demo::top_options top_options;
    demo::run_command_options run_options;
    describe_main(app, top_options);
    const auto* run = describe_run(app, run_options);
    const auto* pty = describe_pty(app);
    demo::channel_command_options channel_options;
    const auto* channel = describe_channel(app, channel_options);
    demo::index_options index_options;
    const auto* index = describe_index(app, index_options);
    peer_options as_peer;
    const auto* peer = describe_channel_peer(app, as_peer);
    try {
        auto reversed = line.ours;  // as CLI11 wants them
        std::reverse(reversed.begin(), reversed.end());
        app.parse(reversed);
        if (run->parsed()) {
            run_options.words = line.words_of(*run);
            return demo::run_command(run_options);
        }
        if (pty->parsed())
            return demo::run_pty(line.words_of(*pty));
        if (channel->parsed())
            return demo::run_channel(channel_options);
        if (index->parsed())
            return demo::run_index(index_options);
        if (peer->parsed())
            return demo::run_channel_peer(as_peer.role, as_peer.size);
        return demo::run_top(top_options);
    } catch (const CLI::ParseError& error) {
        if (app.exit(error) == 0)
            return 0;
        return run->parsed() || pty->parsed() ? int{demo::own_failure} : 2;
    }
}

}  // namespace

int main(int argc, char** argv)
{
    open_standard_descriptors();
    // Who reads our messages may leave; the programs are stopped all the same. (Children of
    // Procyard start with default dispositions.)
    (void)::signal(SIGPIPE, SIG_IGN);
    try {
        procyard::worker_entries entries;
        demo::add_index_entry(entries);
        if (const auto code = entries.run_if_worker())
            return *code;
        return run(argc, argv);
    } catch (const procyard::spawn_error& error) {
        demo::say("demo: {}\n", error.what());
        return demo::exit_code_of(error.failure());
    } catch (const std::exception& error) {
        demo::say("demo: {}\n", error.what());
        return demo::own_failure;
    }
}
