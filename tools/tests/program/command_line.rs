//! Options, exit codes, and the messages for mistakes.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use tempfile::TempDir;

use crate::daemon::{collect, program, run, wait_until};
use crate::outcome::{KEY, assert_fails, ended, text};

#[test]
fn wrong_flags_end_with_one_line_and_code_2() {
    let home = TempDir::new().unwrap();
    for (arguments, words) in [
        (
            &["--frobnicate"][..],
            &["--frobnicate", "(see pinecone --help)"][..],
        ),
        (
            &["ping", "--frobnicate"],
            &["--frobnicate", "(see pinecone ping --help)"],
        ),
        (&["frobnicate"], &["frobnicate"]),
        (&["run", "--workers", "0"], &["--workers", "from 1 to 250"]),
        (
            &["run", "--workers", "many"],
            &["--workers", "whole number"],
        ),
        (&["run", "--control-core", "x"], &["a whole number"]),
        (&["run", "--worker-cores", "3-1"], &["3-1"]),
        (
            &["run", "--worker-cores", "4000"],
            &["core 4000", "this process may use"],
        ),
        (&["run", "--control-core", "4000"], &["core 4000"]),
        (
            &["run", "--workers", "3", "--worker-cores", "0"],
            &["one core for each worker"],
        ),
        (
            &["run", "--engine", "steam"],
            &["steam", "auto, uring or epoll"],
        ),
        (
            &["run", "--limit", "max-rutes=5"],
            &["max-rutes", "max-routes"],
        ),
        (
            &["run", "--limit", "max-routes=0"],
            &["max-routes", "from 1 to"],
        ),
        (&["run", "--limit", "max-routes"], &["max-routes=500000"]),
        (
            &["run", "--limit", "max-pending-bytes=5"],
            &["max-pending-bytes", "from 65536 to"],
        ),
        (&["run", "--verify-threads", "65"], &["--verify-threads"]),
        (
            &["run", "--busy-poll", "0"],
            &["--busy-poll", "from 1 to 60000000"],
        ),
        (&["run", "--sqpoll", "4000"], &["core 4000"]),
        (
            &["run", "--worker-cores", "0", "--sqpoll", "0"],
            &["--sqpoll 0", "a core of its own"],
        ),
        (
            &["run", "--engine", "epoll", "--sqpoll", "0"],
            &["--sqpoll needs io_uring"],
        ),
        (
            &["run", "--engine", "epoll", "--zerocopy", "65536"],
            &["--zerocopy needs io_uring"],
        ),
        (
            &["run", "--zerocopy", "0"],
            &["--zerocopy", "from 1 to 524288"],
        ),
        (
            &["run", "--batch-wait", "1001"],
            &["--batch-wait", "from 0 to 1000"],
        ),
        (&["run", "--hop-limiting=maybe"], &["maybe", "on, off"]),
        (
            &["run", "--hop-limiting", "on", "--listen", "65432"],
            &["--listen"],
        ),
        (&["run", "--queue", "0"], &["--queue", "of 1 or more"]),
        (
            &["run", "--port-queue", "0"],
            &["--port-queue", "of 1 or more"],
        ),
        (&["run", "--listen", "65432"], &["--listen", "host:port"]),
        (&["run", "--listen", "::1:65432"], &["in brackets"]),
        (&["run", "--connect", "peer"], &["--connect", "host:port"]),
        (&["run", "--connect", ""], &["--connect", "no address"]),
        (&["recv", "--connect", ","], &["--connect", "no address"]),
        (
            &["ping", KEY, "--connect", ""],
            &["--connect", "no address"],
        ),
        (&["run", "--connect", "a:0"], &["host:port"]),
        (&["run", "--connect", "a:70000"], &["a:70000", "65535"]),
        (&["run", "--connect", "gopher://a:1"], &["gopher"]),
        (
            &["run", "--connect", "a:1,b:2?colour=red"],
            &["--connect", "unknown option", "colour", "key="],
        ),
        (
            &["run", "--connect", "a:1?sni=b"],
            &["sni=", "tls://", "omit it"],
        ),
        (
            &["run", "--listen", "tcp://:1?maxbackoff=1s"],
            &["--listen", "maxbackoff="],
        ),
        (
            &["run", "--listen", "tcp://:1?priority=999"],
            &["--listen", "0 to 255"],
        ),
        (&["run", "--listen-ws", "8080"], &["--listen-ws", "8080"]),
        (&["run", "--listenws", "a:b"], &["--listen-ws", "ws://a:b"]),
        (
            &["bench", "--through", "a:1?priority=1"],
            &["--through", "plain TCP"],
        ),
        (&["run", "--log", "=,="], &["--log", "log level"]),
        (&["run", "--log", "inof"], &["inof", "log level"]),
        (&["run", "--log", "info,inof"], &["inof", "log level"]),
        (
            &["run", "--log", "pinecone_controlplain=debug"],
            &["pinecone_controlplain", "pinecone_controlplane"],
        ),
        (&["ping", KEY, "--log", "warm"], &["warm", "log level"]),
        (
            &["recv", "--connect", "a:1", "--log", "warm"],
            &["warm", "log level"],
        ),
        (
            &["bench", "--through", "a:1", "--log", "warm"],
            &["warm", "log level"],
        ),
        (
            &["run", "--key-file", "a", "--secretkey", KEY],
            &["cannot be used with"],
        ),
        (&["ping"], &["<KEY>"]),
        (&["ping", "abc"], &["64 hexadecimal digits"]),
        (&["ping", KEY, "-c", "0"], &["-c", "of 1 or more"]),
        (&["ping", KEY, "-i", "0"], &["seconds"]),
        (
            &["ping", KEY, "--connect", "a:1", "--admin", "b"],
            &["cannot be used with"],
        ),
        (&["send", KEY], &["--connect"]),
        (
            &["send", KEY, "--connect", "a:1", "-s", "70000"],
            &["--size"],
        ),
        (&["recv", "--connect", "nonsense"], &["host:port"]),
        (&["disconnect", "-1"], &["-1"]),
    ] {
        assert_fails(&run(home.path(), arguments), 2, words);
    }
    let left: Vec<_> = fs::read_dir(home.path()).unwrap().collect();
    assert!(
        left.is_empty(),
        "no key is made for a wrong command: {left:?}"
    );
}

