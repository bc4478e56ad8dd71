// SPDX-License-Identifier: BSL-1.0
//
// libuv: one loop, uv_spawn and the exit callback.

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include <uv.h>

#include <fcntl.h>

#include "../support/allocations.hpp"
#include "../support/spawn_round.hpp"
#include "../support/stream_round.hpp"

namespace {

void expect_success(std::int64_t status, int signal)
{
    bench::require(status == 0 && (signal == 0 || signal == SIGKILL), "the child failed");
}

class uv_spawner final : public bench::spawner {
public:
    explicit uv_spawner(std::string program) : program_(std::move(program))
    {
        bench::require(uv_loop_init(&loop_) == 0, "uv_loop_init");
    }

    ~uv_spawner() override { (void)uv_loop_close(&loop_); }

    pid_t start() override
    {
        char* argv[] = {program_.data(), nullptr};
        uv_stdio_container_t stdio[3] = {};
        for (int i = 0; i < 3; ++i) {
            stdio[i].flags = UV_INHERIT_FD;
            stdio[i].data.fd = i;
        }
        uv_process_options_t options{};
        options.file = program_.c_str();
        options.args = argv;
        options.stdio = stdio;
        options.stdio_count = 3;
        options.exit_cb = &uv_spawner::on_exit;
        auto* process = new uv_process_t{};
        process->data = this;
        bench::require(uv_spawn(&loop_, process, &options) == 0, "uv_spawn");
        return process->pid;
    }

    void run() override { uv_run(&loop_, UV_RUN_DEFAULT); }

    void run_one() override
    {
        exit_seen_ = false;
        while (!exit_seen_)
            uv_run(&loop_, UV_RUN_ONCE);
    }

private:
    static void on_exit(uv_process_t* process, std::int64_t status, int signal)
    {
        expect_success(status, signal);
        auto* self = static_cast<uv_spawner*>(process->data);
        uv_close(reinterpret_cast<uv_handle_t*>(process),
                 [](uv_handle_t* handle) { delete reinterpret_cast<uv_process_t*>(handle); });
        self->exit_seen_ = true;
        self->exited();
    }

    std::string program_;
    uv_loop_t loop_{};
    bool exit_seen_ = false;
};

class stdout_reader {
public:
    explicit stdout_reader(const bench::round_options& options)
        : round_(options),
          buffer_(round_.read_bytes())
    {
    }

    void run()
    {
        bench::require(uv_loop_init(&loop_) == 0, "uv_loop_init");
        round_.start();
        uv_pipe_init(&loop_, &out_, 0);
        out_.data = this;
        uv_stdio_container_t stdio[3] = {};
        stdio[1].flags = static_cast<uv_stdio_flags>(UV_CREATE_PIPE | UV_WRITABLE_PIPE);
        stdio[1].data.stream = reinterpret_cast<uv_stream_t*>(&out_);
        stdio[2].flags = UV_INHERIT_FD;
        stdio[2].data.fd = 2;
        std::array<int, 2> own_pipe{-1, -1};
        if (round_.pipe_bytes() != 0)
            use_own_pipe(stdio[1], own_pipe);
        spawn(stdio);
        if (own_pipe[1] != -1)
            ::close(own_pipe[1]);
        uv_read_start(reinterpret_cast<uv_stream_t*>(&out_), &stdout_reader::on_allocate,
                      &stdout_reader::on_read);
        uv_run(&loop_, UV_RUN_DEFAULT);
        (void)uv_loop_close(&loop_);
        round_.print();
    }

private:
    // UV_CREATE_PIPE makes a socketpair. Who wants a pipe of a given size brings it.
    void use_own_pipe(uv_stdio_container_t& child_end, std::array<int, 2>& ends)
    {
        bench::require(::pipe2(ends.data(), O_CLOEXEC) == 0, "pipe2");
        bench::require(::fcntl(ends[0], F_SETPIPE_SZ, static_cast<int>(round_.pipe_bytes())) != -1,
                       "F_SETPIPE_SZ");
        bench::require(uv_pipe_open(&out_, ends[0]) == 0, "uv_pipe_open");
        child_end.flags = UV_INHERIT_FD;
        child_end.data.fd = ends[1];
    }

    void spawn(uv_stdio_container_t* stdio)
    {
        auto arguments = round_.writer_arguments();
        std::string program = round_.child();
        std::vector<char*> argv{program.data()};
        for (auto& argument : arguments)
            argv.push_back(argument.data());
        argv.push_back(nullptr);
        uv_process_options_t options{};
        options.file = program.c_str();
        options.args = argv.data();
        options.stdio = stdio;
        options.stdio_count = 3;
        options.exit_cb = [](uv_process_t* process, std::int64_t status, int signal) {
            expect_success(status, signal);
            uv_close(reinterpret_cast<uv_handle_t*>(process), nullptr);
        };
        bench::require(uv_spawn(&loop_, &process_, &options) == 0, "uv_spawn");
    }

    static void on_allocate(uv_handle_t* handle, std::size_t, uv_buf_t* buffer)
    {
        auto& self = *static_cast<stdout_reader*>(handle->data);
        *buffer = uv_buf_init(self.buffer_.data(), static_cast<unsigned>(self.buffer_.size()));
    }

    static void on_read(uv_stream_t* stream, ssize_t n, const uv_buf_t*)
    {
        auto& self = *static_cast<stdout_reader*>(stream->data);
        if (n == UV_EOF) {
            uv_close(reinterpret_cast<uv_handle_t*>(stream), nullptr);
            return;
        }
        bench::require(n >= 0, "uv_read");
        self.round_.add(static_cast<std::size_t>(n));
    }

    bench::stream_round round_;
    std::vector<char> buffer_;
    uv_loop_t loop_{};
    uv_pipe_t out_{};
    uv_process_t process_{};
};

// libuv allocates through malloc, which operator new does not see.
void count_libuv_allocations()
{
    uv_replace_allocator(
        [](std::size_t n) {
            bench::count_allocation();
            return std::malloc(n);
        },
        [](void* old, std::size_t n) {
            bench::count_allocation();
            return std::realloc(old, n);
        },
        [](std::size_t count, std::size_t n) {
            bench::count_allocation();
            return std::calloc(count, n);
        },
        &std::free);
}

}  // namespace

int main(int argc, char** argv)
{
    const bench::round_options options(argc, argv);
    const auto make = [](const std::string& program) -> std::unique_ptr<bench::spawner> {
        return std::make_unique<uv_spawner>(program);
    };
    if (options.command() == "version")
        std::printf("libuv %s\n", uv_version_string());
    else if (options.command() == "spawn")
        bench::measure_spawn(options, make);
    else if (options.command() == "children")
        bench::measure_children(options, make);
    else if (options.command() == "allocations") {
        count_libuv_allocations();
        bench::measure_allocations(options, make);
    } else if (options.command() == "stdout")
        stdout_reader(options).run();
    else
        bench::require(false, "bench_libuv spawn | children | allocations | stdout");
}
