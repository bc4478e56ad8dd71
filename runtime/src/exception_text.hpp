// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_EXCEPTION_TEXT_HPP
#define PROCYARD_RUNTIME_SRC_EXCEPTION_TEXT_HPP

#include <exception>
#include <string>

#include <procyard/ipc/config.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// What it says. Not of a null pointer.
inline std::string exception_text(const std::exception_ptr& exception)
{
    try {
        std::rethrow_exception(exception);
    } catch (const std::exception& e) {
        return e.what();
    } catch (...) {
        return "an exception of an unknown type";
    }
}

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
