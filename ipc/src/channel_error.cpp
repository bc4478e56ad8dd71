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
        case channel_errc::bad_hello: return "the peer has sent no handshake of a channel";
        case channel_errc::closed: return "the peer has closed the channel";
        case channel_errc::peer_died: return "the peer has died";
        case channel_errc::peer_broke_rules: return "the peer has broken the rules of the ring";
        case channel_errc::bad_message: return "what the peer has sent is no value of this type";
        case channel_errc::too_long: return "the message is too long for the channel's capacity";
        case channel_errc::lent: return "a batch or a loan of this end of the channel is in use";
        case channel_errc::not_passed: return "the parent has passed no channel of this name";
        case channel_errc::already_taken: return "this end has been opened or closed before";
        case channel_errc::refused:
            return "the peer is not allowed to connect, or to be connected to";
        case channel_errc::other_direction: return "the peer's end is not the opposite of this one";
        case channel_errc::over_limit:
            return "the peer's memory or capacity is larger than allowed";
        case channel_errc::too_slow: return "the listener has not heard enough before its deadline";
        case channel_errc::unavailable: return "the listener can take no more channels at present";
        case channel_errc::lapped:
            return "messages were lost, since they were not received in time";
        case channel_errc::too_many_subscribers:
            return "the broadcast has as many subscribers as there can be";
        case channel_errc::bad_option: return "no channel can have this option";
        case channel_errc::not_ended: return "the peer is still there, or has left messages";
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
        case channel_errc::bad_hello:
        case channel_errc::bad_message: return make_error_condition(errc::bad_message);
        case channel_errc::closed: return make_error_condition(errc::broken_pipe);
        case channel_errc::peer_died: return make_error_condition(errc::owner_dead);
        case channel_errc::peer_broke_rules: return make_error_condition(errc::protocol_error);
        case channel_errc::too_long: return make_error_condition(errc::message_size);
        case channel_errc::lent: return make_error_condition(errc::device_or_resource_busy);
        case channel_errc::not_passed: return make_error_condition(errc::no_such_file_or_directory);
        case channel_errc::already_taken: return make_error_condition(errc::bad_file_descriptor);
        case channel_errc::refused: return make_error_condition(errc::permission_denied);
        case channel_errc::other_direction: return make_error_condition(errc::wrong_protocol_type);
        case channel_errc::over_limit: return make_error_condition(errc::value_too_large);
        case channel_errc::too_slow: return make_error_condition(errc::timed_out);
        case channel_errc::unavailable:
            return make_error_condition(errc::resource_unavailable_try_again);
        case channel_errc::lapped: return make_error_condition(errc::no_buffer_space);
        case channel_errc::too_many_subscribers: return make_error_condition(errc::too_many_links);
        case channel_errc::bad_option: return make_error_condition(errc::invalid_argument);
        case channel_errc::not_ended: return make_error_condition(errc::operation_in_progress);
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
