// SPDX-License-Identifier: BSL-1.0
// Types that are no messages. Compiled by tests, which look for the sentence in the errors, with
// REFUSED as the name of one of the types below.
#include <procyard/ipc/codec.hpp>

#include <span>
#include <string>
#include <vector>

namespace {

struct holds_pointer {
    int n;
    const char* text;
};
struct holds_reference {
    int& n;
};
struct nested {
    std::string name;
    holds_pointer inner[2];
};
struct holds_string {
    std::string text;
};
struct has_virtual {
    int n;
    virtual int f() { return n; }
};
class needs_argument {
public:
    explicit needs_argument(int n) : n_(n) { }
    int n() const { return n_; }

private:
    int n_;
};
class has_private {
public:
    explicit has_private(int n) : n_(n) { }
    int n() const { return n_; }

private:
    int n_;
};
struct has_base : holds_string {
    int n;
};
enum loose { one };
struct holds_loose {
    loose value;
};
struct holds_union {
    int which;
    union {
        float f;
        int i;
    } value;
};
struct holds_const {
    const int n;
};

}  // namespace

template <>
inline constexpr bool procyard::is_plain_message<needs_argument> = true;

namespace {

template <class T>
struct as_message {
    static consteval bool ask() { return procyard::detail::require_message<T>(); }
};
template <class T>
struct as_plain {
    static consteval bool ask() { return procyard::detail::require_plain<T>(); }
};

using pointer = as_message<holds_pointer>;
using reference = as_message<holds_reference>;
using nested_pointer = as_message<nested>;
using vector_of_pointers = as_message<std::vector<int*>>;
using string_in_plain = as_plain<holds_string>;
using virtual_function = as_message<has_virtual>;
using virtual_in_plain = as_plain<has_virtual>;
using private_members = as_message<has_private>;
using base = as_message<has_base>;
using loose_enum = as_message<holds_loose>;
using union_member = as_message<holds_union>;
using const_field = as_message<holds_const>;
using no_default = as_message<needs_argument>;
using mutable_span = as_message<std::span<std::byte>>;

}  // namespace

static_assert(REFUSED::ask());
