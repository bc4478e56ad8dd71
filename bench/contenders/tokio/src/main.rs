// SPDX-License-Identifier: BSL-1.0
//
// tokio::process, as its documentation uses it: a current-thread runtime, one task per child.
// Same rounds as the C++ contenders.

use std::cell::RefCell;
use std::collections::HashMap;
use std::process::Stdio;
use std::rc::Rc;
use std::time::Instant;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::LocalSet;

struct Options(HashMap<String, String>);

impl Options {
    fn text(&self, key: &str, otherwise: &str) -> String {
        self.0.get(key).cloned().unwrap_or_else(|| otherwise.into())
    }

    fn number(&self, key: &str, otherwise: i64) -> i64 {
        self.0
            .get(key)
            .map_or(otherwise, |v| v.parse().expect("a number"))
    }

    fn real(&self, key: &str, otherwise: f64) -> f64 {
        self.0
            .get(key)
            .map_or(otherwise, |v| v.parse().expect("a number"))
    }
}

fn us_since(instant: Instant) -> f64 {
    instant.elapsed().as_nanos() as f64 / 1e3
}

fn hold_memory(mib: i64) {
    if mib <= 0 {
        return;
    }
    let bytes = (mib as usize) << 20;
    unsafe {
        let memory = libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        );
        assert!(memory != libc::MAP_FAILED);
        libc::madvise(memory, bytes, libc::MADV_NOHUGEPAGE);
        for at in (0..bytes).step_by(4096) {
            memory.cast::<u8>().add(at).write_volatile(1);
        }
    }
}

fn hold_descriptors(count: i64) {
    unsafe {
        let mut limit = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        assert!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0);
        limit.rlim_cur = limit.rlim_max;
        assert!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit) == 0);
        for _ in 0..count {
            assert!(libc::eventfd(0, libc::EFD_CLOEXEC) != -1);
        }
    }
}

fn pin_to(processor: usize) {
    unsafe {
        if (processor as i64) < libc::sysconf(libc::_SC_NPROCESSORS_ONLN) {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(processor, &mut set);
            libc::sched_setaffinity(0, std::mem::size_of_val(&set), &set);
        }
    }
}

fn enlarge(pipe: &impl std::os::unix::io::AsRawFd, bytes: i64) {
    if bytes != 0 {
        let r = unsafe { libc::fcntl(pipe.as_raw_fd(), libc::F_SETPIPE_SZ, bytes as libc::c_int) };
        assert!(r != -1, "F_SETPIPE_SZ");
    }
}

fn anonymous_bytes() -> f64 {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").expect("smaps_rollup");
    let line = rollup
        .lines()
        .find(|l| l.starts_with("Anonymous:"))
        .expect("Anonymous:");
    let kib = line.split_whitespace().nth(1).expect("a value");
    kib.parse::<f64>().expect("a number") * 1024.0
}

fn start(program: &str) -> Child {
    Command::new(program).spawn().expect("spawn")
}

async fn spawn(options: Options) {
    let program = options.text("program", "/bin/true");
    hold_memory(options.number("memory_mib", 0));
    start(&program).wait().await.expect("wait");
    hold_descriptors(options.number("descriptors", 0));
    let seconds = options.real("seconds", 0.3);

    let begin = Instant::now();
    let figures = Rc::new(RefCell::new((0_i64, 0.0_f64))); // children, µs in calls
    let tasks = LocalSet::new();
    for _ in 0..options.number("in_flight", 1) {
        let program = program.clone();
        let figures = figures.clone();
        tasks.spawn_local(async move {
            while begin.elapsed().as_secs_f64() < seconds || figures.borrow().0 < 4 {
                let before = Instant::now();
                let mut child = start(&program);
                {
                    let mut figures = figures.borrow_mut();
                    figures.0 += 1;
                    figures.1 += us_since(before);
                }
                assert!(child.wait().await.expect("wait").success());
            }
        });
    }
    tasks.await;
    let (children, in_calls) = *figures.borrow();
    let n = children as f64;
    println!(
        "{{\"us\": {}, \"call_us\": {}, \"children\": {}}}",
        us_since(begin) / n,
        in_calls / n,
        n
    );
}

/// Starts a child and a task that waits for it.
async fn start_waiting(program: &str, sender: &mpsc::UnboundedSender<()>) -> i32 {
    let mut child = start(program);
    let pid = child.id().expect("a pid") as i32;
    let sender = sender.clone();
    tokio::task::spawn_local(async move {
        child.wait().await.expect("wait");
        sender.send(()).expect("the receiver");
    });
    tokio::task::yield_now().await; // lets the task begin
    pid
}

fn kill_all(pids: &[i32]) {
    for &pid in pids {
        unsafe { libc::kill(pid, libc::SIGKILL) };
    }
}

fn wait_for_zombies(pids: &[i32]) {
    for &pid in pids {
        unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let options = libc::WEXITED | libc::WNOWAIT;
            while libc::waitid(libc::P_PID, pid as libc::id_t, &mut info, options) != 0 {}
        }
    }
}

async fn receive(exits: &mut mpsc::UnboundedReceiver<()>, count: usize) {
    for _ in 0..count {
        exits.recv().await.expect("an exit");
    }
}

