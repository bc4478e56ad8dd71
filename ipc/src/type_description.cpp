// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/type_description.hpp>

#include <algorithm>
#include <bit>
#include <vector>

PROCYARD_NAMESPACE_BEGIN

namespace {

constexpr std::size_t fixed_part = 29;
constexpr std::string_view cut_mark = "...";
static_assert(type_description::max_bytes
              == fixed_part + type_description::max_name + type_description::max_text);

// FNV-1a, 64 bits (draft-eastlake-fnv): short texts, no adversary, the same everywhere.
class hash {
public:
    void add(std::string_view text) noexcept
    {
        for (const char c : text) {
            value_ ^= static_cast<unsigned char>(c);
            value_ *= 0x100000001b3U;
        }
    }
    void add(std::uint64_t n) { add(std::to_string(n) + ' '); }
    [[nodiscard]] std::uint64_t value() const noexcept { return value_; }

private:
    std::uint64_t value_ = 0xcbf29ce484222325U;
};

bool is_printable(char c) noexcept
{
    return c >= ' ' && c <= '~';
}

// What may be shown and sent. A name can be of other letters than ASCII.
std::string presentable(std::string text, std::size_t most)
{
    for (char& c : text)
        if (!is_printable(c))
            c = '?';
    if (text.size() > most) {
        text.resize(most - cut_mark.size());
        text += cut_mark;
    }
    return text;
}

template <class Number>
void put_little(std::string& out, Number n)
{
    for (std::size_t i = 0; i < sizeof n; ++i)
        out += static_cast<char>(static_cast<unsigned char>(n >> (8 * i)));
}

// Takes from the front; the caller has looked whether there is enough.
template <class Number>
Number take_little(std::string_view& in)
{
    Number n = 0;
    for (std::size_t i = 0; i < sizeof n; ++i)
        n = static_cast<Number>(n | Number{static_cast<unsigned char>(in[i])} << (8 * i));
    in.remove_prefix(sizeof n);
    return n;
}

// The fields of `{u64@0 {i32@0 i32@4}@8 char[8]@16}/24`, not of what lies in them.
std::vector<std::string_view> split_fields(std::string_view layout)
{
    std::vector<std::string_view> fields;
    if (!layout.starts_with('{'))
        return fields;
    int depth = 0;
    std::size_t begin = 1;
    for (std::size_t i = 1; i <= layout.size(); ++i) {
        const char c = i == layout.size() ? '}' : layout[i];
        const bool last = i == layout.size() || (c == '}' && depth == 0);
        if (last || (c == ' ' && depth == 0)) {
            if (i != begin)
                fields.push_back(layout.substr(begin, i - begin));
            begin = i + 1;
        }
        if (last)
            break;
        if (c == '{' || c == '(' || c == '[')
            ++depth;
        else if (c == '}' || c == ')' || c == ']')
            --depth;
    }
    return fields;
}

std::string quoted(std::string_view field)
{
    return field.empty() ? std::string("missing") : std::string(field);
}

// Empty when no field does.
std::string differing_field(const type_description& ours, const type_description& theirs)
{
    const auto here = split_fields(ours.layout);
    const auto there = split_fields(theirs.layout);
    for (std::size_t i = 0; i < std::max(here.size(), there.size()); ++i) {
        const auto a = i < here.size() ? here[i] : std::string_view();
        const auto b = i < there.size() ? there[i] : std::string_view();
        if (a != b)
            return "field " + std::to_string(i + 1) + " is " + quoted(a) + " here and " + quoted(b)
                + " there";
    }
    return {};
}

std::string two_numbers(std::string_view what, std::uint64_t here, std::uint64_t there)
{
    return std::string(what) + " is " + std::to_string(here) + " here and " + std::to_string(there)
        + " there";
}

std::string first_difference(const type_description& ours, const type_description& theirs)
{
    if (ours.big_endian != theirs.big_endian)
        return "the order of bytes differs";
    if (ours.name != theirs.name)
        return "the names differ";
    if (ours.version != theirs.version)
        return two_numbers("the schema version", ours.version, theirs.version);
    if (auto field = differing_field(ours, theirs); !field.empty())
        return field;
    if (ours.size_bytes != theirs.size_bytes)
        return two_numbers("the size", ours.size_bytes, theirs.size_bytes);
    if (ours.alignment != theirs.alignment)
        return two_numbers("the alignment", ours.alignment, theirs.alignment);
    return ours.layout != theirs.layout ? "the layouts differ" : "the fingerprints differ";
}

}  // namespace

