// SPDX-License-Identifier: BSL-1.0
// The rules themselves, on samples that break them and on samples that only look like it.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "documents.hpp"
#include "functions.hpp"
#include "masked_text.hpp"
#include "rules.hpp"

namespace {

const std::string licence = "// SPDX-License-Identifier: BSL-1.0\n";

// The rules a sample breaks as "rule@line", where the sample's own first line is line 2.
std::vector<std::string> broken(std::string_view path, const std::string& sample)
{
    std::vector<std::string> out;
    for (const auto& f : tidy::check_file(path, licence + sample))
        out.push_back(f.rule + "@" + std::to_string(f.line));
    return out;
}

using list = std::vector<std::string>;

std::string lines(std::size_t count)
{
    std::string out;
    for (std::size_t n = 0; n < count; ++n)
        out += "    f();\n";
    return out;
}

}  // namespace

TEST_SUITE("masked text")
{
    TEST_CASE("comments, strings and character literals become blanks of the same length")
    {
        CHECK(tidy::mask_text("a /* { */ b // }\nc") == "a         b     \nc");
        CHECK(tidy::mask_text(R"(f("a\"{", '{', '\'');)") == "f(      ,    ,     );");
        CHECK(tidy::mask_text("x = 1'000'000; '{'") == "x = 1'000'000;    ");
        CHECK(tidy::mask_text("R\"x(\n{)\" )x\" }") == "R   \n        }");
    }

    TEST_CASE("a directive is blank to the end of its last continued line")
    {
        CHECK(tidy::mask_directives("#define A { \\\n {\nint b;") == "             \n  \nint b;");
    }
}

TEST_SUITE("functions")
{
    TEST_CASE("members, templates, operators, test cases and constructors are found by name")
    {
        const auto found = tidy::find_functions(R"(
PROCYARD_NAMESPACE_BEGIN
namespace x {
template <class T = int>
auto first(T t) noexcept(noexcept(t())) -> int
{
    if (t) { return [] { return 1; }(); }
}
class y : public z<int> {
public:
    y() : a_(1), b_{2} {}
    explicit y(int i) : a_{i}
    {
    }
    bool operator==(const y&) const { return true; }
private:
    int a_{3};
    std::vector<int> b_ = {1, 2};
};
enum class e { f, g };
inline constexpr auto table = make({1, 2});
TEST_SUITE("s") {
TEST_CASE("c") { CHECK(true); }
}
}
)");
        std::string names;
        for (const auto& f : found)
            names += f.name + ":" + std::to_string(f.line_count) + " ";
        CHECK(names == "first:5 y:1 y:3 operator:1 TEST_CASE:1 ");
    }
}

