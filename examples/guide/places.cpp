// SPDX-License-Identifier: BSL-1.0
// docs/processes.md: group, session, terminal.
#include <unistd.h>

#include "guide.hpp"

namespace {

asio::awaitable<std::string> shell_says(command shell)
{
    auto executor = co_await asio::this_coro::executor;
    auto text = co_await async_output(std::move(shell), executor);
    text.erase(text.find_last_not_of('\n') + 1);
    co_return text;
}

// Fields 5 and 6 of proc(5) are the group and the session.
constexpr auto place = "set -- $(cat /proc/$$/stat); test $5 = $$ && echo leads a group; "
                       "test $6 = $$ && echo leads a session; true";

asio::awaitable<void> co_main()
{
    // [group]
    auto by_default = command::shell(place);                  // leads a group
    auto ours = command::shell(place).tree(tree_mode::none);  // in the parent's group
    auto session = command::shell(place).new_session();       // leads both, no terminal
    auto terminal = command::shell("tty").terminal({.rows = 24, .columns = 80});
    // [group]
    expect(co_await shell_says(by_default) == "leads a group", "a group");
    expect(co_await shell_says(ours) == "", "neither");
    expect(co_await shell_says(session) == "leads a group\nleads a session", "both");
    const auto name = co_await shell_says(terminal);
    expect(name.rfind("/dev/pts/", 0) == 0, name.c_str());
}

}  // namespace

int main()
{
    return run_main(co_main());
}
