// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_HTTP_ANSWER_HPP
#define PROCYARD_RUNTIME_SRC_HTTP_ANSWER_HPP

#include <memory>
#include <string_view>

#include <procyard/ipc/config.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// What a server of HTTP/1 says to a request, as its bytes come. It may say what it likes: the
// memory for it is bounded.
//
// Parsed by Boost.Beast, which only the .cpp has to know: it takes longer to compile than the rest
// of a probe. Not its operations, but its parser alone: what it does to a socket is Asio's.
class http_answer {
public:
    http_answer();
    http_answer(const http_answer&) = delete;
    http_answer& operator=(const http_answer&) = delete;
    ~http_answer();

    // Before is_over().
    void take(std::string_view bytes);
    // Nothing more comes.
    void end();

    // It has come whole, or as much of it as is looked at; or it is none.
    [[nodiscard]] bool is_over() const noexcept { return is_over_; }
    // The status, when it is over; 0: it is none, or broke off.
    [[nodiscard]] unsigned status() const noexcept { return status_; }

private:
    struct parser;

    void begin();
    void parse();
    void finish(unsigned status) noexcept;

    std::unique_ptr<parser> parser_{};
    bool is_over_ = false;
    unsigned status_ = 0;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
