// SPDX-License-Identifier: BSL-1.0
// What a service manager says in the environment: sd_notify(3), sd_watchdog_enabled(3),
// sd_listen_fds(3).
#include "manager_text.hpp"

#include <doctest/doctest.h>

#include <boost/system/system_error.hpp>

#include <chrono>
#include <string>
#include <vector>

using namespace procyard;
using namespace procyard::detail;
using namespace std::chrono_literals;

namespace {

constexpr pid_t self = 4711;
using names = std::vector<std::string>;

// What is thrown; "nothing".
template <class F>
std::string refusal(F f)
{
    try {
        f();
    } catch (const boost::system::system_error& error) {
        return error.what();
    }
    return "nothing";
}

std::string manager_refusal(const char* socket, const char* time = nullptr,
                            const char* pid = nullptr)
{
    return refusal([&] { (void)parse_manager(socket, time, pid, self); });
}

std::string activation_refusal(const char* count, const char* pid = "4711",
                               const char* list = nullptr)
{
    return refusal([&] { (void)parse_activation(count, pid, list, self); });
}

}  // namespace

TEST_SUITE("manager_text")
{
    TEST_CASE("a socket is a path, or an abstract name after an @")
    {
        CHECK(parse_manager("/run/systemd/notify", nullptr, nullptr, self).socket
              == "/run/systemd/notify");
        CHECK(parse_manager("@abc", nullptr, nullptr, self).socket == "@abc");
        CHECK(parse_manager(nullptr, "1000000", nullptr, self).socket.empty());
        CHECK(parse_manager(("@" + std::string(107, 'a')).c_str(), nullptr, nullptr, self)
                  .socket.size()
              == 108);
    }

    TEST_CASE("a malformed socket is an error that has its value, and why")
    {
        CHECK(manager_refusal("").find("NOTIFY_SOCKET=\"\": neither an absolute path")
              != std::string::npos);
        for (const char* bad : {"relative", "/", "@", " /run/x"}) {
            CAPTURE(bad);
            CHECK(manager_refusal(bad).find("neither an absolute path") != std::string::npos);
        }
        CHECK(manager_refusal(("/" + std::string(107, 'a')).c_str()).find("too long")
              != std::string::npos);
        CHECK(manager_refusal("vsock:2:1234").find("not supported") != std::string::npos);
        CHECK_MESSAGE(manager_refusal(std::string(100'000, 'x').c_str()).size() < 400,
                      "a message is for people");
    }

    TEST_CASE("a watchdog is ours if it is nobody else's")
    {
        CHECK(parse_manager("@a", "3000000", nullptr, self).watchdog == 3s);
        CHECK(parse_manager("@a", "3000000", "4711", self).watchdog == 3s);
        CHECK_FALSE(parse_manager("@a", "3000000", "4712", self).watchdog);
        CHECK_FALSE(parse_manager("@a", nullptr, "4711", self).watchdog);
        CHECK_MESSAGE(!parse_manager(nullptr, "3000000", "4711", self).watchdog,
                      "nobody would hear");
        CHECK_MESSAGE(parse_manager("@a", "9223372036854775807", nullptr, self).watchdog
                          <= std::chrono::nanoseconds::max(),
                      "a time that can be counted in");
    }

    TEST_CASE("a malformed watchdog is an error")
    {
        for (const char* bad :
             {"", "0", "-1", "+1", "1s", " 1", "1 ", "0x10", "99999999999999999999"}) {
            CAPTURE(bad);
            CHECK(manager_refusal("@a", bad).find("not a time in microseconds")
                  != std::string::npos);
        }
        for (const char* bad : {"", "0", "-4711", "4711x", "99999999999"}) {
            CAPTURE(bad);
            CHECK(manager_refusal("@a", "1000", bad).find("WATCHDOG_PID") != std::string::npos);
        }
    }

    TEST_CASE("what a watchdog says to another process is theirs to understand")
    {
        CHECK_FALSE(parse_manager("@a", "nonsense", "4712", self).watchdog);
        CHECK_FALSE(parse_manager("@a", nullptr, "nonsense", self).watchdog);
    }

    TEST_CASE("descriptors have their names, and are for one process")
    {
        CHECK(parse_activation("2", "4711", "http:https", self) == names{"http", "https"});
        CHECK(parse_activation("2", "4711", nullptr, self) == names{"unknown", "unknown"});
        CHECK(parse_activation("1", "4711", "", self) == names{""});
        CHECK(parse_activation("2", "4711", ":", self) == names{"", ""});
        CHECK(parse_activation("2", "4712", "http:https", self).empty());
        CHECK(parse_activation("2", nullptr, "http:https", self).empty());
        CHECK(parse_activation(nullptr, "4711", "http:https", self).empty());
        CHECK_MESSAGE(parse_activation("nonsense", "4712", nullptr, self).empty(),
                      "what is said to others is theirs to understand");
    }

    TEST_CASE("a malformed number of descriptors is an error")
    {
        for (const char* bad : {"", "0", "-1", "1x", "2147483645", "99999999999999999999"}) {
            CAPTURE(bad);
            CHECK(activation_refusal(bad).find("not a number of descriptors") != std::string::npos);
        }
        for (const char* bad : {"", "0", "-1", "self"}) {
            CAPTURE(bad);
            CHECK(activation_refusal("1", bad).find("LISTEN_PID") != std::string::npos);
        }
    }

    TEST_CASE("there are as many names as descriptors")
    {
        CHECK(activation_refusal("2", "4711", "one").find("LISTEN_FDNAMES=\"one\"")
              != std::string::npos);
        CHECK(activation_refusal("1", "4711", "one:two").find("not as many names")
              != std::string::npos);
        CHECK(activation_refusal("2", "4711", "").find("(2)") != std::string::npos);
        CHECK_MESSAGE(parse_activation("2147483644", "4711", nullptr, self).size() <= 1 << 20,
                      "a number costs no memory");
    }

    TEST_CASE("a descriptor's name is printable, without a colon")
    {
        CHECK(is_descriptor_name("http"));
        CHECK(is_descriptor_name(std::string(255, 'a')));
        for (const auto& bad :
             {std::string(), std::string(256, 'a'), std::string("a:b"), std::string("a\nb"),
              std::string("\x7f"), std::string("\xc3\xa4"), std::string(1, '\0')}) {
            CAPTURE(bad);
            CHECK_FALSE(is_descriptor_name(bad));
        }
    }
}
