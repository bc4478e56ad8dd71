// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_CHANNEL_ADDRESS_HPP
#define PROCYARD_IPC_CHANNEL_ADDRESS_HPP

#include <concepts>
#include <string>
#include <string_view>
#include <utility>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/export.hpp>

PROCYARD_NAMESPACE_BEGIN

/// Where a channel_listener is found: at a path, which is what a string means, or by a name of
/// Linux's abstract namespace. About either see unix_listener and unix_abstract_endpoint().
///
/// An abstract name can be taken by anybody, and reached by anybody: whom one is talking to is then
/// only a matter of allowed_peers.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
/// @par Example         `channel_address::abstract_name("ticks")`
class PROCYARD_IPC_EXPORT channel_address {
public:
    /// A path. Whether it is a possible one is seen by who uses the address.
    template <std::convertible_to<std::string_view> Text>
        requires(!std::same_as<Text, channel_address>)
    channel_address(const Text& path)  // NOLINT(google-explicit-constructor): a string is a path
        : name_(std::string_view(path))
    {
    }
    [[nodiscard]] static channel_address abstract_name(std::string_view name)
    {
        channel_address made(name);
        made.is_abstract_ = true;
        return made;
    }

    [[nodiscard]] bool is_abstract() const noexcept { return is_abstract_; }
    [[nodiscard]] const std::string& name() const noexcept { return name_; }

private:
    std::string name_;
    bool is_abstract_ = false;
};

PROCYARD_NAMESPACE_END

#endif
