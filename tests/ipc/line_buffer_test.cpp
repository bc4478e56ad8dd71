// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/line_buffer.hpp>

#include <algorithm>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

using procyard::line_buffer;
using procyard::line_options;
using namespace std::string_view_literals;

namespace {

// What comes out of the buffer, one letter per answer and the lines: "L:abc", "T:beginning", "N",
// "E".
std::string take(line_buffer& buffer)
{
    std::string_view line = "not touched";
    switch (buffer.next(line)) {
    case line_buffer::status::line: return "L:" + std::string(line);
    case line_buffer::status::too_long: return "T:" + std::string(line);
    case line_buffer::status::need_more: CHECK(line.empty()); return "N";
    case line_buffer::status::end: CHECK(line.empty()); return "E";
    }
    return "?";
}

// A script: bytes go in, then these answers come out.
struct step {
    std::string_view in;
    std::vector<std::string> out;
};

void play(line_options options, const std::vector<step>& script,
          const std::vector<std::string>& after_the_end)
{
    line_buffer buffer(options);
    for (const auto& [in, out] : script) {
        buffer.append(in);
        for (const auto& answer : out) {
            CHECK(buffer.ready() == (answer != "N"));
            CHECK(take(buffer) == answer);
        }
    }
    buffer.finish();
    for (const auto& answer : after_the_end)
        CHECK(take(buffer) == answer);
    CHECK(take(buffer) == "E");
    CHECK(take(buffer) == "E");
}

// The same rules in the simplest words, for a whole input.
std::vector<std::string> reference(std::string_view input, const line_options& options)
{
    std::vector<std::string> lines;
    while (!input.empty()) {
        const auto newline = input.find('\n');
        auto line = input.substr(0, newline);
        const bool complete = newline != std::string_view::npos;
        input.remove_prefix(complete ? newline + 1 : input.size());
        if (options.strip_carriage_return && complete && line.ends_with('\r'))
            line.remove_suffix(1);
        if (line.size() > options.max_line_bytes)
            lines.push_back("T:" + std::string(line.substr(0, options.max_line_bytes)));
        else
            lines.push_back("L:" + std::string(line));
    }
    return lines;
}

}  // namespace

