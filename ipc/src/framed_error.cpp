// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/framed_error.hpp>

#include <boost/system/errc.hpp>
#include <boost/system/error_condition.hpp>

#include <string>

PROCYARD_NAMESPACE_BEGIN

namespace {

class framed_error_category final : public boost::system::error_category {
public:
    const char* name() const noexcept override { return "procyard.framed"; }

    std::string message(int value) const override
    {
        switch (static_cast<framed_errc>(value)) {
        case framed_errc::too_long: return "message too long";
        case framed_errc::bad_frame: return "not a frame";
        case framed_errc::bad_checksum: return "checksum of a frame is wrong";
        case framed_errc::truncated: return "stream ended within a frame";
        case framed_errc::malformed: return "frame is no message of the type";
        case framed_errc::unexpected: return "handshake and messages are out of order";
        case framed_errc::other_version: return "peer speaks another version of the protocol";
        case framed_errc::other_type: return "peer's messages are of another type";
        case framed_errc::not_encodable: return "value cannot be sent";
        case framed_errc::half_sent: return "cancelled when a part had been sent";
        }
        return "unknown framed error " + std::to_string(value);
    }

    boost::system::error_condition default_error_condition(int value) const noexcept override
    {
        namespace errc = boost::system::errc;
        switch (static_cast<framed_errc>(value)) {
        case framed_errc::too_long: return make_error_condition(errc::message_size);
        case framed_errc::bad_frame:
        case framed_errc::bad_checksum:
        case framed_errc::truncated:
        case framed_errc::malformed: return make_error_condition(errc::bad_message);
        case framed_errc::unexpected: return make_error_condition(errc::protocol_error);
        case framed_errc::other_version: return make_error_condition(errc::protocol_not_supported);
        case framed_errc::other_type: return make_error_condition(errc::wrong_protocol_type);
        case framed_errc::not_encodable: return make_error_condition(errc::invalid_argument);
        case framed_errc::half_sent: return make_error_condition(errc::operation_canceled);
        }
        return error_category::default_error_condition(value);
    }
};

}  // namespace

const boost::system::error_category& framed_category() noexcept
{
    static const framed_error_category category;
    return category;
}

PROCYARD_NAMESPACE_END
