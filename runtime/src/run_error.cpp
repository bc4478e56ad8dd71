// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/run_error.hpp>

#include <string>

PROCYARD_NAMESPACE_BEGIN

namespace {

// A value is the condition in the low byte and the exit code or signal number above it.
constexpr int detail_shift = 8;
constexpr int condition_mask = (1 << detail_shift) - 1;

class category final : public boost::system::error_category {
public:
    const char* name() const noexcept override { return "procyard.run"; }

    boost::system::error_condition default_error_condition(int value) const noexcept override
    {
        return {value & condition_mask, *this};
    }

    std::string message(int value) const override
    {
        const int number = value >> detail_shift;
        switch (static_cast<run_errc>(value & condition_mask)) {
        case run_errc::exit_nonzero:
            return number == 0 ? "exit code other than 0" : exit_status::exited(number).to_string();
        case run_errc::killed_by_signal:
            return number == 0 ? "killed by a signal" : exit_status::signaled(number).to_string();
        case run_errc::unknown_status: return exit_status::unknown().to_string();
        case run_errc::deadline: return "deadline over";
        case run_errc::idle: return "no output for too long";
        case run_errc::output_limit: return "output limit exceeded";
        case run_errc::held_by_descendant: return "output held open by a descendant";
        case run_errc::sink_failed: return "a consumer of the output failed";
        case run_errc::input_failed: return "the source of the input failed";
        case run_errc::line_too_long: return "line too long";
        case run_errc::threw: return "left with an exception";
        }
        return "unknown run error";
    }
};

}  // namespace

const boost::system::error_category& run_category() noexcept
{
    static const category instance;
    return instance;
}

boost::system::error_condition make_error_condition(run_errc condition) noexcept
{
    return {static_cast<int>(condition), run_category()};
}

error_code make_run_error(run_errc condition) noexcept
{
    return {static_cast<int>(condition), run_category()};
}

error_code make_run_error(const exit_status& status) noexcept
{
    const auto with = [](run_errc condition, int number) {
        return error_code(static_cast<int>(condition) | number << detail_shift, run_category());
    };
    if (status.success())
        return {};
    if (const auto code = status.code())
        return with(run_errc::exit_nonzero, *code);
    if (const auto signal = status.signal())
        return with(run_errc::killed_by_signal, *signal);
    return with(run_errc::unknown_status, 0);
}

PROCYARD_NAMESPACE_END
