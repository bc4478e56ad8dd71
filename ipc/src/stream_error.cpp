// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/stream_error.hpp>

#include <boost/system/errc.hpp>
#include <boost/system/error_condition.hpp>

#include <string>

PROCYARD_NAMESPACE_BEGIN

namespace {

class stream_error_category final : public boost::system::error_category {
public:
    const char* name() const noexcept override { return "procyard.stream"; }

    std::string message(int value) const override
    {
        switch (static_cast<stream_errc>(value)) {
        case stream_errc::line_too_long: return "line too long";
        case stream_errc::not_a_fifo: return "the path is that of something else than a FIFO";
        }
        return "unknown stream error " + std::to_string(value);
    }

    boost::system::error_condition default_error_condition(int value) const noexcept override
    {
        switch (static_cast<stream_errc>(value)) {
        case stream_errc::line_too_long:
            return make_error_condition(boost::system::errc::message_size);
        case stream_errc::not_a_fifo:
            return make_error_condition(boost::system::errc::invalid_argument);
        }
        return error_category::default_error_condition(value);
    }
};

}  // namespace

const boost::system::error_category& stream_category() noexcept
{
    static const stream_error_category category;
    return category;
}

PROCYARD_NAMESPACE_END
