// SPDX-License-Identifier: BSL-1.0
#include <procyard/signals/signal_error.hpp>

#include <boost/system/errc.hpp>
#include <boost/system/error_condition.hpp>

#include <string>

PROCYARD_NAMESPACE_BEGIN

namespace {

class signal_error_category final : public boost::system::error_category {
public:
    const char* name() const noexcept override { return "procyard.signals"; }

    std::string message(int value) const override
    {
        switch (static_cast<signal_errc>(value)) {
        case signal_errc::not_waitable: return "not a signal that can be waited for";
        case signal_errc::not_blocked: return "a thread of this process does not block the signal";
        case signal_errc::blocked:
            return "every thread blocks the signal, so that no handler would run";
        case signal_errc::no_signals: return "the set has no signals";
        case signal_errc::not_deadly: return "the signal's default action does not end a process";
        case signal_errc::taken_over: return "others have put their handlers above ours too often";
        }
        return "unknown signal error " + std::to_string(value);
    }

    boost::system::error_condition default_error_condition(int value) const noexcept override
    {
        namespace errc = boost::system::errc;
        switch (static_cast<signal_errc>(value)) {
        case signal_errc::not_waitable:
        case signal_errc::no_signals:
        case signal_errc::not_deadly: return make_error_condition(errc::invalid_argument);
        case signal_errc::not_blocked:
        case signal_errc::blocked: return make_error_condition(errc::operation_not_permitted);
        case signal_errc::taken_over: return make_error_condition(errc::device_or_resource_busy);
        }
        return error_category::default_error_condition(value);
    }
};

}  // namespace

const boost::system::error_category& signal_category() noexcept
{
    static const signal_error_category category;
    return category;
}

PROCYARD_NAMESPACE_END
