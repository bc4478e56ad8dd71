// SPDX-License-Identifier: BSL-1.0
#include "kernel_features.hpp"

#include <cerrno>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

kernel_features& kernel() noexcept
{
    static constinit kernel_features instance;
    return instance;
}

bool refused(kernel_features::flag& feature, int error_number, int also_means_unknown) noexcept
{
    if (error_number != ENOSYS && (also_means_unknown == 0 || error_number != also_means_unknown))
        return false;
    clear(feature);
    return true;
}

}  // namespace detail

PROCYARD_NAMESPACE_END
