// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_OUTPUT_LINES_HPP
#define PROCYARD_RUNTIME_SRC_OUTPUT_LINES_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <new>
#include <string>
#include <string_view>
#include <utility>

#include <procyard/ipc/config.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// Cuts bytes into lines without their ends. One that is longer than `longest` comes in pieces, so
// that the memory for it is bounded. One for which there is no memory is lost, and counted: whoever
// reads goes on reading.
class output_lines {
public:
    static constexpr std::size_t longest = 65536;

    template <class Function>
    void take(std::string_view bytes, Function&& each)
    {
        while (!bytes.empty()) {
            const auto end = std::min(bytes.find('\n'), bytes.size());
            const auto piece = bytes.substr(0, std::min(end, longest - begun_.size()));
            const bool whole = piece.size() == end && end < bytes.size();
            // The end of a line whose last piece was handed out already.
            const bool was_all = whole && piece.empty() && begun_.empty() && divided_;
            if (was_all || dropping_) {
                divided_ = false;
                dropping_ = dropping_ && !whole;
            } else if (begun_.empty() && whole) {
                each(piece);  // the usual case: nothing is copied
                divided_ = false;
            } else {
                if (!append(piece)) {
                    dropping_ = !whole;
                    divided_ = false;
                } else if (whole || begun_.size() == longest) {
                    each(std::string_view(begun_));
                    begun_.clear();
                    divided_ = !whole;
                }
            }
            bytes.remove_prefix(piece.size() + (whole ? 1 : 0));
        }
    }

    // What came after the last end of a line.
    template <class Function>
    void finish(Function&& each)
    {
        if (!begun_.empty())
            each(std::string_view(begun_));
        begun_.clear();
    }

    // How many lines were lost since this was asked the last time.
    [[nodiscard]] std::uint64_t take_lost() noexcept { return std::exchange(lost_, 0); }

private:
    [[nodiscard]] bool append(std::string_view piece) noexcept
    {
        try {
            begun_ += piece;
            return true;
        } catch (const std::bad_alloc&) {
            begun_.clear();
            ++lost_;
            return false;
        }
    }

    std::string begun_{};
    bool divided_ = false;
    bool dropping_ = false;  // the rest of a line that is lost
    std::uint64_t lost_ = 0;
};

// The last bytes of many.
class output_tail {
public:
    explicit output_tail(std::size_t most) : most_(most) { }

    // Without memory it begins anew: there is no gap in it.
    void take(std::string_view bytes) noexcept
    {
        try {
            kept_ += bytes.substr(bytes.size() - std::min(bytes.size(), most_));
        } catch (const std::bad_alloc&) {
            kept_.clear();
        }
        // Not with each piece: moving the rest to the front costs as much as it is long.
        if (kept_.size() > 2 * most_)
            kept_.erase(0, kept_.size() - most_);
    }

    [[nodiscard]] std::string get() const
    {
        return kept_.substr(kept_.size() - std::min(kept_.size(), most_));
    }

private:
    std::size_t most_;
    std::string kept_{};
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
