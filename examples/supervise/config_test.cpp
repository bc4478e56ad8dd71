// SPDX-License-Identifier: BSL-1.0
#include "config.hpp"

#include <doctest/doctest.h>

#include <chrono>
#include <stdexcept>
#include <string>

using namespace std::chrono_literals;
using supervise::parse_config;
using supervise::probe_config;
using supervise::ready_config;

namespace {

const std::string whole_file = R"(
; how it is done
[supervisor]
strategy = rest
restarts = 3
window = 2m
stop_budget = 20s
state = /run/x

[web]
command = exec serve --port 80
directory = /srv
env.HOME = /srv
env.Path.With.Dots = a = b
depends_on = db, cache
restart = on-failure
ready = line listening on 80
start_timeout = 10s
grace = 500ms
watchdog = 30s
may_extend = 1h
backoff = 10ms 5s
listen = http:8080 admin:0
keep_descriptors = 4
log = web.log
log_size = 64K
log_age = 7d
log_keep = 2

[cache]
command = cache
ready = tcp 6379
health = http://localhost:6380/health
health_interval = 2s
health_failures = 5
health_timeout = 500ms
depends_on = db

[db]
command = db
one_shot = yes
ready = newline 5
health = command pg_isready -q
)";

std::string refusal(const std::string& text)
{
    try {
        (void)parse_config(text, "x.ini");
    } catch (const std::runtime_error& error) {
        return error.what();
    }
    return "accepted";
}

}  // namespace

TEST_SUITE("supervise_config")
{
    TEST_CASE("a block without a key is one without a command")
    {
        CHECK(refusal("[a]\ncommand = true\n[web]\n").find("[web] has no command")
              != std::string::npos);
        CHECK(refusal("[supervisor]\n[a]\ncommand = true\n") == "accepted");
    }

    TEST_CASE("everything a block may say")
    {
        const auto all = parse_config(whole_file, "x.ini");
        CHECK(all.strategy == procyard::restart_strategy::rest_for_one);
        CHECK(all.intensity.restarts == 3);
        CHECK(all.intensity.window == 2min);
        CHECK(all.stop_budget == 20s);
        CHECK(all.state == "/run/x");
        CHECK(all.guardian);
        CHECK_FALSE(
            parse_config("[supervisor]\nguardian = no\n[a]\ncommand = x\n", "x.ini").guardian);
        REQUIRE(all.services.size() == 3);
        CHECK(all.services[0].name == "db");
        CHECK(all.services[0].one_shot);
        CHECK(all.services[0].health.probe->text == "pg_isready -q");
        CHECK(all.services[0].restart == procyard::restart_kind::transient);
        CHECK(all.services[1].name == "cache");
        const auto& cache = all.services[1];
        CHECK(cache.ready.what == ready_config::kind::probe);
        CHECK(cache.ready.probe.what == probe_config::kind::tcp);
        CHECK(cache.ready.probe.port == 6379);
        REQUIRE(cache.health.probe);
        CHECK(cache.health.probe->what == probe_config::kind::http);
        CHECK(cache.health.probe->text == "http://localhost:6380/health");
        CHECK(cache.health.interval == 2s);
        CHECK(cache.health.failures == 5);
        CHECK(cache.health.most == 500ms);
        const auto& web = all.services[2];
        CHECK(web.command == "exec serve --port 80");
        CHECK(web.environment.at("Path.With.Dots") == "a = b");
        CHECK(web.depends_on == std::vector<std::string>{"db", "cache"});
        CHECK(web.ready.text == "listening on 80");
        CHECK(web.start_timeout == 10s);
        CHECK(web.grace == 500ms);
        CHECK(web.backoff.first == 10ms);
        CHECK(web.backoff.cap == 5s);
        CHECK(web.listen.at("admin") == 0);
        CHECK(web.listen.at("http") == 8080);
        CHECK(web.rotation.most_bytes == 65536);
        CHECK(web.rotation.most_age == 7 * 24h);
        CHECK(web.rotation.keep == 2);
    }

    TEST_CASE("what is wrong is named with its file, line, block and key")
    {
        CHECK(refusal("[a]\ncommand = x\ngrace = fast\n")
              == "x.ini:3: [a] grace: \"fast\" is no duration (500ms, 5s, 2m, 1h, 7d)");
        CHECK(refusal("[a]\ncommand = x\ncolour = red\n")
              == "x.ini:3: [a] colour: there is no such key");
        CHECK(refusal("\n[a]\ngrace = 1s\n") == "x.ini:2: [a] has no command");
        CHECK(refusal("[a/b]\ncommand = x\n") == "x.ini:1: [a/b] a name has no slash");
        CHECK(refusal("[supervisor]\nstrategy = none\n")
              == "x.ini:2: [supervisor] strategy: \"none\" is none of: one, all, rest");
        CHECK(refusal("[a]\ncommand = x\ndepends_on = b\n")
              == "x.ini:3: [a] depends_on: there is no service \"b\"");
        CHECK(refusal("[a]\ncommand = x\ndepends_on = b\n[b]\ncommand = x\ndepends_on = a\n")
              == "x.ini:3: [a] depends_on: services that need each other can never start");
        CHECK(refusal("[a]\ncommand = x\nready = http://b/\n")
              == "x.ini:3: [a] ready: http_probe: \"http://b/\" has a host that is neither an "
                 "address nor localhost");
        CHECK(refusal("[a]\ncommand = x\nhealth_timeout = 1s\n")
              == "x.ini:3: [a] health_timeout: without health there is nobody to ask");
        CHECK(refusal("[a]\ncommand = x\n[a]\ncommand = y\n") == "x.ini:3: duplicate section name");
        CHECK(refusal("[a]\ncommand = x\ncommand = y\n") == "x.ini:3: duplicate key name");
        CHECK(refusal("[a]\nnonsense\n") == "x.ini:2: '=' character not found in line");
        CHECK(refusal("command = x\n") == "x.ini: \"command\" stands before the first block");
        CHECK(refusal("") == "x.ini: there is no service in it");
        for (const char* const line : {"listen = http",
                                       "listen = :1",
                                       "listen = a:70000",
                                       "keep_descriptors = -1",
                                       "log_size = 10X",
                                       "log_size = 99999999999G",
                                       "backoff = 1s",
                                       "backoff = 2s 1s",
                                       "one_shot = maybe",
                                       "ready = soon",
                                       "ready = newline 1",
                                       "ready = tcp 0",
                                       "ready = line",
                                       "ready = command",
                                       "ready = http://",
                                       "ready = https://localhost",
                                       "health = notify",
                                       "health = line x",
                                       "health = http://database/",
                                       "health_failures = 0",
                                       "health_interval = 5s",
                                       "restart = sometimes",
                                       "watchdog = 5",
                                       "env. = x"})
            CHECK_MESSAGE(
                refusal("[a]\ncommand = x\n" + std::string(line) + '\n').find("x.ini:3: [a]") == 0,
                std::string(line));
    }
}
