// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/socket_error.hpp>

#include <boost/system/errc.hpp>
#include <boost/system/error_condition.hpp>

#include <string>

PROCYARD_NAMESPACE_BEGIN

namespace {

class socket_error_category final : public boost::system::error_category {
public:
    const char* name() const noexcept override { return "procyard.socket"; }

    std::string message(int value) const override
    {
        switch (static_cast<socket_errc>(value)) {
        case socket_errc::name_too_long:
            return "name too long for a Unix socket (107 bytes of a path, 106 of an abstract name)";
        case socket_errc::bad_name: return "not a possible name of a Unix socket";
        case socket_errc::not_a_socket: return "the path is that of something else than a socket";
        case socket_errc::no_payload: return "descriptors need at least one byte to go with";
        case socket_errc::too_many_to_send: return "more descriptors than a message can carry";
        case socket_errc::too_many_received: return "more descriptors received than asked for";
        case socket_errc::message_too_large: return "message larger than the buffer";
        }
        return "unknown socket error " + std::to_string(value);
    }

    boost::system::error_condition default_error_condition(int value) const noexcept override
    {
        namespace errc = boost::system::errc;
        switch (static_cast<socket_errc>(value)) {
        case socket_errc::name_too_long: return make_error_condition(errc::filename_too_long);
        case socket_errc::not_a_socket: return make_error_condition(errc::file_exists);
        case socket_errc::bad_name:
        case socket_errc::no_payload:
        case socket_errc::too_many_to_send: return make_error_condition(errc::invalid_argument);
        case socket_errc::too_many_received: return make_error_condition(errc::bad_message);
        case socket_errc::message_too_large: return make_error_condition(errc::message_size);
        }
        return error_category::default_error_condition(value);
    }
};

}  // namespace

const boost::system::error_category& socket_category() noexcept
{
    static const socket_error_category category;
    return category;
}

PROCYARD_NAMESPACE_END
