// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/segment_error.hpp>

#include <boost/system/errc.hpp>
#include <boost/system/error_condition.hpp>

#include <string>

PROCYARD_NAMESPACE_BEGIN

namespace {

class segment_error_category final : public boost::system::error_category {
public:
    const char* name() const noexcept override { return "procyard.segment"; }

    std::string message(int value) const override
    {
        switch (static_cast<segment_errc>(value)) {
        case segment_errc::zero_size: return "a segment of zero bytes";
        case segment_errc::too_large: return "segment too large for any file";
        case segment_errc::no_huge_pages: return "not enough free huge pages for the segment";
        case segment_errc::cannot_seal:
            return "the kernel cannot seal a segment against writing (F_SEAL_FUTURE_WRITE, 5.1)";
        case segment_errc::not_sealed:
            return "segment not sealed against truncation, growth, writing and further seals";
        case segment_errc::not_shared_memory: return "descriptor of something else than a segment";
        case segment_errc::wrong_size: return "segment of another size than announced";
        case segment_errc::not_allocated: return "segment with holes in its memory";
        case segment_errc::bad_name: return "not a possible name of a segment";
        case segment_errc::not_a_segment:
            return "the name is that of something else than a segment";
        case segment_errc::foreign_owner: return "the segment belongs to another user";
        }
        return "unknown segment error " + std::to_string(value);
    }

    boost::system::error_condition default_error_condition(int value) const noexcept override
    {
        namespace errc = boost::system::errc;
        switch (static_cast<segment_errc>(value)) {
        case segment_errc::zero_size: return make_error_condition(errc::invalid_argument);
        case segment_errc::too_large: return make_error_condition(errc::file_too_large);
        case segment_errc::no_huge_pages: return make_error_condition(errc::not_enough_memory);
        case segment_errc::cannot_seal: return make_error_condition(errc::not_supported);
        case segment_errc::not_sealed:
        case segment_errc::not_shared_memory:
        case segment_errc::wrong_size:
        case segment_errc::not_allocated:
        case segment_errc::not_a_segment: return make_error_condition(errc::bad_message);
        case segment_errc::bad_name: return make_error_condition(errc::invalid_argument);
        case segment_errc::foreign_owner: return make_error_condition(errc::permission_denied);
        }
        return error_category::default_error_condition(value);
    }
};

}  // namespace

const boost::system::error_category& segment_category() noexcept
{
    static const segment_error_category category;
    return category;
}

PROCYARD_NAMESPACE_END
