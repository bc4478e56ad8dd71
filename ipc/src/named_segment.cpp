// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/named_segment.hpp>

#include <boost/system/system_error.hpp>

#include <limits.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <new>
#include <system_error>

#include <procyard/ipc/syscall.hpp>
#include <procyard/ipc/unique_fd.hpp>

#include "mapping.hpp"
#include "memory_pages.hpp"
#include "named_object.hpp"
#include "patience.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace {

using detail::patience;

// How often a name is tried for that others take and leave. Each time another has got it.
constexpr int most_tries = 100;

bool can_be_name(std::string_view last_component) noexcept
{
    return !last_component.empty() && last_component != "." && last_component != ".."
        && last_component.size() <= NAME_MAX;
}

void throw_if(const error_code& ec, const char* what)
{
    if (ec)
        throw boost::system::system_error(ec, what);
}

}  // namespace

segment_name segment_name::shared_memory(std::string_view name)
{
    const bool possible =
        can_be_name(name) && name.find('/') == name.npos && name.find('\0') == name.npos;
    // Where shm_open of glibc and musl looks as well.
    return segment_name(possible ? "/dev/shm/" + std::string(name) : std::string());
}

segment_name segment_name::file(std::string_view path)
{
    const bool possible =
        can_be_name(path.substr(path.rfind('/') + 1)) && path.find('\0') == path.npos;
    return segment_name(possible ? std::string(path) : std::string());
}

// Members go in reverse: the memory before the descriptor, whose lock says that we live.
struct named_segment::state {
    state() = default;
    state(const state&) = delete;
    state& operator=(const state&) = delete;
    ~state()
    {
        if (has_name && made_here())
            (void)detail::remove_name(fd.get(), path);  // gone already, or not ours any more
    }

    [[nodiscard]] bool made_here() const noexcept { return creator == ::getpid(); }
    // Waits for others no longer than `others` lets it, and then fails with EBUSY.
    [[nodiscard]] static std::unique_ptr<state> create(const segment_name& name,
                                                       std::size_t wanted_bytes, mode_t permissions,
                                                       patience& others, error_code& ec);
    [[nodiscard]] error_code plan(const segment_name& name, std::size_t wanted_bytes);
    [[nodiscard]] error_code make(mode_t permissions);
    [[nodiscard]] detail::named_header& header() const noexcept
    {
        return *reinterpret_cast<detail::named_header*>(memory->base());
    }

    std::string path{};
    pid_t creator = 0;  // 0: it was opened. Else who owns the name: not a copy that fork made
    bool has_name = false;
    bool writable = false;
    std::size_t offset = 0;
    std::size_t size_bytes = 0;
    unique_fd fd{};
    std::unique_ptr<detail::mapping> memory{};
};

named_segment::named_segment() noexcept = default;
named_segment::named_segment(std::unique_ptr<state> made) noexcept : state_(std::move(made)) { }
named_segment::named_segment(named_segment&& other) noexcept = default;
named_segment& named_segment::operator=(named_segment&& other) noexcept = default;
named_segment::~named_segment() = default;

// What the segment will be: the path and the sizes.
error_code named_segment::state::plan(const segment_name& name, std::size_t wanted_bytes)
{
    error_code ec;
    offset = static_cast<std::size_t>(::getpagesize());
    size_bytes = detail::whole_pages(wanted_bytes, offset, ec);
    if (!ec)
        (void)detail::whole_pages(offset + size_bytes, offset, ec);
    if (!ec && name.path().empty())
        ec = segment_errc::bad_name;
    if (ec)
        return ec;
    // Found again at the end, whatever the working directory is then.
    std::error_code no_directory;
    path = std::filesystem::absolute(name.path(), no_directory).native();
    return no_directory ? make_errno(no_directory.value()) : error_code{};
}

// Makes all of it but the name.
error_code named_segment::state::make(mode_t permissions)
{
    error_code ec;
    fd = detail::make_object(path, offset + size_bytes, permissions, ec);
    if (!ec)
        memory = detail::map_memory(fd.get(), offset + size_bytes,
                                    detail::mapping_access::read_write, ec);
    if (ec)
        return ec;
    new (memory->base())
        detail::named_header{.fields = {.magic = detail::named_magic,
                                        .version = detail::named_version,
                                        .header_bytes = static_cast<std::uint32_t>(offset),
                                        .size_bytes = size_bytes},
                             .ready = 0};
    creator = ::getpid();
    writable = true;
    return {};
}

std::unique_ptr<named_segment::state> named_segment::state::create(const segment_name& name,
                                                                   std::size_t wanted_bytes,
                                                                   mode_t permissions,
                                                                   patience& others, error_code& ec)
{
    auto made = std::make_unique<state>();
    ec = made->plan(name, wanted_bytes);
    if (ec)
        return nullptr;
    for (int tries = 0; tries < most_tries;) {
        ec = detail::clear_name(made->path);
        if (ec == make_errno(EAGAIN) && others.wait())
            continue;
        if (ec == make_errno(EAGAIN))
            break;
        if (!ec && !made->memory)
            ec = made->make(permissions);
        if (ec)
            return nullptr;
        ec = detail::name_object(made->fd.get(), made->path);
        made->has_name = !ec;
        if (made->has_name)
            return made;
        if (ec != make_errno(EEXIST))
            return nullptr;
        ++tries;  // somebody was quicker; look at it again
    }
    ec = make_errno(EBUSY);
    return nullptr;
}

