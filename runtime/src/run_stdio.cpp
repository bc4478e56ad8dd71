// SPDX-License-Identifier: BSL-1.0
#include "run_stdio.hpp"

#include <variant>

#include "command_access.hpp"
#include "run_access.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

using kind = stdio_access::kind;

kind said(const command& what, int number) noexcept
{
    return stdio_access::what(command_access::standard(what)[number]);
}

// The command wants this stream here, in a way of its own.
bool comes_here(kind k) noexcept
{
    return k == kind::pipe || k == kind::socket || k == kind::terminal;
}

command& set_output(command& what, int number, stdio target)
{
    return number == 1 ? what.std_out(std::move(target)) : what.std_err(std::move(target));
}

}  // namespace

void connect_input(command& what, const run_input& source)
{
    const auto& description = run_access::source(source);
    const auto wish = said(what, 0);
    if (std::holds_alternative<command_source>(description))
        return;
    if (const auto* file = std::get_if<file_source>(&description)) {
        what.std_in(stdio::read_file(file->path));
    } else if (std::holds_alternative<automatic_source>(description)) {
        if (wish == kind::inherit)
            what.std_in(stdio::null());
    } else if (!comes_here(wish)) {
        what.std_in(stdio::pipe());
    }
}

std::vector<sink_description> connect_output(command& what, int number, const run_output& target)
{
    using output_kind = run_access::output_kind;
    const auto wish = said(what, number);
    switch (run_access::what(target)) {
    case output_kind::as_command:
        // A pipe that nobody reads would be a trap.
        if (comes_here(wish))
            return {capture_sink{}};
        break;
    case output_kind::discard: set_output(what, number, stdio::null()); break;
    case output_kind::merge:
        set_output(what, number, number == 1 ? stdio::to_stderr() : stdio::to_stdout());
        break;
    case output_kind::automatic:
        if (wish == kind::inherit)
            set_output(what, number, stdio::pipe());
        if (wish == kind::inherit || comes_here(wish))
            return {capture_sink{}};
        break;
    case output_kind::sinks:
        if (!comes_here(wish))
            set_output(what, number, stdio::pipe());
        return run_access::sinks(target);
    }
    return {};
}

bool input_is_terminal(const command& what) noexcept
{
    return said(what, 0) == kind::terminal;
}

}  // namespace detail

PROCYARD_NAMESPACE_END
