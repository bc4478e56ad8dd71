// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/detail/frame_buffer.hpp>

#include <boost/asio/error.hpp>
#include <boost/crc.hpp>

#include <algorithm>
#include <cstring>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

constexpr std::byte magic_0{'P'};
constexpr std::byte magic_1{'y'};
constexpr std::byte has_checksum_flag{1};
constexpr std::size_t length_at = 4;
constexpr std::size_t checksum_at = 8;

void put_little(std::byte* out, std::uint32_t n) noexcept
{
    for (std::size_t i = 0; i < sizeof n; ++i)
        out[i] = static_cast<std::byte>(n >> (8 * i));
}

std::uint32_t get_little(const std::byte* in) noexcept
{
    std::uint32_t n = 0;
    for (std::size_t i = 0; i < sizeof n; ++i)
        n |= std::to_integer<std::uint32_t>(in[i]) << (8 * i);
    return n;
}

// CRC-32C (Castagnoli), as iSCSI and ext4 use it.
std::uint32_t checksum_of(std::span<const std::byte> frame) noexcept
{
    boost::crc_optimal<32, 0x1EDC6F41, 0xFFFFFFFF, 0xFFFFFFFF, true, true> crc;
    crc.process_bytes(frame.data(), checksum_at);
    crc.process_bytes(frame.data() + frame_header_bytes, frame.size() - frame_header_bytes);
    return crc.checksum();
}

}  // namespace

void seal_frame(std::span<std::byte> frame, frame_kind kind, frame_checksum checksum) noexcept
{
    PROCYARD_ASSERT(frame.size() >= frame_header_bytes && "a frame begins with its header");
    PROCYARD_ASSERT(frame.size() - frame_header_bytes <= longest_frame && "32 bits of length");
    const bool checked = checksum == frame_checksum::crc32c;
    frame[0] = magic_0;
    frame[1] = magic_1;
    frame[2] = static_cast<std::byte>(kind);
    frame[3] = checked ? has_checksum_flag : std::byte{0};
    put_little(frame.data() + length_at,
               static_cast<std::uint32_t>(frame.size() - frame_header_bytes));
    put_little(frame.data() + checksum_at, checked ? checksum_of(frame) : 0);
}

frame_buffer::frame_buffer(const framed_options& options) : options_(options)
{
    PROCYARD_ASSERT(options.read_bytes > 0 && "nothing can be read into no bytes");
}

// Moves what is not taken to the front. With room for twice as much, as many bytes must arrive
// before the next move as this one moves; so each byte pays for a bounded number of moves.
asio::mutable_buffer frame_buffer::prepare()
{
    if (begin_ == end_)
        begin_ = end_ = 0;
    if (capacity_ - end_ < options_.read_bytes) {
        const std::size_t size = end_ - begin_;
        const std::size_t wanted = 2 * size + options_.read_bytes;
        if (capacity_ < wanted) {
            auto data = std::make_unique_for_overwrite<std::byte[]>(wanted);
            if (size != 0)
                std::memcpy(data.get(), data_.get() + begin_, size);
            data_ = std::move(data);
            capacity_ = wanted;
        } else if (size != 0)
            std::memmove(data_.get(), data_.get() + begin_, size);
        begin_ = 0;
        end_ = size;
    }
    return {data_.get() + end_, options_.read_bytes};
}

// A hello is let through whatever the limit on messages: it has one of its own.
error_code frame_buffer::check_header(header& found) noexcept
{
    const auto* const at = data_.get() + begin_;
    const auto kind = std::to_integer<std::uint8_t>(at[2]);
    const bool known = kind == static_cast<std::uint8_t>(frame_kind::hello)
        || kind == static_cast<std::uint8_t>(frame_kind::message);
    const bool flags_known = (at[3] & ~has_checksum_flag) == std::byte{0};
    found = {static_cast<frame_kind>(kind), at[3] == has_checksum_flag, get_little(at + length_at),
             get_little(at + checksum_at)};
    if (at[0] != magic_0 || at[1] != magic_1 || !known || !flags_known)
        return framed_errc::bad_frame;
    if (!found.has_checksum && (found.checksum != 0 || options_.checksum == frame_checksum::crc32c))
        return framed_errc::bad_frame;
    const auto limit =
        found.kind == frame_kind::hello ? frame_hello_limit : options_.max_message_bytes;
    return found.length > limit ? make_error_code(framed_errc::too_long) : error_code();
}

// What next() would say.
error_code frame_buffer::look(header& found) noexcept
{
    if (failure_)
        return failure_;
    const auto size = buffered();
    // Not only when it is whole: what is no frame may never become as long.
    if (size >= frame_header_bytes)
        failure_ = check_header(found);
    else if (size >= 1 && (data_[begin_] != magic_0 || (size >= 2 && data_[begin_ + 1] != magic_1)))
        failure_ = framed_errc::bad_frame;
    if (failure_)
        return failure_;
    if (size >= frame_header_bytes && size - frame_header_bytes >= found.length)
        return {};
    if (!finished_)
        return asio::error::would_block;
    if (size == 0)
        return asio::error::eof;
    failure_ = framed_errc::truncated;
    return failure_;
}

bool frame_buffer::ready() noexcept
{
    header unused{};
    return look(unused) != asio::error::would_block;
}

std::optional<frame_view> frame_buffer::next(error_code& ec) noexcept
{
    header found{};
    ec = look(found);
    if (ec)
        return std::nullopt;
    const std::span<const std::byte> frame(data_.get() + begin_, frame_header_bytes + found.length);
    if (found.has_checksum && checksum_of(frame) != found.checksum) {
        failure_ = framed_errc::bad_checksum;
        ec = failure_;
        return std::nullopt;
    }
    begin_ += frame.size();
    return frame_view{found.kind, frame.subspan(frame_header_bytes)};
}

}  // namespace detail

PROCYARD_NAMESPACE_END
