// SPDX-License-Identifier: BSL-1.0
// What tests need that have processes of other users.
#ifndef PROCYARD_TESTS_IPC_OTHER_USERS_HPP
#define PROCYARD_TESTS_IPC_OTHER_USERS_HPP

#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <doctest/doctest.h>

#include "skip.hpp"
#include "socket_place.hpp"

namespace procyard_test {

/// In a copy of this process. 0: it is done.
inline int become(uid_t user)
{
    return ::setresgid(user, user, user) == 0 && ::setresuid(user, user, user) == 0 ? 0 : 119;
}

inline constexpr uid_t one_user = 54321;
inline constexpr uid_t another_user = 54322;

/// Else the case says that it is left out.
inline bool is_root()
{
    if (::geteuid() == 0)
        return true;
    skip("not root: processes of other users cannot be made");
    return false;
}

/// A place that every user can reach.
struct open_place : socket_place {
    open_place() { REQUIRE(::chmod(directory.path().c_str(), 0777) == 0); }
};

}  // namespace procyard_test

#endif