#[test]
fn a_mistyped_level_in_the_environment_is_refused() {
    let home = TempDir::new().unwrap();
    let with = |value: &str| {
        program(home.path())
            .args(["recv", "--connect", "127.0.0.1:0"])
            .env("RUST_LOG", value)
            .output()
            .unwrap()
    };
    assert_fails(&with("inof"), 2, &["RUST_LOG", "inof", "log level"]);
    // Filters for other programs are ignored.
    assert_fails(&with("hyper=debug"), 2, &["--connect"]);
}

#[test]
fn an_admin_socket_in_a_missing_directory_ends_with_code_2() {
    let home = TempDir::new().unwrap();
    let missing = home.path().join("missing/admin.sock");
    let shown = missing.to_str().unwrap();
    let output = run(
        home.path(),
        &["run", "--listen", "127.0.0.1:0", "--admin", shown],
    );
    assert_fails(&output, 2, &["--admin", shown, "does not exist"]);
    let long = home.path().join("x".repeat(200));
    let output = run(
        home.path(),
        &[
            "run",
            "--listen",
            "127.0.0.1:0",
            "--admin",
            long.to_str().unwrap(),
        ],
    );
    assert_fails(&output, 2, &["admin socket", "--admin"]);
    let left: Vec<_> = fs::read_dir(home.path()).unwrap().collect();
    assert!(left.is_empty(), "not even a key is made: {left:?}");
}

#[test]
fn what_cannot_be_reached_ends_with_code_1() {
    let home = TempDir::new().unwrap();
    let run = |arguments: &[&str]| run(home.path(), arguments);
    let name = "no-such-host.invalid:65432";
    for command in [
        &["recv", "--connect", name][..],
        &["send", KEY, "--connect", name],
        &["run", "--listen", name],
    ] {
        assert_fails(
            &run(command),
            1,
            &["no-such-host.invalid", "does not resolve"],
        );
    }
}

#[test]
fn mistakes_on_the_command_line_are_reported_before_the_admin_socket_is_made() {
    let home = TempDir::new().unwrap();
    let key = home.path().join("key");
    fs::write(&key, "no key").unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let key = key.to_str().unwrap();
    let arguments = ["run", "--key-file", key, "--admin", "/nonexistent/socket"];
    assert_fails(&run(home.path(), &arguments), 2, &[key, "malformed"]);
}

#[test]
fn the_version_is_the_programs() {
    let home = TempDir::new().unwrap();
    let version = concat!("pinecone ", env!("CARGO_PKG_VERSION"));
    assert_eq!(text(&run(home.path(), &["--version"])), version);
}

#[test]
fn the_cause_of_a_wait_is_said_at_once_and_at_the_end() {
    let home = TempDir::new().unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap().to_string();
    drop(closed);
    // A peer that never sends a byte.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let list = format!("{address},{}", silent.local_addr().unwrap());
    let start = std::time::Instant::now();
    let programs: Vec<_> = [
        &["send", KEY, "--connect", &list][..],
        &["recv", "--connect", &list],
        &["ping", KEY, "--connect", &list],
        &["ping", KEY, "--json", "--connect", &list],
    ]
    .into_iter()
    .map(|arguments| {
        let mut child = program(home.path())
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = collect(child.stderr.take().unwrap());
        (child, said)
    })
    .collect();
    for (mut child, said) in programs {
        wait_until("the cause", || {
            let said = said.lock().unwrap();
            let known = said.contains(&address) && said.contains("refused");
            if known { Ok(()) } else { Err(said.clone()) }
        });
        let waits = start.elapsed() < std::time::Duration::from_secs(15);
        assert!(!waits || child.try_wait().unwrap().is_none());
        let output = wait_until("the end", || child.try_wait().unwrap().ok_or("runs"));
        assert_eq!(output.code(), Some(1));
        let mut printed = String::new();
        std::io::Read::read_to_string(child.stdout.as_mut().unwrap(), &mut printed).unwrap();
        assert_eq!(printed, "", "there is no result");
        wait_until("the last words", || {
            let said = said.lock().unwrap();
            let last = said.lines().last().unwrap_or_default();
            let full = last.contains("no peering came up within 15 s")
                && last.contains(&address)
                && last.contains("refused")
                && last.contains(&silent.local_addr().unwrap().to_string());
            if full { Ok(()) } else { Err(said.clone()) }
        });
    }
}

#[test]
fn ping_bounds_the_wait_for_a_peering() {
    let home = TempDir::new().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let arguments = ["ping", KEY, "-W", "0.5", "--connect", &address];
    let output = ended(program(home.path()).args(arguments).stdin(Stdio::null()));
    assert_fails(&output, 1, &["no peering came up within 0.5 s", &address]);
}
