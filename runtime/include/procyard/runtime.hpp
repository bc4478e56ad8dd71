// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_UMBRELLA_HPP
#define PROCYARD_RUNTIME_UMBRELLA_HPP

// Everything of this module, for users; the library itself includes what it needs.
#include <procyard/runtime/activation.hpp>
#include <procyard/runtime/bind_token.hpp>
#include <procyard/runtime/cancellation.hpp>
#include <procyard/runtime/channel_probe.hpp>
#include <procyard/runtime/child.hpp>
#include <procyard/runtime/clock.hpp>
#include <procyard/runtime/command.hpp>
#include <procyard/runtime/drop_policy.hpp>
#include <procyard/runtime/exit_status.hpp>
#include <procyard/runtime/forward_signals.hpp>
#include <procyard/runtime/guardian.hpp>
#include <procyard/runtime/inherited.hpp>
#include <procyard/runtime/init.hpp>
#include <procyard/runtime/observer.hpp>
#include <procyard/runtime/pipeline.hpp>
#include <procyard/runtime/pipeline_result.hpp>
#include <procyard/runtime/pipeline_status.hpp>
#include <procyard/runtime/pool_error.hpp>
#include <procyard/runtime/pool_job.hpp>
#include <procyard/runtime/pool_metrics.hpp>
#include <procyard/runtime/pool_options.hpp>
#include <procyard/runtime/pool_report.hpp>
#include <procyard/runtime/pool_stream.hpp>
#include <procyard/runtime/pool_task.hpp>
#include <procyard/runtime/probes.hpp>
#include <procyard/runtime/process_pool.hpp>
#include <procyard/runtime/rotating_file.hpp>
#include <procyard/runtime/run.hpp>
#include <procyard/runtime/run_error.hpp>
#include <procyard/runtime/run_input.hpp>
#include <procyard/runtime/run_output.hpp>
#include <procyard/runtime/run_reason.hpp>
#include <procyard/runtime/run_result.hpp>
#include <procyard/runtime/service.hpp>
#include <procyard/runtime/service_log.hpp>
#include <procyard/runtime/service_manager.hpp>
#include <procyard/runtime/service_notice.hpp>
#include <procyard/runtime/service_notifier.hpp>
#include <procyard/runtime/shutdown.hpp>
#include <procyard/runtime/shutdown_report.hpp>
#include <procyard/runtime/spawn.hpp>
#include <procyard/runtime/spawn_error.hpp>
#include <procyard/runtime/spawn_info.hpp>
#include <procyard/runtime/stage.hpp>
#include <procyard/runtime/stdio.hpp>
#include <procyard/runtime/stop.hpp>
#include <procyard/runtime/supervision.hpp>
#include <procyard/runtime/supervisor.hpp>
#include <procyard/runtime/task_group.hpp>
#include <procyard/runtime/tree.hpp>
#include <procyard/runtime/worker_entries.hpp>

#endif