namespace detail {

std::string short_type_name(std::string_view signature)
{
    // "… [with T = a::b<c>::d]" of GCC, "… [T = b<c>::d]" of Clang.
    const auto equals = signature.find("T = ");
    if (equals != signature.npos)
        signature.remove_prefix(equals + 4);
    if (signature.ends_with(']'))
        signature.remove_suffix(1);
    std::string outside;
    int depth = 0;
    for (const char c : signature) {
        if (c == '<')
            ++depth;
        else if (c == '>')
            --depth;
        else if (depth == 0)
            outside += c;
    }
    const auto last = outside.rfind("::");
    return last == outside.npos ? outside : outside.substr(last + 2);
}

void finish_description(type_description& result, const type_text& layout)
{
    result.big_endian = std::endian::native == std::endian::big;
    hash all;
    all.add(result.name);
    all.add(" ");
    all.add(result.size_bytes);
    all.add(result.alignment);
    all.add(result.version);
    all.add(result.big_endian ? "big " : "little ");
    all.add(layout.text());
    result.fingerprint = all.value();
    result.name = presentable(std::move(result.name), type_description::max_name);
    result.layout = presentable(layout.text(), type_description::max_text);
}

}  // namespace detail

std::string type_description::to_bytes() const
{
    const auto shown_name = presentable(name, max_name);
    const auto shown_layout = presentable(layout, max_text);
    std::string out;
    put_little(out, fingerprint);
    put_little(out, size_bytes);
    put_little(out, alignment);
    put_little(out, version);
    put_little(out, static_cast<std::uint8_t>(big_endian ? 1 : 0));
    put_little(out, static_cast<std::uint16_t>(shown_name.size()));
    put_little(out, static_cast<std::uint16_t>(shown_layout.size()));
    return out + shown_name + shown_layout;
}

bool type_description::parse(std::span<const std::byte> bytes, type_description& result)
{
    std::string_view in(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (in.size() < fixed_part || in.size() > max_bytes)
        return false;
    type_description got;
    got.fingerprint = take_little<std::uint64_t>(in);
    got.size_bytes = take_little<std::uint64_t>(in);
    got.alignment = take_little<std::uint32_t>(in);
    got.version = take_little<std::uint32_t>(in);
    const auto order = take_little<std::uint8_t>(in);
    const std::size_t name_bytes = take_little<std::uint16_t>(in);
    const std::size_t layout_bytes = take_little<std::uint16_t>(in);
    if (order > 1 || name_bytes > max_name || layout_bytes > max_text
        || in.size() != name_bytes + layout_bytes
        || !std::all_of(in.begin(), in.end(), is_printable))
        return false;
    got.big_endian = order == 1;
    got.name = in.substr(0, name_bytes);
    got.layout = in.substr(name_bytes);
    result = std::move(got);
    return true;
}

std::string type_description::to_string() const
{
    std::string text = name;
    if (version != 0)
        text += " version " + std::to_string(version);
    if (size_bytes != 0)
        text += ", " + std::to_string(size_bytes) + " bytes";
    return layout == name ? text : text + " " + layout;
}

std::string explain_difference(const type_description& ours, const type_description& theirs)
{
    if (ours.fingerprint == theirs.fingerprint)
        return {};
    return "here " + ours.to_string() + "; there " + theirs.to_string() + ": "
        + first_difference(ours, theirs);
}

PROCYARD_NAMESPACE_END
