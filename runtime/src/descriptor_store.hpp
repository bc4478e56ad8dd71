// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_DESCRIPTOR_STORE_HPP
#define PROCYARD_RUNTIME_SRC_DESCRIPTOR_STORE_HPP

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/unique_fd.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// What a service has left for its next incarnation, as FDSTORE=1 of sd_notify(3) has it: as many as
// it may, and not one more; each open file once; and none that has hung up.
//
// Hang-ups are told by an epoll instance of its own. Asio's would make what the service has
// non-blocking, since both have the same open file.
class descriptor_store : public std::enable_shared_from_this<descriptor_store> {
public:
    struct entry {
        std::string name;
        // Shared with those that are being spawned with it, on another thread: its number must not
        // be another file's before they have it.
        std::shared_ptr<const unique_fd> descriptor;
    };

    descriptor_store(const asio::any_io_executor& ex, std::size_t most) : most_(most), hang_ups_(ex)
    {
    }

    [[nodiscard]] const std::vector<entry>& all() const noexcept { return kept_; }

    // What there is no room for is closed, and so is what is there already, under whatever name.
    // `until_hang_up` is not for what cannot be polled (a file, say), and not without memory or
    // descriptors: then it is kept.
    void keep(std::string_view name, std::vector<unique_fd>&& descriptors, bool until_hang_up);
    void remove(std::string_view name);
    void clear() noexcept;

private:
    [[nodiscard]] bool has(int descriptor) const noexcept;
    void watch(int descriptor);
    void unwatch(int descriptor) noexcept;
    void wait();
    void drop_hung_up();

    std::size_t most_;
    std::vector<entry> kept_{};
    asio::posix::stream_descriptor hang_ups_;  // closed: nothing was to be watched
    bool waits_ = false;                       // for them; else, for want of memory, nobody does
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
