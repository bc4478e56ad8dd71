// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/service_manager.hpp>

#include <unistd.h>

#include <cstdlib>

#include "manager_text.hpp"

PROCYARD_NAMESPACE_BEGIN

service_manager service_manager::from_environment(manager_variables then)
{
    using namespace detail;
    struct remover {
        bool active;
        ~remover()
        {
            for (const char* name :
                 {notify_socket_variable, watchdog_time_variable, watchdog_pid_variable}) {
                if (active)
                    ::unsetenv(name);
            }
        }
    };
    const remover at_the_end{then == manager_variables::remove};
    return parse_manager(std::getenv(notify_socket_variable), std::getenv(watchdog_time_variable),
                         std::getenv(watchdog_pid_variable), ::getpid());
}

PROCYARD_NAMESPACE_END