TEST_SUITE("tidy rules")
{
    TEST_CASE("a clean file has no finding")
    {
        CHECK(broken("ipc/src/a.cpp", "int a() { return ::open(p, O_RDONLY | O_CLOEXEC); }\n")
              == list{});
    }

    TEST_CASE("length: of a file, of a line, of a function")
    {
        CHECK(broken("ipc/src/a.cpp", lines(799)) == list{});
        CHECK(broken("ipc/src/a.cpp", lines(800)) == list{"file-length@801"});
        CHECK(broken("tests/a.hpp", "//" + std::string(98, 'x') + "\n") == list{});
        CHECK(broken("tests/a.hpp", "//" + std::string(99, 'x') + "\n") == list{"line-length@2"});
        CHECK(broken("tests/a.hpp", "// " + std::string(48, '\xc3') + std::string(97, '\xa9'))
              == list{});

        CHECK(broken("bench/a.cpp", "void a()\n{\n" + lines(67) + "}\n") == list{});
        CHECK(broken("bench/a.cpp", "\nvoid a()\n{\n" + lines(68) + "}\n")
              == list{"function-length@3"});
        CHECK(broken("bench/a.cpp", "act f::resume(ev e)\n{\n" + lines(127) + "}\n") == list{});
        CHECK(broken("bench/a.cpp", "act f::resume(ev e)\n{\n" + lines(128) + "}\n")
              == list{"function-length@2"});
    }

    TEST_CASE("sleeping, in the library and in tests")
    {
        const std::string sleep = "void f() { std::this_thread::sleep_for(1s); ::usleep(3); }\n";
        CHECK(broken("tests/ipc/a.cpp", sleep) == list{"sleep@2", "sleep@2"});
        CHECK(broken("runtime/src/a.cpp", sleep) == list{"sleep@2", "sleep@2"});
        CHECK(broken("bench/a.cpp", sleep) == list{});
        CHECK(broken("tests/a.cpp", "// no usleep(3) here\nauto s = \"nanosleep(\";\n") == list{});
    }

    TEST_CASE("fork and vfork, outside of the child's file")
    {
        CHECK(broken("runtime/src/spawn.cpp", "auto p = ::fork();\n") == list{"fork@2"});
        CHECK(broken("examples/a.cpp", "if (vfork() == 0) {}\n") == list{"fork@2"});
        CHECK(broken("runtime/src/child_main.cpp", "auto p = ::fork();\n") == list{});
        CHECK(broken("tests/support/helper.cpp", "auto p = ::fork();\n") == list{});
        CHECK(broken("runtime/src/a.cpp", "a.fork(); launcher::fork(); pid_t fork();\n") == list{});
    }

    TEST_CASE("waiting for any child, anywhere")
    {
        CHECK(broken("bench/a.cpp", "waitpid(-1, &s, 0);\n") == list{"wait-any@2"});
        CHECK(broken("tests/a.cpp", "x = ::waitpid( -1, &s, 0);\n") == list{"wait-any@2"});
        CHECK(broken("ipc/src/a.cpp", "return waitid(P_ALL, 0, &i, 0);\n") == list{"wait-any@2"});
        CHECK(broken("ipc/src/a.cpp", "waitid(P_ALL, 0, &i, WEXITED | WNOWAIT);\n") == list{});
        CHECK(broken("ipc/src/a.cpp", "::wait(&s);\n") == list{"wait-any@2"});
        CHECK(broken("ipc/src/a.cpp", "waitpid(pid, &s, 0); c.wait(); wait(-1);\n") == list{});
    }

    TEST_CASE("a descriptor that is born without CLOEXEC")
    {
        for (const char* bad :
             {"::open(p, O_RDONLY);", "return ::open(\"x\", 0);", "int i = b ? 3 : open(p, 0);",
              "f(a, ::open(p, 0));", "x = pipe(fds);", "if (::pipe2(fds, O_NONBLOCK) == -1) {}",
              "::socket(AF_UNIX, SOCK_STREAM, 0);", "::accept(s, nullptr, nullptr);",
              "int d = ::dup(0);", "::dup2(a, b);", "::fcntl(fd, F_DUPFD, 3);",
              "std::fopen(\"e\", \"r\");", "::fopen(p, mode);", "eventfd(0, 0);",
              "std::ifstream in(p);", "return ::memfd_create(\"x\", 0);"}) {
            CAPTURE(bad);
            CHECK(broken("ipc/src/a.cpp", std::string(bad) + "\n") == list{"cloexec@2"});
        }
    }

    TEST_CASE("a descriptor that is born with CLOEXEC, and what only sounds like one")
    {
        for (const char* good :
             {"::open(p, O_RDONLY | O_CLOEXEC);", "::open(p,\n  O_RDONLY\n  | O_CLOEXEC);",
              "::pipe2(fds, O_CLOEXEC);", "::accept4(s, a, n, SOCK_CLOEXEC);",
              "::fcntl(fd, F_DUPFD_CLOEXEC, 3);", "::fcntl(fd, F_GETFL);", "std::fopen(p, \"re\");",
              "eventfd(0, EFD_CLOEXEC);", "file.open(p);", "stdio::pipe();",
              "static stdio pipe(pipe_options options = {});", "void open(int);",
              "auto stream = open();", "x() : pipe(a), dup(b) {}", "x() : a::b(c), pipe(a) {}",
              "FILE* fopen(int);", "// ::open(p, 0)", "auto s = \"open(p)\";"}) {
            CAPTURE(good);
            CHECK(broken("ipc/src/a.cpp", std::string(good) + "\n") == list{});
        }
        CHECK(broken("runtime/src/child_main.cpp", "::dup2(a, b);\n") == list{});
        CHECK(broken("tests/support/helper.cpp", "::dup2(a, b);\n") == list{});
        CHECK(broken("bench/raw.cpp", "::pipe(fds);\n") == list{});
    }

    TEST_CASE("includes that cost or that go round the map")
    {
        CHECK(broken("ipc/include/procyard/ipc/a.hpp", "#include <boost/asio.hpp>\n")
              == list{"asio-header@2"});
        CHECK(broken("ipc/src/a.cpp", "#include <procyard/ipc.hpp>\n") == list{"umbrella@2"});
        CHECK(broken("signals/include/procyard/signals.hpp", "#include <procyard/ipc.hpp>\n")
              == list{});
        CHECK(broken("tests/ipc/a.cpp", "#include <boost/asio.hpp>\n#include <procyard/ipc.hpp>\n")
              == list{});
    }

    TEST_CASE("detached operations in the library")
    {
        CHECK(broken("runtime/src/a.cpp", "co_spawn(ex, f(), asio::detached);\n")
              == list{"detached@2"});
        CHECK(broken("examples/a.cpp", "co_spawn(ex, f(), asio::detached);\n") == list{});
    }

    TEST_CASE("a missing licence line, a marker of unfinished work")
    {
        const auto rule_of = [](std::string_view path, std::string_view text) {
            const auto found = tidy::check_file(path, text);
            return found.empty() ? std::string() : found.front().rule;
        };
        CHECK(rule_of("ipc/src/a.cpp", "int a;\n") == "licence");
        CHECK(rule_of("cmake/setup.sh", "#!/bin/bash\necho\n") == "licence");
        CHECK(
            rule_of("cmake/setup.sh", "#!/bin/bash\n# SPDX-License-Identifier: BSL-1.0\n").empty());
        CHECK(rule_of("LICENSE", "Boost Software License\n").empty());
        CHECK(rule_of("README.md", "nothing\n").empty());
        CHECK(rule_of("README.md", "a " + std::string("TO") + "DO\n") == "marker");
        CHECK(rule_of("README.md", "/tmp/a.XXXXXX\n").empty());
    }

    TEST_CASE("a line may break a rule that it names, for a reason that it gives")
    {
        CHECK(broken("tests/a.cpp", "::dup(0);  // tidy: allow cloexec: it has to leak\n")
              == list{});
        CHECK(broken("tests/a.cpp", "// tidy: allow cloexec: it has to\n// leak\n::dup(0);\n")
              == list{});
        CHECK(broken("tests/a.cpp", "::dup(0);  // tidy: allow cloexec: \n") == list{"cloexec@2"});
        CHECK(broken("tests/a.cpp", "::dup(0);  // tidy: allow sleep: tired\n")
              == list{"cloexec@2"});
        CHECK(broken("tests/a.cpp", "// tidy: allow cloexec: another\nint i;\n::dup(0);\n")
              == list{"cloexec@4"});
    }
}

