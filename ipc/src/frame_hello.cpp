// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/detail/frame_buffer.hpp>

#include <cstring>
#include <limits>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// Version and limit, then twice a description with its length before it.
namespace {

template <class Number>
void put_little(std::string& out, Number n)
{
    for (std::size_t i = 0; i < sizeof n; ++i)
        out += static_cast<char>(static_cast<unsigned char>(n >> (8 * i)));
}

class reader {
public:
    explicit reader(std::span<const std::byte> in) : in_(in) { }

    template <class Number>
    bool number(Number& n)
    {
        std::span<const std::byte> bytes;
        if (!take(sizeof n, bytes))
            return false;
        n = 0;
        for (std::size_t i = 0; i < sizeof n; ++i)
            n = static_cast<Number>(n | Number{std::to_integer<Number>(bytes[i])} << (8 * i));
        return true;
    }
    bool description(type_description& result)
    {
        std::uint16_t size = 0;
        std::span<const std::byte> bytes;
        return number(size) && take(size, bytes) && type_description::parse(bytes, result);
    }
    [[nodiscard]] bool at_end() const { return in_.empty(); }

private:
    bool take(std::size_t n, std::span<const std::byte>& bytes)
    {
        if (n > in_.size())
            return false;
        bytes = in_.first(n);
        in_ = in_.subspan(n);
        return true;
    }

    std::span<const std::byte> in_;
};

static_assert(type_description::max_bytes <= std::numeric_limits<std::uint16_t>::max());
static_assert(frame_hello_limit >= 10 + 2 * (2 + type_description::max_bytes));

}  // namespace

std::vector<std::byte> frame_hello::to_frame(frame_checksum checksum) const
{
    std::string text(frame_header_bytes, '\0');
    put_little(text, version);
    put_little(text, max_message_bytes);
    for (const auto* each : {&sends, &receives}) {
        const auto bytes = each->to_bytes();
        put_little(text, static_cast<std::uint16_t>(bytes.size()));
        text += bytes;
    }
    std::vector<std::byte> frame(text.size());
    std::memcpy(frame.data(), text.data(), text.size());
    seal_frame(frame, frame_kind::hello, checksum);
    return frame;
}

frame_hello frame_hello::parse(std::span<const std::byte> payload, error_code& ec)
{
    frame_hello got;
    reader in(payload);
    ec = framed_errc::malformed;
    if (!in.number(got.version))
        return got;
    if (got.version != this_version) {
        ec = framed_errc::other_version;
        return got;
    }
    if (in.number(got.max_message_bytes) && in.description(got.sends)
        && in.description(got.receives) && in.at_end())
        ec = {};
    return got;
}

std::string compare_hellos(const frame_hello& ours, const frame_hello& theirs)
{
    const auto sending = explain_difference(ours.sends, theirs.receives);
    const auto receiving = explain_difference(ours.receives, theirs.sends);
    std::string text;
    if (!sending.empty())
        text = "what is sent: " + sending;
    if (!receiving.empty())
        text += (text.empty() ? "" : "; ") + ("what is received: " + receiving);
    return text;
}

}  // namespace detail

PROCYARD_NAMESPACE_END
