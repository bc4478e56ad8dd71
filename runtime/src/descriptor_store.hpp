// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_DESCRIPTOR_STORE_HPP
#define PROCYARD_RUNTIME_SRC_DESCRIPTOR_STORE_HPP

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/unique_fd.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// What a service has left for its next incarnation: as many as it may, and not one more.
class descriptor_store {
public:
    struct entry {
        std::string name;
        unique_fd descriptor;
    };

    explicit descriptor_store(std::size_t most) : most_(most) { }

    [[nodiscard]] const std::vector<entry>& all() const noexcept { return kept_; }

    // What there is no room for is closed.
    void keep(std::string_view name, std::vector<unique_fd>&& descriptors)
    {
        for (auto& one : descriptors) {
            if (kept_.size() < most_)
                kept_.push_back({std::string(name), std::move(one)});
        }
    }
    void remove(std::string_view name)
    {
        std::erase_if(kept_, [&](const entry& one) { return one.name == name; });
    }
    void clear() noexcept { kept_.clear(); }

private:
    std::size_t most_;
    std::vector<entry> kept_{};
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
