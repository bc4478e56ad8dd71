// SPDX-License-Identifier: BSL-1.0
// Bytes in the place of a message. The input: a byte that says of which type, then the bytes.
#include "fuzz_input.hpp"

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <variant>

#include <procyard/ipc/codec.hpp>

#include "message_samples.hpp"

using procyard_fuzz::demand;
using procyard_fuzz::input;

namespace {

// What was accepted is a value: it can be sent, and comes back the same.
template <class T>
void try_as(std::span<const std::byte> bytes)
{
    const auto copy = procyard_fuzz::copy_of(bytes);
    T value{};
    if (!procyard::decode_message(std::span<const std::byte>(copy), value))
        return;
    const auto length = procyard::encoded_size(value);
    demand(length <= copy.size(), "a value is not longer than its message");
    std::vector<std::byte> again(length);
    demand(procyard::encode_message(value, again), "what was received can be sent");
    T other{};
    demand(procyard::decode_message(std::span<const std::byte>(again), other), "and received");
    std::vector<std::byte> third(procyard::encoded_size(other));
    demand(procyard::encode_message(other, third) && third == again, "and is the same");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    input in(data, size);
    const auto type = in.take<std::uint8_t>();
    const auto bytes = in.take_rest();
    switch (type % 8) {
    case 0: try_as<procyard_test::report>(bytes); break;
    case 1: try_as<procyard_test::tick>(bytes); break;
    case 2: try_as<std::string>(bytes); break;
    case 3: try_as<std::vector<std::variant<int, std::string>>>(bytes); break;
    case 4: try_as<std::vector<std::optional<procyard_test::padded>>>(bytes); break;
    case 5: try_as<std::vector<std::vector<std::string>>>(bytes); break;
    case 6: try_as<std::string_view>(bytes); break;
    default:
        try_as<std::tuple<bool, std::optional<bool>, std::vector<std::optional<bool>>>>(bytes);
        break;
    }
    return 0;
}
