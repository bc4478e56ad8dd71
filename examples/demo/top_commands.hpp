// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_EXAMPLES_DEMO_TOP_COMMANDS_HPP
#define PROCYARD_EXAMPLES_DEMO_TOP_COMMANDS_HPP

#include <string>

#include <procyard/runtime/command.hpp>
#include <procyard/runtime/pipeline.hpp>
#include <procyard/runtime/stage.hpp>
#include <procyard/runtime/tree.hpp>

namespace demo {

/// Prints the size of each header below `directory`, in the order in which the pipeline reads them.
procyard::command list_sizes(const std::string& directory, procyard::tree_mode mode);

/// Prints `SIZE NAME` of each of them, with a NUL at its end, in that order.
procyard::command list_files(const std::string& directory, procyard::tree_mode mode);

/// The program whose input is the text of all headers.
constexpr auto extractor = "grep";

/// From the directory to the 20 most frequent identifiers. `count` turns lines into those of
/// `uniq -c`.
procyard::pipeline top_pipeline(const std::string& directory, procyard::tree_mode mode,
                                procyard::stage::function count);

/// The same as one shell command.
procyard::command top_script(const std::string& directory, procyard::tree_mode mode);

/// The same but for what is cut at the ends of files, by several programs at a time.
procyard::command parallel_script(const std::string& directory, unsigned processes,
                                  procyard::tree_mode mode);

}  // namespace demo

#endif
