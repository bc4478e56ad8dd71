// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_TESTS_SUPPORT_SHARED_ARRAY_HPP
#define PROCYARD_TESTS_SUPPORT_SHARED_ARRAY_HPP

#include <sys/mman.h>

#include <atomic>
#include <cstddef>
#include <new>

#include <doctest/doctest.h>

namespace procyard_test {

/// Numbers, 0 at first, that this process has together with all copies that are made of it later:
/// what one has noted is there when it has been killed.
template <class T>
class shared_array {
public:
    explicit shared_array(std::size_t count) : bytes_(count * sizeof(std::atomic<T>))
    {
        void* const at =
            ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        REQUIRE(at != MAP_FAILED);
        first_ = static_cast<std::atomic<T>*>(at);
        for (std::size_t i = 0; i < count; ++i)
            ::new (first_ + i) std::atomic<T>(0);
    }
    shared_array(const shared_array&) = delete;
    shared_array& operator=(const shared_array&) = delete;
    ~shared_array() { ::munmap(first_, bytes_); }

    [[nodiscard]] std::atomic<T>& operator[](std::size_t index) const { return first_[index]; }

private:
    std::size_t bytes_;
    std::atomic<T>* first_ = nullptr;
};

}  // namespace procyard_test

#endif