TEST_SUITE("documents")
{
    const std::string example =
        "int i;\n    // [a]\n    f();\n\n    {\n    }\n    // [a]\n// [b]\n";
    const tidy::read_file files = [](std::string_view path) {
        return path == "a.cpp" ? std::optional(example) : std::nullopt;
    };

    std::string complaints(const std::string& document)
    {
        std::string out;
        for (const auto& f : tidy::check_document(document, files, files))
            out += std::to_string(f.line) + ": " + f.reason + "; ";
        return out;
    }

    TEST_CASE("a snippet stands between two marks and loses its indentation")
    {
        CHECK(tidy::snippet_of(example, "a") == "f();\n\n{\n}\n");
        CHECK_FALSE(tidy::snippet_of(example, "b"));
        CHECK_FALSE(tidy::snippet_of(example, "c"));
    }

    TEST_CASE("a quotation is what the file says")
    {
        const std::string quotation = "<!-- snippet a.cpp a -->\n```cpp\n";
        CHECK(complaints(quotation + "f();\n\n{\n}\n```\n") == "");
        CHECK(complaints(quotation + "g();\n```\n") == "1: the block is not what the file says; ");
        CHECK(complaints(quotation)
              == "1: the block is not what the file says; 2: a block has no end; ");
        CHECK(complaints("\n<!-- snippet a.cpp c -->\n") == "2: there is no such snippet; ");
        CHECK(complaints("<!-- snippet b.cpp a -->\n") == "1: there is no such snippet; ");
        for (const std::string bad : {"<!-- snippet: a.cpp a -->", "<!-- snippet a.cpp -->"})
            CHECK(complaints(bad + '\n') == "1: a quotation is: <!-- snippet FILE TAG -->; ");
    }

    TEST_CASE("a code block ends where it should")
    {
        CHECK(complaints("```cpp\nf();\n```\n\n```\nx\n```\n") == "");
        CHECK(complaints("```cpp\nf();\n```cpp\n```\n")
              == "3: a block begins inside another; 4: a block has no end; ");
        CHECK(complaints("text\n```\nx\n") == "2: a block has no end; ");
    }

    TEST_CASE("a relative link leads somewhere")
    {
        CHECK(complaints("[x](a.cpp) [y](a.cpp#z) [z](https://example.org/a) [w](#up)\n") == "");
        CHECK(complaints("[x](a.cpp) [y](b.md)\n") == "1: b.md does not exist; ");
        CHECK(complaints("```cpp\nauto f = [](auto) {};\n```\n") == "");
    }

    TEST_CASE("a script of a test waits for no time; a child that sleeps for ever is somebody's")
    {
        const auto in = [](std::string_view path, const std::string& text) {
            list out;
            for (const auto& f :
                 tidy::check_file(path, "#!/bin/bash\n# SPDX-License-Identifier: BSL-1.0\n" + text))
                out.push_back(f.rule + "@" + std::to_string(f.line));
            return out;
        };
        CHECK(in("tests/a.sh", "sleep 1\n") == list{"sleep@3"});
        CHECK(in("examples/demo/a.sh", "x; sleep 0.1 & wait\n") == list{"sleep@3"});
        CHECK(in("tests/a.sh", "f 'sleep 2 & echo'\n") == list{"sleep@3"});
        CHECK(in("tests/a.sh", "sleep $long\n") == list{"sleep@3"});
        CHECK(in("tests/a.sh", "f 'exec sleep 1000' & sleep 5000\n").empty());
        CHECK(in("tests/a.sh", "# no sleep 1 here\nsleepy 1\n").empty());
        CHECK(in("tests/a.sh", "# tidy: allow sleep: shows that it is seen\nsleep 1\n").empty());
        CHECK(in("bench/a.sh", "sleep 1\n").empty());
    }
}
