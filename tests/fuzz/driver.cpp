// SPDX-License-Identifier: BSL-1.0
// driver CORPUS RUNS: what a fuzzer does, without libFuzzer: each file of a directory, and then so
// many changes of them, the same in every run. Finds less, and runs everywhere.
#include "fuzz_input.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

namespace {

using bytes = std::vector<std::uint8_t>;
constexpr std::size_t longest = 4096;

std::vector<bytes> read_corpus(const std::filesystem::path& directory)
{
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(directory))
        files.push_back(entry.path());
    std::sort(files.begin(), files.end());  // or each machine would do it in an order of its own
    std::vector<bytes> corpus;
    for (const auto& file : files) {
        std::ifstream in(file, std::ios::binary);
        corpus.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
    }
    return corpus;
}

class mutator {
public:
    explicit mutator(const std::vector<bytes>& corpus) : corpus_(corpus) { }

    bytes make()
    {
        auto made = corpus_[below(corpus_.size())];
        for (auto changes = below(6); changes-- > 0;)
            change(made);
        if (made.size() > longest)
            made.resize(longest);
        return made;
    }

private:
    std::size_t below(std::size_t n) { return static_cast<std::size_t>(random_()) % n; }

    void change(bytes& of)
    {
        if (of.empty())
            of.push_back(0);
        const auto at = below(of.size());
        switch (below(6)) {
        case 0: of[at] = static_cast<std::uint8_t>(of[at] ^ 1U << below(8)); break;
        case 1: of[at] = static_cast<std::uint8_t>(random_()); break;
        case 2: set_number(of, at); break;
        case 3: of.resize(at); break;
        case 4: repeat(of, at); break;
        default: append_other(of, at); break;
        }
    }

    // One of those that are often believed, or just not.
    void set_number(bytes& of, std::size_t at)
    {
        static constexpr std::uint64_t notable[] = {0,
                                                    1,
                                                    7,
                                                    8,
                                                    9,
                                                    63,
                                                    64,
                                                    127,
                                                    128,
                                                    255,
                                                    4096,
                                                    0x7fffffff,
                                                    0x80000000,
                                                    0xfffffff8,
                                                    0xffffffff,
                                                    0x7fffffffffffffff,
                                                    0xffffffffffffff00,
                                                    0xffffffffffffffff};
        const auto n = notable[below(std::size(notable))];
        const auto width = std::min<std::size_t>(std::size_t{1} << below(4), of.size() - at);
        std::memcpy(of.data() + at, &n, width);
    }
    void repeat(bytes& of, std::size_t at)
    {
        const auto length = std::min(of.size() - at, below(32) + 1);
        const bytes piece(of.begin() + static_cast<std::ptrdiff_t>(at),
                          of.begin() + static_cast<std::ptrdiff_t>(at + length));
        of.insert(of.begin() + static_cast<std::ptrdiff_t>(at), piece.begin(), piece.end());
    }
    void append_other(bytes& of, std::size_t at)
    {
        const auto& other = corpus_[below(corpus_.size())];
        of.resize(at);
        if (!other.empty()) {
            const auto from = static_cast<std::ptrdiff_t>(below(other.size()));
            of.insert(of.end(), other.begin() + from, other.end());
        }
    }

    const std::vector<bytes>& corpus_;
    std::minstd_rand random_{20240101};
};

void try_one(const bytes& one)
{
    LLVMFuzzerTestOneInput(one.data(), one.size());
}

}  // namespace

int main(int argc, char** argv)
{
    if (argc != 3) {
        std::cerr << "usage: " << argv[0] << " CORPUS RUNS\n";
        return 2;
    }
    const auto corpus = read_corpus(argv[1]);
    if (corpus.empty()) {
        std::cerr << argv[1] << ": no corpus\n";
        return 2;
    }
    for (const auto& each : corpus)
        try_one(each);
    mutator mutations(corpus);
    const auto runs = std::strtoul(argv[2], nullptr, 10);
    for (unsigned long n = 0; n < runs; ++n)
        try_one(mutations.make());
    std::cout << corpus.size() << " inputs, " << runs << " changed ones\n";
    return 0;
}
