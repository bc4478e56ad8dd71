// SPDX-License-Identifier: BSL-1.0
// A record of a pool or its worker. The input: a byte that says of which, then the record.
#include "fuzz_input.hpp"

#include <string>

#include <procyard/ipc/type_description.hpp>

#include "pool_wire.hpp"

using namespace procyard::detail;
using procyard_fuzz::copy_of;
using procyard_fuzz::demand;
using procyard_fuzz::input;

namespace {

void believe_hello(std::span<const std::byte> payload)
{
    hello_message hello;
    if (!procyard::decode_message(payload, hello))
        return;
    demand(to_printable(hello.text).find('\n') == std::string::npos, "what is told is one line");
    procyard::type_description type;
    if (procyard::type_description::parse(std::as_bytes(std::span(hello.request)), type))
        demand(type.to_bytes() == hello.request, "a description comes back the same");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    input in(data, size);
    const auto from = in.take<std::uint8_t>() % 2 == 0 ? pool_side::pool : pool_side::worker;
    const auto bytes = copy_of(in.take_rest());
    parsed_record parsed;
    if (!parse_record(bytes, from, parsed))
        return 0;
    demand(pool_header_bytes + parsed.trace.size() + parsed.payload.size() == bytes.size(),
           "a record is its header, its trace and its payload");
    demand((parsed.header.task == 0) == (parsed.header.attempt == 0),
           "who names a task names an attempt");
    procyard::trace_context trace;
    if (parse_trace(parsed.trace, trace) && !parsed.trace.empty())
        demand(trace_size(trace) == parsed.trace.size() || trace.empty(),
               "a trace context comes back as long");
    setup_message setup;
    if (parsed.kind() == pool_record::setup)
        (void)procyard::decode_message(parsed.payload, setup);
    if (parsed.kind() == pool_record::hello)
        believe_hello(parsed.payload);
    return 0;
}
