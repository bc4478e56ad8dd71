// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_PUMP_HPP
#define PROCYARD_IPC_DETAIL_PUMP_HPP

#include <boost/asio/any_completion_handler.hpp>

#include <memory>
#include <utility>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/copy_result.hpp>
#include <procyard/ipc/detail/stream_end.hpp>
#include <procyard/ipc/export.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

using copy_handler = asio::any_completion_handler<void(error_code, copy_result)>;

// async_copy between two streams of ours: by splice where the kernel can, else through a buffer.
PROCYARD_IPC_EXPORT void start_pump(const std::shared_ptr<stream_core>& source,
                                    const std::shared_ptr<stream_core>& sink, copy_options options,
                                    copy_handler handler);

struct initiate_pump {
    template <class Handler>
    void operator()(Handler handler, const std::shared_ptr<stream_core>& source,
                    const std::shared_ptr<stream_core>& sink, copy_options options) const
    {
        start_pump(source, sink, std::move(options), copy_handler(std::move(handler)));
    }
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