named_segment named_segment::create(const segment_name& name, std::size_t size_bytes,
                                    named_segment_options options, error_code& ec)
{
    patience others;
    auto made = state::create(name, size_bytes, options.permissions, others, ec);
    return made ? named_segment(std::move(made)) : named_segment();
}

named_segment named_segment::create(const segment_name& name, std::size_t size_bytes,
                                    named_segment_options options)
{
    error_code ec;
    auto made = create(name, size_bytes, options, ec);
    throw_if(ec, "named_segment::create");
    return made;
}

named_segment named_segment::open(const segment_name& name, named_open_options options,
                                  error_code& ec)
{
    if (name.path().empty()) {
        ec = segment_errc::bad_name;
        return {};
    }
    auto opened = std::make_unique<state>();
    opened->writable = options.access == segment_access::read_write;
    detail::named_fields fields;
    opened->fd = detail::open_object(name.path(), opened->writable,
                                     options.owner.value_or(::geteuid()), fields, ec);
    if (!ec && !detail::object_is_alive(opened->fd.get(), ec) && !ec)
        ec = make_errno(EOWNERDEAD);
    if (ec)
        return {};
    opened->offset = fields.header_bytes;
    opened->size_bytes = static_cast<std::size_t>(fields.size_bytes);
    opened->memory = detail::map_memory(opened->fd.get(), opened->offset + opened->size_bytes,
                                        opened->writable ? detail::mapping_access::read_write
                                                         : detail::mapping_access::read_only,
                                        ec);
    // Acquire, pairs with the release in publish(): what the creator wrote before can be read.
    if (!ec && opened->header().ready.load(std::memory_order_acquire) == 0)
        ec = make_errno(EAGAIN);
    return ec ? named_segment() : named_segment(std::move(opened));
}

named_segment named_segment::open(const segment_name& name, named_open_options options)
{
    error_code ec;
    auto opened = named_segment::open(name, options, ec);
    throw_if(ec, "named_segment::open");
    return opened;
}

named_segment named_segment::open_or_create(const segment_name& name, std::size_t size_bytes,
                                            named_segment_options options, error_code& ec)
{
    (void)detail::whole_pages(size_bytes, 1, ec);
    if (ec)
        return {};
    patience others;  // one for all tries, or the bound would be many times as long
    for (int tries = 0; tries < most_tries; ++tries) {
        auto opened = named_segment::open(name, {}, ec);
        if (!ec && opened.size() < size_bytes) {
            ec = segment_errc::wrong_size;
            return {};
        }
        if (ec != make_errno(ENOENT) && ec != make_errno(EOWNERDEAD))
            return opened;
        auto made = state::create(name, size_bytes, options.permissions, others, ec);
        if (ec != make_errno(EEXIST))
            return made ? named_segment(std::move(made)) : named_segment();
    }
    ec = make_errno(EBUSY);
    return {};
}

named_segment named_segment::open_or_create(const segment_name& name, std::size_t size_bytes,
                                            named_segment_options options)
{
    error_code ec;
    auto got = open_or_create(name, size_bytes, options, ec);
    throw_if(ec, "named_segment::open_or_create");
    return got;
}

void named_segment::publish() noexcept
{
    PROCYARD_ASSERT(state_ && state_->creator != 0
                    && "only the creator knows when its segment is complete");
    // Release, pairs with the acquire in open(): publishes what the creator has written.
    state_->header().ready.store(1, std::memory_order_release);
}

void named_segment::remove_name(error_code& ec) noexcept
{
    PROCYARD_ASSERT(state_ && state_->creator != 0 && "the name belongs to the creator");
    if (!state_->made_here()) {
        ec = make_errno(EPERM);
        return;
    }
    ec =
        state_->has_name ? detail::remove_name(state_->fd.get(), state_->path) : make_errno(ENOENT);
    state_->has_name = false;
}

bool named_segment::creator_alive(error_code& ec) const noexcept
{
    ec.clear();
    // A lock does not keep out those that have it, a copy that fork made among them.
    return state_ && (state_->creator != 0 || detail::object_is_alive(state_->fd.get(), ec));
}

const std::byte* named_segment::data() const noexcept
{
    return state_ ? state_->memory->base() + state_->offset : nullptr;
}

std::byte* named_segment::writable_data() noexcept
{
    PROCYARD_ASSERT(is_writable() && "the segment was opened to be read");
    return state_->memory->base() + state_->offset;
}

std::size_t named_segment::size() const noexcept
{
    return state_ ? state_->size_bytes : 0;
}

bool named_segment::is_writable() const noexcept
{
    return state_ && state_->writable;
}

bool named_segment::is_creator() const noexcept
{
    return state_ && state_->made_here();
}

PROCYARD_NAMESPACE_END
