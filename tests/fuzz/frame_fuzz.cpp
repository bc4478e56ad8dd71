// SPDX-License-Identifier: BSL-1.0
// A stream in the place of frames. The input: a byte of options, one that says in which pieces it
// comes, then the stream.
#include "fuzz_input.hpp"

#include <boost/asio/error.hpp>

#include <string>

#include <procyard/ipc/codec.hpp>
#include <procyard/ipc/detail/call_messages.hpp>
#include <procyard/ipc/detail/frame_buffer.hpp>
#include <procyard/ipc/type_description.hpp>

#include "message_samples.hpp"

namespace asio = boost::asio;
using procyard::error_code;
using procyard::detail::frame_buffer;
using procyard::detail::frame_hello;
using procyard::detail::frame_kind;
using procyard_fuzz::demand;
using procyard_fuzz::input;

namespace {

constexpr std::size_t limit = 512;

void look_at(const procyard::detail::frame_view& frame)
{
    if (frame.kind == frame_kind::message) {
        demand(frame.payload.size() <= limit, "a payload within the limit");
        procyard_test::report report;
        (void)procyard::decode_message(frame.payload, report);
        procyard::detail::question<std::string> asked;  // what calls make of it
        (void)procyard::decode_message(frame.payload, asked);
        procyard::detail::answer<procyard_test::report> answered;
        (void)procyard::decode_message(frame.payload, answered);
        return;
    }
    error_code ec;
    const auto theirs = frame_hello::parse(frame.payload, ec);
    if (ec)
        return;
    frame_hello ours;
    ours.sends = procyard::describe<procyard_test::report>();
    ours.receives = procyard::describe<procyard_test::tick>();
    (void)procyard::detail::compare_hellos(ours, theirs);
    (void)procyard::detail::compare_hellos(theirs, ours);
}

// False: what comes cannot be understood any more.
bool take_all(frame_buffer& buffer)
{
    for (;;) {
        error_code ec;
        const bool ready = buffer.ready();
        const auto frame = buffer.next(ec);
        demand(ready == (ec != asio::error::would_block), "ready() says what next() does");
        if (!frame)
            return ec == asio::error::would_block;
        look_at(*frame);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    input in(data, size);
    const auto options = in.take<std::uint8_t>();
    const std::size_t piece = in.take<std::uint8_t>() + std::size_t{1};
    procyard::framed_options how;
    how.max_message_bytes = limit;
    how.read_bytes = std::size_t{16} << options % 6;
    if ((options & 0x80U) != 0)
        how.checksum = procyard::frame_checksum::crc32c;
    frame_buffer buffer(how);
    while (!in.empty()) {
        const auto room = buffer.prepare();
        demand(room.size() > 0, "there is room to read into");
        const auto bytes = in.take_bytes(std::min(piece, room.size()));
        std::memcpy(room.data(), bytes.data(), bytes.size());
        buffer.commit(bytes.size());
        if (!take_all(buffer))
            return 0;
    }
    buffer.finish();
    demand(!take_all(buffer), "after the end there is nothing to wait for");
    return 0;
}
