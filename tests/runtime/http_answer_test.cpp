// SPDX-License-Identifier: BSL-1.0
#include "http_answer.hpp"

#include <doctest/doctest.h>

#include <cstddef>
#include <string>
#include <string_view>

using procyard::detail::http_answer;

namespace {

// In pieces of this many bytes; after the last one the server closes, if it is to.
unsigned status_of(std::string_view text, std::size_t piece, bool closes = true)
{
    http_answer answer;
    while (!text.empty() && !answer.is_over()) {
        answer.take(text.substr(0, piece));
        text.remove_prefix(piece < text.size() ? piece : text.size());
    }
    if (!answer.is_over() && closes)
        answer.end();
    return answer.is_over() ? answer.status() : 1;
}

void check(std::string_view text, unsigned status)
{
    for (const std::size_t piece : {1U, 2U, 7U, 1000U, 4096U})
        CHECK_MESSAGE(status_of(text, piece) == status, text.substr(0, 200), " by ", piece);
}

}  // namespace

TEST_SUITE("http_answer")
{
    TEST_CASE("a whole answer has its status, by length, by chunks, by the end, and without a body")
    {
        check("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200);
        check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 200);
        check("HTTP/1.0 200 OK\r\n\r\nwhatever comes", 200);
        check("HTTP/1.1 204 No Content\r\nServer: x\r\n\r\n", 204);
        check("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", 503);
        check("HTTP/1.1 301 Moved\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", 301);
    }

    TEST_CASE("what has a length is over when that has come, without the end of the connection")
    {
        CHECK(status_of("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 1, false) == 200);
        CHECK(status_of("HTTP/1.1 204 No Content\r\n\r\n", 1, false) == 204);
        CHECK(status_of("HTTP/1.1 200 OK\r\n\r\nok", 1, false) == 1);
    }

    TEST_CASE("what comes before the answer is none")
    {
        check("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
              "HTTP/1.1 100 Continue\r\n\r\n"
              "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
              404);
        check("HTTP/1.1 100 Continue\r\n\r\n", 0);
    }

    TEST_CASE("one that breaks off is none")
    {
        check("", 0);
        check("HTTP/1.1 2", 0);
        check("HTTP/1.1 200 OK\r\nContent-Le", 0);
        check("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok", 0);
        check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", 0);
    }

    TEST_CASE("what is no HTTP is none")
    {
        check("220 mail.example ESMTP\r\n", 0);
        check("SSH-2.0-OpenSSH_9.2\r\n", 0);
        check("HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n", 0);
        check(std::string(100, '\0'), 0);
        check("HTTP/2 200\r\n\r\n", 0);
    }

    TEST_CASE("no more is taken than there is room for, whatever it is")
    {
        const std::string much(1 << 20, 'x');
        check("HTTP/1.1 200 " + much, 0);
        check("HTTP/1.1 200 OK\r\nX: " + much, 0);
        std::string fields = "HTTP/1.1 200 OK\r\n";
        for (int i = 0; i < 100'000; ++i)
            fields += "X: y\r\n";
        check(fields, 0);
        // The status is known; the body is not looked at to its end.
        check("HTTP/1.1 200 OK\r\n\r\n" + much, 200);
        check("HTTP/1.1 500 No\r\nContent-Length: 99999999999\r\n\r\n", 500);
        check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n" + much, 200);
        check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;" + much, 0);
    }
}
