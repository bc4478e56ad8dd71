// SPDX-License-Identifier: BSL-1.0
//
// The worker of `demo index`: reads some files, and counts what is in them.
#include "index_part.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>
#include <system_error>

#include <procyard/ipc/unique_fd.hpp>

#include "index_words.hpp"

namespace demo {

namespace {

// Returns an errno, as cat finds it: what was read before counts.
int read_file(const std::string& name, std::vector<char>& buffer, part_reader& reader,
              std::uint64_t& bytes)
{
    const procyard::unique_fd file(::open(name.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file)
        return errno;
    for (;;) {
        const auto n = ::read(file.get(), buffer.data(), buffer.size());
        if (n == 0)
            return 0;
        if (n > 0) {
            reader.add({buffer.data(), static_cast<std::size_t>(n)});
            bytes += static_cast<std::uint64_t>(n);
        } else if (errno != EINTR) {
            return errno;
        }
    }
}

index_response count_part(const index_request& request)
{
    part_reader reader;
    std::vector<char> buffer(std::size_t{256} << 10);
    index_response response{};
    for (const auto& name : request.files)
        if (const int error = read_file(name, buffer, reader, response.bytes); error != 0)
            response.complaints.push_back(
                name + ": " + std::error_code(error, std::generic_category()).message());
    auto words = reader.finish();
    response.front = std::move(words.front);
    response.back = std::move(words.back);
    response.uncut = words.uncut ? 1 : 0;
    response.counts = std::move(words.counts);
    response.worker = ::getpid();
    return response;
}

}  // namespace

void add_index_entry(procyard::worker_entries& entries)
{
    entries.add<index_request, index_response>(index_entry, count_part);
}

}  // namespace demo
