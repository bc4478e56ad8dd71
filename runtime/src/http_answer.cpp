// SPDX-License-Identifier: BSL-1.0
#include "http_answer.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>

#include <cstddef>
#include <optional>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace beast = boost::beast;
namespace http = beast::http;

namespace {

constexpr std::size_t most_body = 64 * 1024;
constexpr unsigned most_header = 16 * 1024;
// Of what no parser has taken: a line without an end.
constexpr std::size_t most_unread = 64 * 1024;

}  // namespace

struct http_answer::parser {
    beast::flat_buffer unread{};
    std::optional<http::response_parser<http::string_body>> now{};
};

http_answer::http_answer() : parser_(std::make_unique<parser>())
{
    begin();
}

http_answer::~http_answer() = default;

void http_answer::begin()
{
    auto& one = parser_->now.emplace();
    one.eager(true);
    one.body_limit(most_body);
    one.header_limit(most_header);
}

void http_answer::take(std::string_view bytes)
{
    auto& unread = parser_->unread;
    if (bytes.size() > most_unread - unread.size())
        return finish(0);
    unread.commit(asio::buffer_copy(unread.prepare(bytes.size()), asio::buffer(bytes)));
    parse();
}

void http_answer::parse()
{
    auto& unread = parser_->unread;
    while (!is_over_ && unread.size() > 0) {
        auto& one = *parser_->now;
        beast::error_code ec;
        const auto used = one.put(unread.data(), ec);
        unread.consume(used);
        if (ec == http::error::need_more)
            return;
        // More than is looked at: the status is known.
        if (ec == http::error::body_limit)
            return finish(one.get().result_int());
        if (ec)
            return finish(0);
        if (!one.is_done() && used == 0)
            return;
        if (!one.is_done())
            continue;
        // 100 to 199 come before the answer.
        if (one.get().result_int() >= 200)
            return finish(one.get().result_int());
        begin();
    }
}

void http_answer::end()
{
    auto& one = *parser_->now;
    beast::error_code ec;
    if (one.got_some())
        one.put_eof(ec);
    finish(one.is_done() && !ec ? one.get().result_int() : 0);
}

void http_answer::finish(unsigned status) noexcept
{
    is_over_ = true;
    status_ = status;
}

}  // namespace detail

PROCYARD_NAMESPACE_END
