// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_APPLICANT_HPP
#define PROCYARD_IPC_DETAIL_APPLICANT_HPP

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <utility>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/end_plan.hpp>
#include <procyard/ipc/export.hpp>
#include <procyard/ipc/unique_fd.hpp>
#include <procyard/ipc/unix_peer.hpp>

// A client who has asked for something that fits, and waits for what the program says.

PROCYARD_NAMESPACE_BEGIN

namespace detail {

class PROCYARD_IPC_EXPORT applicant {
public:
    applicant() noexcept = default;
    applicant(unique_fd connection, std::uint64_t ticket, std::uint64_t max_segment_bytes) noexcept;
    applicant(applicant&&) noexcept = default;
    applicant& operator=(applicant&& other) noexcept;
    // Who has not been answered is told that there is nothing at present.
    ~applicant();

    [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(connection_); }
    [[nodiscard]] std::uint64_t ticket() const noexcept { return ticket_; }

    // As end_request's.
    void give(end_offer offer, error_code& ec) noexcept;
    void refuse() noexcept;

private:
    void send_away() noexcept;
    void send(const end_offer& offer, error_code& ec);

    unique_fd connection_;
    std::uint64_t ticket_ = 0;
    std::uint64_t max_segment_bytes_ = 0;
    pid_t owner_ = 0;  // a copy of this process, made by fork(), says nothing
};

// What an accept gets: open rings, or somebody who waits.
struct accepted_client {
    end_cores cores;
    unix_peer peer;
    applicant request;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