TEST_SUITE("line_buffer")
{
    TEST_CASE("splits at newlines, wherever the bytes are split")
    {
        play({},
             {{"one\ntw", {"L:one", "N"}}, {"o", {"N"}}, {"\nthree\n", {"L:two", "L:three", "N"}}},
             {});
    }

    TEST_CASE("an empty input has no line, a single newline has one empty line")
    {
        play({}, {}, {});
        play({}, {{"\n", {"L:", "N"}}}, {});
    }

    TEST_CASE("empty lines are lines")
    {
        play({}, {{"\n\na\n\n", {"L:", "L:", "L:a", "L:", "N"}}}, {});
    }

    TEST_CASE("the last line may end with the input")
    {
        play({}, {{"a\nb", {"L:a", "N"}}}, {"L:b"});
        play({}, {{"a\n", {"L:a", "N"}}}, {});
    }

    TEST_CASE("NUL and every other byte are kept")
    {
        play({}, {{"a\0b\xff\r\n\0"sv, {"L:" + std::string("a\0b\xff\r"sv), "N"}}},
             {"L:" + std::string("\0"sv)});
    }

    TEST_CASE("a carriage return before the newline is taken off when asked for")
    {
        const line_options crlf{.strip_carriage_return = true};
        play(crlf, {{"a\r\n\r\nb\rc\n\r\r\n", {"L:a", "L:", "L:b\rc", "L:\r", "N"}}}, {});
        play(crlf, {{"a\r", {"N"}}, {"\n", {"L:a", "N"}}}, {});
        play(crlf, {{"a\r", {"N"}}}, {"L:a\r"});  // no newline: not a line's end
    }

    TEST_CASE("a line of exactly the limit is a line")
    {
        const line_options limit{.max_line_bytes = 3};
        play(limit, {{"abc\nabc", {"L:abc", "N"}}}, {"L:abc"});
        play({.max_line_bytes = 3, .strip_carriage_return = true},
             {{"abc\r", {"N"}}, {"\nabc\r\n", {"L:abc", "L:abc", "N"}}}, {});
    }

    TEST_CASE("a line too long is told at once, with its beginning, and the next one is whole")
    {
        const line_options limit{.max_line_bytes = 3};
        play(limit, {{"abcd", {"T:abc", "N"}}, {"efgh", {"N"}}, {"i\nxyz\n", {"L:xyz", "N"}}}, {});
        play(limit, {{"abcd\nxyz\n", {"T:abc", "L:xyz", "N"}}}, {});
        play(limit, {{"abcd\n\n", {"T:abc", "L:", "N"}}}, {});
        play(limit, {{"abcd\nefgh\nx\n", {"T:abc", "T:efg", "L:x", "N"}}}, {});
    }

    TEST_CASE("a line too long at the end of the input is the last answer")
    {
        const line_options limit{.max_line_bytes = 3};
        play(limit, {{"abcd", {}}}, {"T:abc"});
        play(limit, {{"abcd", {"T:abc", "N"}}}, {});
        play({.max_line_bytes = 3, .strip_carriage_return = true}, {{"abc\r", {"N"}}}, {"T:abc"});
        play({.max_line_bytes = 3, .strip_carriage_return = true}, {{"abc\rd", {"T:abc", "N"}}},
             {});
        play({.max_line_bytes = 3, .strip_carriage_return = true},
             {{"abcd\r\nx\n", {"T:abc", "L:x"}}}, {});
    }

    TEST_CASE("a line stays valid until the next bytes come")
    {
        line_buffer buffer;
        buffer.append("one\ntwo\n");
        std::string_view one;
        std::string_view two;
        CHECK(buffer.next(one) == line_buffer::status::line);
        CHECK(buffer.next(two) == line_buffer::status::line);
        CHECK(take(buffer) == "N");
        CHECK(one == "one");
        CHECK(two == "two");
    }

    TEST_CASE("what no line has taken can be looked at and taken as bytes")
    {
        line_buffer buffer;
        CHECK(buffer.buffered().empty());
        buffer.append("head\nbody\nmore");
        CHECK(take(buffer) == "L:head");
        CHECK(buffer.buffered() == "body\nmore");
        buffer.consume(5);
        CHECK(buffer.buffered() == "more");
        CHECK(take(buffer) == "N");
        buffer.consume(2);
        buffer.finish();
        CHECK(take(buffer) == "L:re");
    }

    TEST_CASE("a move leaves an empty buffer that can be used again")
    {
        line_buffer a;
        a.append("one\ntw");
        CHECK(take(a) == "L:one");
        line_buffer b(std::move(a));
        b.append("o\n");
        CHECK(take(b) == "L:two");
        CHECK(take(a) == "N");
        a.append("x\n");
        CHECK(take(a) == "L:x");
        b = std::move(a);
        CHECK(take(b) == "N");
    }

    TEST_CASE("room is made before the bytes and kept small")
    {
        line_buffer buffer({.max_line_bytes = 10, .read_bytes = 4});
        for (int i = 0; i < 1000; ++i) {
            const auto room = buffer.prepare();
            REQUIRE(room.size() == 4);
            std::fill_n(static_cast<char*>(room.data()), 4, i % 7 == 0 ? '\n' : 'x');
            buffer.commit(4);
            while (take(buffer) != "N") { }
            REQUIRE(buffer.buffered().size() <= 10);
        }
    }

    TEST_CASE("random inputs in random pieces give what the simplest splitter gives")
    {
        std::mt19937 engine(7);
        const auto up_to = [&engine](std::size_t most) {
            return std::uniform_int_distribution<std::size_t>(0, most)(engine);
        };
        for (int round = 0; round < 2000; ++round) {
            const line_options options{.max_line_bytes = 1 + up_to(20),
                                       .strip_carriage_return = up_to(1) == 0,
                                       .read_bytes = 1 + up_to(16)};
            std::string input(up_to(200), 'x');
            for (auto& byte : input)
                byte = "abc\n\r\0"[up_to(5)];
            line_buffer buffer(options);
            std::vector<std::string> lines;
            const auto drain = [&] {
                for (auto answer = take(buffer); answer != "N" && answer != "E";
                     answer = take(buffer))
                    lines.push_back(answer);
            };
            for (std::size_t at = 0; at < input.size();) {
                const auto room = buffer.prepare();
                const auto n = std::min({room.size(), input.size() - at, up_to(16)});
                std::copy_n(input.data() + at, n, static_cast<char*>(room.data()));
                buffer.commit(n);
                at += n;
                if (up_to(2) == 0)
                    drain();
            }
            buffer.finish();
            drain();
            REQUIRE(lines == reference(input, options));
        }
    }
}
