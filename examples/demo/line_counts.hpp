// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_EXAMPLES_DEMO_LINE_COUNTS_HPP
#define PROCYARD_EXAMPLES_DEMO_LINE_COUNTS_HPP

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>

#include <boost/asio/awaitable.hpp>

#include <procyard/ipc/pipe.hpp>

namespace demo {

/// How often each line occurs, whatever the pieces the text comes in.
class line_counts {
public:
    void add(std::string_view piece);
    /// The text has ended: a last line without newline counts too.
    void finish();

    [[nodiscard]] auto begin() const noexcept { return counts_.begin(); }
    [[nodiscard]] auto end() const noexcept { return counts_.end(); }

private:
    // Finds by string_view, so that a known line costs no std::string.
    struct hash : std::hash<std::string_view> {
        using is_transparent = void;
    };

    void count(std::string_view line);

    std::unordered_map<std::string, std::uint64_t, hash, std::equal_to<>> counts_;
    std::string begun_;  // the beginning of a line whose end has not come yet
};

/// `sort | uniq -c` as a stage of a pipeline, without the sorting: for a million different lines in
/// tens of millions a table is several times as fast. Writes what `uniq -c` writes, in no order.
boost::asio::awaitable<void> count_lines(procyard::pipe_reader in, procyard::pipe_writer out);

}  // namespace demo

#endif
