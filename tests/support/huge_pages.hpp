// SPDX-License-Identifier: BSL-1.0
// The machine's pool of huge pages, which belongs to its administrator: a test takes what it finds.
#ifndef PROCYARD_TESTS_SUPPORT_HUGE_PAGES_HPP
#define PROCYARD_TESTS_SUPPORT_HUGE_PAGES_HPP

#include <cstddef>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace procyard_test {

/// The value of a line "Name:   12 kB" of /proc/meminfo.
inline std::size_t memory_info(const std::string& name)
{
    std::ifstream file("/proc/meminfo");
    std::string word;
    while (file >> word) {
        std::size_t value = 0;
        if (word == name + ":" && file >> value)
            return value;
    }
    return 0;
}

/// How many huge pages nobody has, nor has been promised.
inline std::size_t free_huge_pages()
{
    const auto promised = memory_info("HugePages_Rsvd");
    const auto unused = memory_info("HugePages_Free");
    return unused > promised ? unused - promised : 0;
}

/// The bytes of one; 0 on a kernel without.
inline std::size_t huge_page_bytes()
{
    return memory_info("Hugepagesize") * 1024;
}

/// Of each mapping of this process whose name has this in it, the bytes of its pages.
inline std::vector<std::size_t> page_bytes_of_mappings(const std::string& name)
{
    std::vector<std::size_t> found;
    bool is_one = false;
    std::ifstream file("/proc/self/smaps");
    for (std::string line; std::getline(file, line);) {
        std::istringstream words(line);
        std::string first;
        words >> first;
        std::size_t kilobytes = 0;
        if (!first.ends_with(':'))  // a range of addresses
            is_one = line.find(name) != line.npos;
        else if (is_one && first == "KernelPageSize:" && words >> kilobytes)
            found.push_back(kilobytes * 1024);
    }
    return found;
}

}  // namespace procyard_test

#endif
