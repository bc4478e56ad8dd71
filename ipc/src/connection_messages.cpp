// SPDX-License-Identifier: BSL-1.0
#include "connection_messages.hpp"

#include <boost/system/errc.hpp>

#include <algorithm>
#include <cstring>
#include <utility>

#include <procyard/ipc/detail/ring_memory.hpp>

#include "hello_sort.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

constexpr std::uint64_t request_magic = 0x4b434e4b59435250;  // "PRCYKNCK" in memory
constexpr std::uint64_t answer_magic = 0x57534e4159435250;   // "PRCYANSW" in memory

constexpr std::uint32_t flag_sends = 1;
constexpr std::uint32_t flag_receives = 2;
constexpr std::uint32_t flag_across_users = 4;
constexpr unsigned sort_shift = 8;

// An ABI. Of a request the numbers are the limit and the ticket, of an answer the two capacities.
struct connection_header {
    std::uint64_t magic;
    std::uint32_t version;
    std::uint32_t status;
    std::uint32_t flags;
    std::uint16_t sends_bytes;
    std::uint16_t receives_bytes;
    std::uint64_t numbers[2];
};
static_assert(sizeof(connection_header) == 40);
static_assert(max_connection_bytes == sizeof(connection_header) + 2 * type_description::max_bytes);

// What comes first, whatever the version.
constexpr std::size_t fixed_bytes_count = 16;

std::vector<std::byte> pack(connection_header header, const connection_side& side)
{
    const auto text = [](const std::optional<type_description>& type) {
        return type ? type->to_bytes() : std::string();
    };
    const auto sends = text(side.sends);
    const auto receives = text(side.receives);
    header.flags |= (side.sends ? flag_sends : 0U) | (side.receives ? flag_receives : 0U)
        | static_cast<std::uint32_t>(side.sort) << sort_shift;
    header.sends_bytes = static_cast<std::uint16_t>(sends.size());
    header.receives_bytes = static_cast<std::uint16_t>(receives.size());
    std::vector<std::byte> bytes(sizeof header + sends.size() + receives.size());
    std::memcpy(bytes.data(), &header, sizeof header);
    std::memcpy(bytes.data() + sizeof header, sends.data(), sends.size());
    std::memcpy(bytes.data() + sizeof header + sends.size(), receives.data(), receives.size());
    return bytes;
}

bool take_type(std::span<const std::byte>& in, bool is_there, std::size_t size,
               std::optional<type_description>& type)
{
    if (!is_there)
        return size == 0;
    if (size > in.size() || !type_description::parse(in.first(size), type.emplace()))
        return false;
    in = in.subspan(size);
    return true;
}

connection_header unpack(std::span<const std::byte> bytes, std::uint64_t magic,
                         connection_side& side, error_code& ec)
{
    connection_header header{};
    ec = channel_errc::bad_hello;
    if (bytes.size() < fixed_bytes_count)  // of nothing, not even the address counts
        return header;
    std::memcpy(&header, bytes.data(), std::min(bytes.size(), sizeof header));
    if (header.magic != magic)
        return header;
    if (header.version != connection_version) {  // what comes after may mean anything
        ec = channel_errc::other_version;
        return header;
    }
    if (bytes.size() < sizeof header)
        return header;
    side.sort = static_cast<end_sort>(header.flags >> sort_shift & 0xffU);
    auto rest = bytes.subspan(sizeof header);
    if (take_type(rest, (header.flags & flag_sends) != 0, header.sends_bytes, side.sends)
        && take_type(rest, (header.flags & flag_receives) != 0, header.receives_bytes,
                     side.receives)
        && rest.empty())
        ec = {};
    return header;
}

// What is sent here is received there.
std::string explain_types(const end_plan& ours, const connection_side& theirs)
{
    std::string text;
    const auto compare = [&](const char* what, const std::optional<channel_terms>& here,
                             const std::optional<type_description>& there) {
        if (!here || here->type->fingerprint == there->fingerprint)
            return;
        if (!text.empty())
            text += "; ";
        if (ours.sends && ours.receives)
            text += what;
        text += explain_difference(*here->type, *there);
    };
    compare("what is sent: ", ours.sends, theirs.receives);
    compare("what is received: ", ours.receives, theirs.sends);
    return text;
}

connection_verdict compare(const end_plan& ours, const connection_side& theirs)
{
    if (ours.sort != theirs.sort || ours.sends.has_value() != theirs.receives.has_value()
        || ours.receives.has_value() != theirs.sends.has_value())
        return {connection_status::other_direction,
                explain_sorts(
                    name_of(ours.sort, ours.sends.has_value(), ours.receives.has_value()),
                    name_of(theirs.sort, theirs.sends.has_value(), theirs.receives.has_value()))};
    if (auto difference = explain_types(ours, theirs); !difference.empty())
        return {connection_status::other_type, std::move(difference)};
    return {};
}

std::string too_large(std::uint64_t bytes, std::uint64_t most)
{
    return "the ring takes " + std::to_string(bytes) + " bytes, and the client allows "
        + std::to_string(most);
}

}  // namespace

std::string name_of(end_sort sort, bool sends, bool receives)
{
    switch (sort) {
    case end_sort::channel:
        if (sends && receives)
            return "a duplex";
        return sends ? "a sender" : receives ? "a receiver" : "nothing";
    case end_sort::broadcast: return sends ? "a broadcast" : "a subscriber";
    case end_sort::latest_value: return sends ? "a latest value" : "a latest_reader";
    case end_sort::work_queue: return sends ? "a work queue" : "a work_source";
    }
    return "something that is not known here";
}

