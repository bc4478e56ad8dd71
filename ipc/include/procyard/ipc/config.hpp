// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_CONFIG_HPP
#define PROCYARD_IPC_CONFIG_HPP

#include <boost/assert.hpp>
#include <boost/system/error_code.hpp>
#include <boost/version.hpp>

#if BOOST_VERSION < 108100
#error "Procyard needs Boost 1.81 or newer"
#endif

// Compiled functions carry Boost types (any_io_executor, any_completion_handler) in their
// signatures. The Boost version in an inline namespace turns a mismatch between the library's and
// the application's Boost into a link error that names the version.
#define PROCYARD_DETAIL_CAT2(a, b) a##b
#define PROCYARD_DETAIL_CAT(a, b) PROCYARD_DETAIL_CAT2(a, b)
#define PROCYARD_ABI PROCYARD_DETAIL_CAT(boost_, BOOST_VERSION)

/// Opens and closes `procyard::<abi>`; every declaration of the library stands between the two.
#define PROCYARD_NAMESPACE_BEGIN                                                                   \
    namespace procyard {                                                                           \
    inline namespace PROCYARD_ABI {
#define PROCYARD_NAMESPACE_END                                                                     \
    }                                                                                              \
    }

/// A broken contract of the caller, as opposed to a failure of the world (which is an error_code).
#define PROCYARD_ASSERT(condition_and_sentence) BOOST_ASSERT(condition_and_sentence)

/// ThreadSanitizer looks on. GCC says so by a macro, Clang by a feature.
#if defined(__SANITIZE_THREAD__)
#define PROCYARD_DETAIL_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define PROCYARD_DETAIL_TSAN 1
#endif
#endif

namespace boost::asio {
}

PROCYARD_NAMESPACE_BEGIN

namespace asio = boost::asio;
using boost::system::error_code;

PROCYARD_NAMESPACE_END

#endif
