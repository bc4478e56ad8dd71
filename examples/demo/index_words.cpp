// SPDX-License-Identifier: BSL-1.0
#include "index_words.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>

namespace demo {

namespace {

constexpr auto word_characters = [] {
    std::array<bool, 256> is{};
    for (const char c :
         std::string_view("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_"))
        is.at(static_cast<unsigned char>(c)) = true;
    return is;
}();

constexpr bool belongs_to_word(char c) noexcept
{
    return word_characters[static_cast<unsigned char>(c)];
}

}  // namespace

void word_counts::add_run(std::string_view run)
{
    const auto begin = run.find_first_not_of("0123456789");
    if (begin != std::string_view::npos)
        add(run.substr(begin), 1);
}

void word_counts::add(std::string_view word, std::uint64_t times)
{
    const auto known = counts_.find(word);
    if (known != counts_.end())
        known->second += times;
    else
        counts_.emplace(word, times);
}

std::vector<std::pair<std::string, std::uint64_t>> word_counts::take()
{
    std::vector<std::pair<std::string, std::uint64_t>> all;
    all.reserve(counts_.size());
    while (!counts_.empty()) {
        auto one = counts_.extract(counts_.begin());
        all.emplace_back(std::move(one.key()), one.mapped());
    }
    return all;
}

std::string word_counts::top(std::size_t most) const
{
    std::vector<std::pair<std::string_view, std::uint64_t>> all(counts_.begin(), counts_.end());
    const auto end = all.begin() + static_cast<std::ptrdiff_t>(std::min(most, all.size()));
    std::partial_sort(all.begin(), end, all.end(), [](const auto& one, const auto& other) {
        return one.second != other.second ? one.second > other.second : one.first < other.first;
    });
    std::string text;
    for (auto next = all.begin(); next != end; ++next)
        fmt::format_to(std::back_inserter(text), "{:7} {}\n", next->second, next->first);
    return text;
}

void part_reader::add(std::string_view piece)
{
    auto at = piece.begin();
    while (at != piece.end()) {
        const auto end = std::find_if_not(at, piece.end(), belongs_to_word);
        const std::string_view run(at, end);
        if (end == piece.end()) {
            run_.append(run);
            return;
        }
        if (words_.uncut) {
            words_.front = run_.append(run);
            words_.uncut = false;
        } else if (!run_.empty()) {
            counts_.add_run(run_.append(run));
        } else {
            counts_.add_run(run);
        }
        run_.clear();
        at = std::find_if(end, piece.end(), belongs_to_word);
    }
}

part_words part_reader::finish()
{
    (words_.uncut ? words_.front : words_.back) = std::move(run_);
    words_.counts = counts_.take();
    return std::move(words_);
}

void whole_text::add(std::size_t number, part_words part)
{
    for (const auto& [word, times] : part.counts)
        counts_.add(word, times);
    parts_.at(number) = {std::move(part.front), std::move(part.back), part.uncut};
}

void whole_text::finish()
{
    std::string run;
    for (auto& part : parts_) {
        run += part.front;
        if (part.uncut)
            continue;
        counts_.add_run(run);
        run = std::move(part.back);
    }
    counts_.add_run(run);
}

}  // namespace demo
