// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_EXAMPLES_DEMO_INDEX_WORDS_HPP
#define PROCYARD_EXAMPLES_DEMO_INDEX_WORDS_HPP

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace demo {

/// The identifiers of one part of a text that was cut anywhere, also within a word: what lies at
/// the cuts is not counted here but told, since only who has the neighbours knows what it is.
struct part_words {
    /// Up to the first character that belongs to no word, and after the last one.
    std::string front{};
    std::string back{};
    /// Of a part without any such character: it is all `front`.
    bool uncut = true;
    std::vector<std::pair<std::string, std::uint64_t>> counts{};
};

/// How often each identifier occurs. An identifier is what `grep -o '[A-Za-z_][A-Za-z0-9_]*'`
/// finds: a run of letters, digits and underscores, without the digits that it begins with.
class word_counts {
public:
    /// Of a whole run.
    void add_run(std::string_view run);
    void add(std::string_view word, std::uint64_t times);

    [[nodiscard]] std::vector<std::pair<std::string, std::uint64_t>> take();
    [[nodiscard]] std::size_t different() const noexcept { return counts_.size(); }
    /// As `sort | uniq -c | sort -k1,1nr -k2 | head -n MOST` prints them.
    [[nodiscard]] std::string top(std::size_t most) const;

private:
    // Finds by string_view, so that a known word costs no std::string.
    struct hash : std::hash<std::string_view> {
        using is_transparent = void;
    };

    std::unordered_map<std::string, std::uint64_t, hash, std::equal_to<>> counts_;
};

/// Reads a part, in whatever pieces.
class part_reader {
public:
    void add(std::string_view piece);
    /// The part has ended. Once.
    [[nodiscard]] part_words finish();

private:
    part_words words_;
    word_counts counts_;
    std::string run_;  // one that has begun, and whose end has not come
};

/// Puts the parts together again, in whatever order they come.
class whole_text {
public:
    explicit whole_text(std::size_t parts) : parts_(parts) { }

    void add(std::size_t number, part_words part);
    /// When all parts are there. Once.
    void finish();

    [[nodiscard]] const word_counts& counts() const noexcept { return counts_; }

private:
    struct cut {
        std::string front{};
        std::string back{};
        bool uncut = true;
    };

    std::vector<cut> parts_;
    word_counts counts_;
};

}  // namespace demo

#endif
