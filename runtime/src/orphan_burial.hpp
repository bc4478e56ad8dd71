// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_ORPHAN_BURIAL_HPP
#define PROCYARD_RUNTIME_SRC_ORPHAN_BURIAL_HPP

#include <sys/types.h>

#include <boost/asio/any_io_executor.hpp>

#include <memory>
#include <set>
#include <utility>

#include <procyard/ipc/config.hpp>
#include <procyard/signals/signal_set.hpp>

#include "proc_fs.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// Reaps what services leave behind while they run: a subreaper's process becomes the parent of each
// orphan, and the tree of a service is looked at when that ends, which may be in months.
//
// A dead child of ours is a service's if its group or its session is the one that the service's
// process leads. That number is the service's own until its process is reaped, and it says nothing
// of children of the host, which are in other groups. Whoever has left for a session of its own is
// not told from those once it is dead, and is left alone: its parent has gone, and the environment,
// where a living one carries the mark, goes with the memory.
//
// A SIGCHLD says when to look, so nothing wakes up while nobody dies. A look by a timer was the
// other way: it takes nobody's signal, but wakes up for nothing, and later than needed.
class orphan_burial : public std::enable_shared_from_this<orphan_burial> {
public:
    explicit orphan_burial(asio::any_io_executor ex) : executor_(std::move(ex)) { }

    // One service, as long as it lives.
    class ticket {
    public:
        ticket() = default;
        ticket(std::shared_ptr<orphan_burial> of, pid_t leader)
            : of_(std::move(of)),
              leader_(leader)
        {
        }
        ticket(ticket&& other) noexcept = default;
        ticket& operator=(ticket&& other) noexcept
        {
            std::swap(of_, other.of_);
            std::swap(leader_, other.leader_);
            return *this;
        }
        ~ticket()
        {
            if (of_)
                of_->forget(leader_);
        }

    private:
        std::shared_ptr<orphan_burial> of_{};
        pid_t leader_ = -1;
    };

    // From now on its dead are reaped, if this process is a subreaper. Not if the host ignores
    // SIGCHLD, since the kernel reaps them then; nor without descriptors or memory: then they wait
    // for the end of the service.
    [[nodiscard]] ticket watch(pid_t leader) noexcept;

private:
    void forget(pid_t leader) noexcept;
    void arm();
    void wait();
    void look();
    [[nodiscard]] bool is_to_be_buried(pid_t pid) const;

    asio::any_io_executor executor_;
    std::set<pid_t> leaders_{};
    std::shared_ptr<signal_set> deaths_{};  // null: nobody is waited for
    genealogy genealogy_{};
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
