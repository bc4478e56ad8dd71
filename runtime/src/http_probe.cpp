// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/probes.hpp>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <memory>
#include <stdexcept>
#include <system_error>

#include "http_answer.hpp"
#include "probe_connection.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

struct http_question {
    probe_places where{};
    std::string request{};
    std::optional<unsigned> status{};
};

struct http_url {
    std::string_view authority{};  // HOST[:PORT]
    std::string_view host{};       // without brackets
    std::uint16_t port = 80;
    std::string_view target{};
};

[[noreturn]] void refuse(std::string_view what, const std::string& why)
{
    throw std::invalid_argument("http_probe: \"" + std::string(what) + "\" " + why);
}

// What would end a line of the request, or a part of it.
bool is_printable(std::string_view text, bool with_spaces)
{
    return std::all_of(text.begin(), text.end(), [&](char c) {
        const auto byte = static_cast<unsigned char>(c);
        return byte > 0x20 ? byte != 0x7f : with_spaces && (c == ' ' || c == '\t');
    });
}

bool is_token(std::string_view text)
{
    return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
            || std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
    });
}

[[noreturn]] void refuse_url(std::string_view url)
{
    refuse(url, "is no http://HOST[:PORT][/TARGET]");
}

http_url parse_url(std::string_view url)
{
    constexpr std::string_view scheme = "http://";
    if (!url.starts_with(scheme) || !is_printable(url, false))
        refuse_url(url);
    const auto rest = url.substr(scheme.size());
    const auto end = std::min(rest.find_first_of("/?#"), rest.size());
    http_url all;
    all.authority = rest.substr(0, end);
    all.target = rest.substr(end, rest.find('#') - end);
    if (all.authority.find('@') != std::string_view::npos)
        refuse_url(url);
    std::string_view port;
    if (all.authority.starts_with('[')) {
        const auto close = all.authority.find(']');
        if (close == std::string_view::npos)
            refuse_url(url);
        all.host = all.authority.substr(1, close - 1);
        port = all.authority.substr(close + 1);
    } else {
        const auto colon = std::min(all.authority.find(':'), all.authority.size());
        all.host = all.authority.substr(0, colon);
        port = all.authority.substr(colon);
    }
    if (all.host.empty())
        refuse_url(url);
    if (port.empty())
        return all;
    const auto* const last = port.data() + port.size();
    const auto [stop, error] = std::from_chars(port.data() + 1, last, all.port);
    if (port.front() != ':' || stop != last || error != std::errc() || all.port == 0)
        refuse_url(url);
    return all;
}

probe_places places_of(std::string_view whole, const http_url& url)
{
    if (url.host == "localhost")
        return loopback(url.port);
    error_code ec;
    const auto address = asio::ip::make_address(std::string(url.host), ec);
    if (ec)
        refuse(whole, "has a host that is neither an address nor localhost");
    return {asio::ip::tcp::endpoint(address, url.port)};
}

std::string request_of(const http_url& url, const http_probe_options& options)
{
    std::string text = "GET ";
    // `http://host?query` has a path, though it does not say so.
    text += url.target.starts_with('/') ? "" : "/";
    text += url.target;
    text += " HTTP/1.1\r\nHost: ";
    text += url.authority;
    text += "\r\nUser-Agent: procyard\r\nAccept: */*\r\nConnection: close\r\n";
    for (const auto& [name, value] : options.headers) {
        if (!is_token(name))
            refuse(name, "is no name of a field");
        if (!is_printable(value, true))
            refuse(value, "is no value of a field");
        text.append(name).append(": ").append(value).append("\r\n");
    }
    return text + "\r\n";
}

asio::awaitable<unsigned> read_status(probe_socket* from)
{
    http_answer answer;
    std::array<char, 4096> bytes;
    while (!answer.is_over()) {
        const auto [ec, size] = co_await from->async_read_some(asio::buffer(bytes),
                                                               asio::as_tuple(asio::use_awaitable));
        if (ec == asio::error::eof)
            answer.end();
        else if (ec)
            co_return 0;
        else
            answer.take({bytes.data(), size});
    }
    co_return answer.status();
}

asio::awaitable<bool> answers_well(std::shared_ptr<const http_question> what)
{
    probe_socket socket(co_await asio::this_coro::executor);
    if (!co_await connect_to_any(&socket, &what->where))
        co_return false;
    const auto [unsent, size] = co_await asio::async_write(socket, asio::buffer(what->request),
                                                           asio::as_tuple(asio::use_awaitable));
    if (unsent)
        co_return false;
    const auto status = co_await read_status(&socket);
    co_return what->status ? status == *what->status : status >= 200 && status < 300;
}

}  // namespace

}  // namespace detail

service_probe http_probe(std::string_view url, const http_probe_options& options)
{
    const auto parts = detail::parse_url(url);
    auto what = std::make_shared<detail::http_question>();
    what->where = options.unix_socket.empty() ? detail::places_of(url, parts)
                                              : detail::unix_place(options.unix_socket);
    what->request = detail::request_of(parts, options);
    what->status = options.status;
    return [asked = std::shared_ptr<const detail::http_question>(std::move(what))] {
        return detail::or_false(detail::answers_well(asked));
    };
}

PROCYARD_NAMESPACE_END
