// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_LINE_SPLITTER_HPP
#define PROCYARD_RUNTIME_SRC_LINE_SPLITTER_HPP

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>

#include <procyard/ipc/config.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// Cuts pieces of a stream into lines. Keeps no more than one line's beginning; a line that lies
// within a piece is handed out without a copy. NUL and carriage return are bytes like others.
class line_splitter {
public:
    explicit line_splitter(std::size_t max_line_bytes) : max_(max_line_bytes) { }

    template <class OnLine>
    void push(std::string_view bytes, OnLine&& on_line)
    {
        while (!bytes.empty()) {
            const auto end = bytes.find('\n');
            const bool whole = end != std::string_view::npos;
            take(bytes.substr(0, end), whole, on_line);
            bytes.remove_prefix(whole ? end + 1 : bytes.size());
        }
    }

    // The stream has ended: what is left is a line that lacks its newline.
    template <class OnLine>
    void finish(OnLine&& on_line)
    {
        if (!begun_.empty()) {
            on_line(std::string_view(begun_));
            begun_.clear();
        }
    }

    // How many lines came in pieces.
    [[nodiscard]] std::size_t long_lines() const noexcept { return long_lines_; }

private:
    template <class OnLine>
    void take(std::string_view part, bool whole, OnLine& on_line)
    {
        // A line is too long when a byte of it comes after max_: only then a full piece goes out.
        while (begun_.size() + part.size() > max_) {
            const auto piece = std::min(max_ - begun_.size(), part.size());
            emit(part.substr(0, piece), on_line);
            part.remove_prefix(piece);
            long_lines_ += in_long_line_ ? 0 : 1;
            in_long_line_ = true;
        }
        if (!whole) {
            begun_.append(part);
            return;
        }
        emit(part, on_line);
        in_long_line_ = false;
    }

    template <class OnLine>
    void emit(std::string_view part, OnLine& on_line)
    {
        if (begun_.empty()) {
            on_line(part);
            return;
        }
        begun_.append(part);
        on_line(std::string_view(begun_));
        begun_.clear();
    }

    std::size_t max_;
    std::string begun_;
    std::size_t long_lines_ = 0;
    bool in_long_line_ = false;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
