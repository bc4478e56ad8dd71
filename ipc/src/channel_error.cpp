// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/channel_error.hpp>

#include <boost/system/errc.hpp>
#include <boost/system/error_condition.hpp>

#include <string>

PROCYARD_NAMESPACE_BEGIN

namespace {

class channel_error_category final : public boost::system::error_category {
public:
    const char* name() const noexcept override { return "procyard.channel"; }

    std::string message(int value) const override
    {
        switch (static_cast<channel_errc>(value)) {
        case channel_errc::bad_shape: return "no ring can have this capacity and size of a message";
        case channel_errc::not_a_channel: return "not the memory of this end of a channel";
        case channel_errc::other_version:
            return "the peer speaks another version of the channel protocol";
        case channel_errc::other_type:
            return "the peer's channel has another type of message or another capacity";
        }
        return "unknown channel error " + std::to_string(value);
    }

    boost::system::error_condition default_error_condition(int value) const noexcept override
    {
        namespace errc = boost::system::errc;
        switch (static_cast<channel_errc>(value)) {
        case channel_errc::bad_shape: return make_error_condition(errc::invalid_argument);
        case channel_errc::not_a_channel: return make_error_condition(errc::bad_message);
        case channel_errc::other_version: return make_error_condition(errc::protocol_not_supported);
        case channel_errc::other_type: return make_error_condition(errc::wrong_protocol_type);
        }
        return error_category::default_error_condition(value);
    }
};

}  // namespace

const boost::system::error_category& channel_category() noexcept
{
    static const channel_error_category category;
    return category;
}

PROCYARD_NAMESPACE_END
