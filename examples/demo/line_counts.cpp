// SPDX-License-Identifier: BSL-1.0
#include "line_counts.hpp"

#include <fmt/format.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/system/system_error.hpp>

#include <iterator>
#include <vector>

namespace demo {

namespace asio = boost::asio;

void line_counts::add(std::string_view piece)
{
    std::size_t end = piece.find('\n');
    if (!begun_.empty() && end != std::string_view::npos) {
        begun_.append(piece.substr(0, end));
        count(begun_);
        begun_.clear();
        piece.remove_prefix(end + 1);
        end = piece.find('\n');
    }
    for (; end != std::string_view::npos; end = piece.find('\n')) {
        count(piece.substr(0, end));
        piece.remove_prefix(end + 1);
    }
    begun_.append(piece);
}

void line_counts::finish()
{
    if (!begun_.empty())
        count(begun_);
    begun_.clear();
}

void line_counts::count(std::string_view line)
{
    const auto known = counts_.find(line);
    if (known != counts_.end())
        ++known->second;
    else
        counts_.emplace(line, 1);
}

asio::awaitable<void> count_lines(procyard::pipe_reader in, procyard::pipe_writer out)
{
    constexpr auto as_tuple = asio::as_tuple(asio::use_awaitable);
    line_counts counts;
    std::vector<char> buffer(std::size_t{256} << 10);
    for (;;) {
        auto [ec, n] = co_await in.async_read_some(asio::buffer(buffer), as_tuple);
        if (ec == asio::error::eof)
            break;
        if (ec)
            throw boost::system::system_error(ec, "count");
        counts.add({buffer.data(), n});
    }
    counts.finish();

    fmt::memory_buffer text;
    auto next = counts.begin();
    while (next != counts.end()) {
        text.clear();
        for (; next != counts.end() && text.size() < buffer.size(); ++next)
            fmt::format_to(std::back_inserter(text), "{:7} {}\n", next->second, next->first);
        co_await asio::async_write(out, asio::buffer(text.data(), text.size()),
                                   asio::use_awaitable);
    }
}

}  // namespace demo