error_code to_error(connection_status status) noexcept
{
    switch (status) {
    case connection_status::accepted: return {};
    case connection_status::refused: return channel_errc::refused;
    case connection_status::other_version: return channel_errc::other_version;
    case connection_status::other_type: return channel_errc::other_type;
    case connection_status::other_direction: return channel_errc::other_direction;
    case connection_status::bad_hello: return channel_errc::bad_hello;
    case connection_status::over_limit: return channel_errc::over_limit;
    case connection_status::too_slow: return channel_errc::too_slow;
    case connection_status::unavailable: return channel_errc::unavailable;
    }
    return channel_errc::refused;
}

connection_status status_of(const error_code& ec) noexcept
{
    namespace errc = boost::system::errc;
    if (!ec)
        return connection_status::accepted;
    if (ec == channel_errc::other_version)
        return connection_status::other_version;
    if (ec == channel_errc::other_type)
        return connection_status::other_type;
    if (ec == channel_errc::other_direction)
        return connection_status::other_direction;
    if (ec == channel_errc::over_limit)
        return connection_status::over_limit;
    if (ec == errc::too_many_files_open || ec == errc::too_many_files_open_in_system
        || ec == errc::not_enough_memory || ec == errc::no_space_on_device
        || ec == errc::no_buffer_space)
        return connection_status::unavailable;
    return connection_status::bad_hello;
}

connection_side side_of(const end_plan& plan)
{
    connection_side side;
    if (plan.sends)
        side.sends = *plan.sends->type;
    if (plan.receives)
        side.receives = *plan.receives->type;
    side.sort = plan.sort;
    return side;
}

std::vector<std::byte> to_bytes(const connection_request& request)
{
    connection_header header{};
    header.magic = request_magic;
    header.version = connection_version;
    header.numbers[0] = request.max_segment_bytes;
    header.numbers[1] = request.ticket;
    return pack(header, request.side);
}

std::vector<std::byte> to_bytes(const connection_answer& answer)
{
    connection_header header{};
    header.magic = answer_magic;
    header.version = connection_version;
    header.status = static_cast<std::uint32_t>(answer.status);
    header.flags = answer.across_users ? flag_across_users : 0U;
    header.numbers[0] = answer.sent_units;
    header.numbers[1] = answer.received_units;
    return pack(header, answer.side);
}

connection_request parse_request(std::span<const std::byte> bytes, error_code& ec)
{
    connection_request got;
    const auto header = unpack(bytes, request_magic, got.side, ec);
    got.max_segment_bytes = header.numbers[0];
    got.ticket = header.numbers[1];
    if (!ec && !got.side.sends && !got.side.receives)
        ec = channel_errc::bad_hello;
    return got;
}

connection_answer parse_answer(std::span<const std::byte> bytes, error_code& ec)
{
    connection_answer got;
    const auto header = unpack(bytes, answer_magic, got.side, ec);
    got.status = static_cast<connection_status>(header.status);
    got.sent_units = header.numbers[0];
    got.received_units = header.numbers[1];
    got.across_users = (header.flags & flag_across_users) != 0;
    return got;
}

connection_verdict judge(const end_plan& ours, const connection_request& theirs)
{
    auto verdict = compare(ours, theirs.side);
    if (verdict.status != connection_status::accepted || ours.is_offered)
        return verdict;
    const auto bytes = std::max(segment_bytes(ours.sends), segment_bytes(ours.receives));
    if (bytes > theirs.max_segment_bytes)
        return {connection_status::over_limit, too_large(bytes, theirs.max_segment_bytes)};
    return {};
}

connection_verdict judge(const end_plan& ours, const connection_answer& theirs)
{
    auto verdict = compare(ours, theirs.side);
    if (theirs.status == connection_status::accepted)
        return verdict;
    // The listener has the last word on what it is about; what it has said of its types explains.
    if (theirs.status != verdict.status)
        verdict.explanation.clear();
    verdict.status = theirs.status;
    return verdict;
}

void adopt(const connection_answer& answer, end_plan& plan, error_code& ec)
{
    ec.clear();
    const auto put = [&](std::optional<channel_terms>& terms, std::uint64_t units) {
        if (!terms || ec)
            return;
        terms->shape.unit_count = units;
        const auto bytes = segment_bytes(terms);
        if (bytes == 0)
            ec = channel_errc::bad_hello;
        else if (bytes > terms->max_peer_bytes)
            ec = channel_errc::over_limit;
        // In the options as well: by them another peer is made, when the end is resumed.
        const bool is_cells = terms->shape.unit_bytes != 1;
        terms->options.capacity_messages = is_cells ? static_cast<std::size_t>(units) : 0;
        terms->options.capacity_bytes = is_cells ? 0 : static_cast<std::size_t>(units);
        if (answer.across_users)
            put_across_users(*terms);
    };
    put(plan.sends, answer.received_units);
    put(plan.receives, answer.sent_units);
}

std::uint64_t segment_bytes(const std::optional<channel_terms>& terms) noexcept
{
    error_code ec;
    const auto bytes = terms ? ring_memory::size_bytes(ring_role::producer, terms->shape, ec) : 0;
    return ec ? 0 : bytes;
}

void put_across_users(channel_terms& terms) noexcept
{
    terms.bell = doorbell_kind::socket;
    terms.options.across_users = true;
}

}  // namespace detail

PROCYARD_NAMESPACE_END
