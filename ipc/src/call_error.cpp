// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/call_error.hpp>

#include <boost/system/errc.hpp>
#include <boost/system/error_condition.hpp>

#include <string>

PROCYARD_NAMESPACE_BEGIN

namespace {

class call_error_category final : public boost::system::error_category {
public:
    const char* name() const noexcept override { return "procyard.call"; }

    std::string message(int value) const override
    {
        switch (static_cast<call_errc>(value)) {
        case call_errc::abandoned: return "call was dropped without an answer";
        case call_errc::peer_broke_rules: return "peer does not keep to the rules of calls";
        case call_errc::already_answered: return "call has been answered before";
        }
        return "unknown call error " + std::to_string(value);
    }

    boost::system::error_condition default_error_condition(int value) const noexcept override
    {
        namespace errc = boost::system::errc;
        switch (static_cast<call_errc>(value)) {
        case call_errc::abandoned: return make_error_condition(errc::connection_aborted);
        case call_errc::peer_broke_rules: return make_error_condition(errc::protocol_error);
        case call_errc::already_answered: return make_error_condition(errc::invalid_argument);
        }
        return error_category::default_error_condition(value);
    }
};

// The numbers are the users': all that can be said of one is itself.
class remote_error_category final : public boost::system::error_category {
public:
    const char* name() const noexcept override { return "procyard.remote"; }

    std::string message(int value) const override
    {
        return "call failed at the peer, code " + std::to_string(value);
    }
};

}  // namespace

const boost::system::error_category& call_category() noexcept
{
    static const call_error_category category;
    return category;
}

const boost::system::error_category& remote_category() noexcept
{
    static const remote_error_category category;
    return category;
}

PROCYARD_NAMESPACE_END
