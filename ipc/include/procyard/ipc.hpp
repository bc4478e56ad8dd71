// SPDX-License-Identifier: BSL-1.0
/// Everything of procyard::ipc. For applications; the library's own files include what they name.
#ifndef PROCYARD_IPC_HPP
#define PROCYARD_IPC_HPP

#include <procyard/ipc/allowed_peers.hpp>
#include <procyard/ipc/async_copy.hpp>
#include <procyard/ipc/broadcast.hpp>
#include <procyard/ipc/broadcast_options.hpp>
#include <procyard/ipc/call.hpp>
#include <procyard/ipc/call_error.hpp>
#include <procyard/ipc/call_options.hpp>
#include <procyard/ipc/caller.hpp>
#include <procyard/ipc/channel.hpp>
#include <procyard/ipc/channel_address.hpp>
#include <procyard/ipc/channel_connect.hpp>
#include <procyard/ipc/channel_connect_options.hpp>
#include <procyard/ipc/channel_error.hpp>
#include <procyard/ipc/channel_listen_options.hpp>
#include <procyard/ipc/channel_listener.hpp>
#include <procyard/ipc/channel_name.hpp>
#include <procyard/ipc/channel_statistics.hpp>
#include <procyard/ipc/codec.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/copy_result.hpp>
#include <procyard/ipc/descriptor_passing.hpp>
#include <procyard/ipc/duplex.hpp>
#include <procyard/ipc/fan_in.hpp>
#include <procyard/ipc/fan_in_options.hpp>
#include <procyard/ipc/fifo.hpp>
#include <procyard/ipc/framed.hpp>
#include <procyard/ipc/framed_error.hpp>
#include <procyard/ipc/framed_options.hpp>
#include <procyard/ipc/latest_value.hpp>
#include <procyard/ipc/line_buffer.hpp>
#include <procyard/ipc/line_reader.hpp>
#include <procyard/ipc/message_batch.hpp>
#include <procyard/ipc/message_loan.hpp>
#include <procyard/ipc/named_segment.hpp>
#include <procyard/ipc/owned_name.hpp>
#include <procyard/ipc/pipe.hpp>
#include <procyard/ipc/plain_message.hpp>
#include <procyard/ipc/responder.hpp>
#include <procyard/ipc/segment.hpp>
#include <procyard/ipc/segment_error.hpp>
#include <procyard/ipc/sigpipe_guard.hpp>
#include <procyard/ipc/socket_error.hpp>
#include <procyard/ipc/stream_error.hpp>
#include <procyard/ipc/syscall.hpp>
#include <procyard/ipc/type_description.hpp>
#include <procyard/ipc/unique_fd.hpp>
#include <procyard/ipc/unix_listener.hpp>
#include <procyard/ipc/unix_peer.hpp>
#include <procyard/ipc/unix_socket.hpp>
#include <procyard/ipc/unopened.hpp>
#include <procyard/ipc/work_options.hpp>

#endif
