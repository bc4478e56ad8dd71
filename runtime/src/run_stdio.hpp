// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_RUN_STDIO_HPP
#define PROCYARD_RUNTIME_SRC_RUN_STDIO_HPP

#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/command.hpp>
#include <procyard/runtime/run_input.hpp>
#include <procyard/runtime/run_output.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// Reconciles what a command says about its three streams with what a run wants of them.

// Changes the command's stdin for the source.
void connect_input(command& what, const run_input& source);
// Changes the command's stdout (1) or stderr (2); returns the sinks if the stream shall come here.
[[nodiscard]] std::vector<sink_description> connect_output(command& what, int number,
                                                           const run_output& target);
// The end of the child's input has to be typed.
[[nodiscard]] bool input_is_terminal(const command& what) noexcept;

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