async fn measure_children(options: Options) {
    let program = options.text("program", "");
    let count = options.number("count", 1000);
    hold_descriptors(0);
    let mut pids: Vec<i32> = vec![0; count as usize];
    let (sender, mut exits) = mpsc::unbounded_channel::<()>();
    kill_all(&[start_waiting(&program, &sender).await]);
    receive(&mut exits, 1).await;

    let bytes_before = anonymous_bytes();
    let begin = Instant::now();
    for pid in pids.iter_mut() {
        *pid = start_waiting(&program, &sender).await;
    }
    let call_us = us_since(begin) / count as f64;
    let bytes = (anonymous_bytes() - bytes_before) / count as f64;

    let mut seen = Vec::new();
    for i in 0..options.number("samples", 31) {
        let victim = pids.swap_remove((i as usize * 7919) % pids.len());
        let before = Instant::now();
        kill_all(&[victim]);
        receive(&mut exits, 1).await;
        seen.push(us_since(before));
    }
    seen.sort_by(f64::total_cmp);

    let before = Instant::now();
    kill_all(&pids);
    receive(&mut exits, pids.len()).await;
    let killed_us = us_since(before) / pids.len() as f64;

    pids.truncate(500);
    for pid in pids.iter_mut() {
        *pid = start_waiting(&program, &sender).await;
    }
    kill_all(&pids);
    wait_for_zombies(&pids);
    let before = Instant::now();
    receive(&mut exits, pids.len()).await;
    let reap_us = us_since(before) / pids.len() as f64;
    println!(
        "{{\"bytes\": {}, \"call_us\": {}, \"seen_us\": {}, \"killed_us\": {}, \"reap_us\": {}}}",
        bytes,
        call_us,
        seen[seen.len() / 2],
        killed_us,
        reap_us
    );
}

async fn children(options: Options) {
    LocalSet::new().run_until(measure_children(options)).await;
}

fn writer(options: &Options, kind: &str) -> Command {
    let mut command = Command::new(options.text("child", ""));
    command.args([
        kind,
        &format!("bytes={}", options.number("bytes", 0)),
        "processor=1",
    ]);
    command.stdout(Stdio::piped());
    command
}

async fn stdout(options: Options) {
    pin_to(0);
    let begin = Instant::now();
    let mut child = writer(&options, "write").spawn().expect("spawn");
    let mut out = child.stdout.take().expect("stdout");
    enlarge(&out, options.number("pipe_bytes", 0));
    let mut buffer = vec![0_u8; options.number("read_bytes", 65536) as usize];
    let mut total = 0;
    loop {
        let n = out.read(&mut buffer).await.expect("read");
        if n == 0 {
            break;
        }
        total += n;
    }
    assert!(child.wait().await.expect("wait").success());
    assert!(total as i64 == options.number("bytes", 0));
    println!("{{\"gb_per_s\": {}}}", total as f64 / us_since(begin) / 1e3);
}

async fn copy(options: Options) {
    pin_to(0);
    let begin = Instant::now();
    let mut child = writer(&options, "write").spawn().expect("spawn");
    let mut sink = Command::new(options.text("child", ""))
        .args(["sink", "processor=1"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("spawn");
    let mut out = child.stdout.take().expect("stdout");
    let mut into = sink.stdin.take().expect("stdin");
    enlarge(&out, options.number("pipe_bytes", 0));
    enlarge(&into, options.number("pipe_bytes", 0));
    // tokio::io::copy has a fixed buffer of 8 KiB; with the row's read size this is the faster way.
    let mut buffer = vec![0_u8; options.number("read_bytes", 65536) as usize];
    let mut total = 0;
    loop {
        let n = out.read(&mut buffer).await.expect("read");
        if n == 0 {
            break;
        }
        into.write_all(&buffer[..n]).await.expect("write");
        total += n;
    }
    drop(into);
    assert!(child.wait().await.expect("wait").success());
    assert!(sink.wait().await.expect("wait").success());
    assert!(total as i64 == options.number("bytes", 0));
    println!("{{\"gb_per_s\": {}}}", total as f64 / us_since(begin) / 1e3);
}

async fn lines(options: Options) {
    pin_to(0);
    let begin = Instant::now();
    let mut child = writer(&options, "lines").spawn().expect("spawn");
    let out = child.stdout.take().expect("stdout");
    enlarge(&out, options.number("pipe_bytes", 0));
    let mut out = BufReader::with_capacity(options.number("read_bytes", 65536) as usize, out);
    let mut line = Vec::new();
    let mut total = 0;
    while out.read_until(b'\n', &mut line).await.expect("read") != 0 {
        total += line.len();
        line.clear();
    }
    assert!(child.wait().await.expect("wait").success());
    assert!(total as i64 == options.number("bytes", 0));
    println!("{{\"gb_per_s\": {}}}", total as f64 / us_since(begin) / 1e3);
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_default();
    let options = Options(
        arguments
            .map(|a| {
                let (key, value) = a.split_once('=').expect("key=value");
                (key.into(), value.into())
            })
            .collect(),
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("runtime");
    match command.as_str() {
        // Cargo tells a crate its own version only: bench/run.sh reads this one from the lock file.
        "version" => println!("tokio {}", option_env!("BENCH_TOKIO_VERSION").unwrap_or("")),
        "spawn" => runtime.block_on(spawn(options)),
        "children" => runtime.block_on(children(options)),
        "stdout" => runtime.block_on(stdout(options)),
        "copy" => runtime.block_on(copy(options)),
        "lines" => runtime.block_on(lines(options)),
        _ => {
            eprintln!("bench_tokio spawn | children | stdout | copy | lines");
            std::process::exit(1);
        }
    }
}
