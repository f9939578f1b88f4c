//! The start of a node: its banner, failures with advice, and the end by a signal.

use std::fs;
use std::net::TcpListener;
use std::process::Stdio;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::daemon::{Daemon, Start, collect, key, program, run, wait_until, write_key};
use crate::outcome::{assert_fails, ended};

#[test]
fn failed_starts_report_the_cause_and_the_remedy() {
    let home = TempDir::new().unwrap();
    // 192.0.2.0/24 is for documentation: no host has an address of it.
    let output = run(home.path(), &["run", "--listen", "192.0.2.1:0"]);
    assert_fails(&output, 1, &["192.0.2.1:0", "--listen-retry"]);
    for (files, command) in [
        (
            18,
            &["run", "--log", "error", "--listen", "127.0.0.1:0"][..],
        ),
        (15, &["run", "--log", "error"]),
        (7, &["run", "--log", "error"]),
        (6, &["status"]),
        (5, &["recv", "--connect", "127.0.0.1:1"]),
    ] {
        let mut limited = std::process::Command::new("sh");
        limited
            .args(["-c", "ulimit -n $0 && exec \"$@\""])
            .args([&files.to_string(), env!("CARGO_BIN_EXE_pinecone")])
            .args(command)
            .env("XDG_STATE_HOME", home.path())
            .env("XDG_RUNTIME_DIR", home.path());
        let output = ended(&mut limited);
        let limit = format!("the limit on open files is {files}; a node needs 40");
        assert_fails(&output, 1, &[&limit, "ulimit -n", "LimitNOFILE="]);
    }
}

#[test]
fn the_banner_says_how_many_files_may_be_open() {
    let start = |files| {
        let files = Some(files);
        let start = Start {
            files,
            ..Start::default()
        };
        start.run()
    };
    let daemon = start(256);
    let line = "files       256 may be open, which leaves room for 2";
    assert!(daemon.banner.contains(line), "{}", daemon.banner);

    let daemon = start(24);
    daemon.wait_for_log("no peer can connect: the limit on open files is 24; a node needs 40");
    let line = "files       24 may be open, which leaves room for 0 peerings\n";
    assert!(daemon.banner.contains(line), "{}", daemon.banner);

    let daemon = start(40);
    let peer = daemon.start_peer();
    wait_until("a peering", || daemon.peer(&peer.key).ok_or("none"));
    assert!(!daemon.log().contains("no peer can connect"));
}

#[test]
fn a_port_in_use_is_said() {
    let home = TempDir::new().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run(home.path(), &["run", "--listen", &address]);
    assert_fails(&output, 1, &[&address, "in use", "--listen"]);
    assert!(!home.path().join("pinecone.sock").exists());
}

#[test]
fn signals_end_it_with_code_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let daemon = Daemon::start();
        let peer = daemon.start_peer();
        daemon.wait_for_ping(&peer.key);
        let (admin, key) = (daemon.admin(), daemon.key);
        let (status, log) = daemon.end(signal);
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(log.contains("closing all peerings"), "{log}");
        assert!(!admin.exists());
        wait_until("the peering to end", || peer.peer(&key).map_or(Ok(()), Err));
    }
}

#[test]
fn the_banner_says_what_runs() {
    let home = TempDir::new().unwrap();
    let key_file = home.path().join("key");
    write_key(&key_file, 7);
    let mut child = program(home.path())
        .args([
            "run",
            "--listen",
            "127.0.0.1:0",
            "--listen",
            "[::1]:0",
            "--worker-cores",
            "0",
            "--busy-poll",
            "50",
        ])
        .args([
            "--control-core",
            "0",
            "--hop-limiting",
            "--wakeup-broadcasts=off",
            "--wakeup-hops",
            "3",
            "--correct-paths",
        ])
        .args(["--key-file", key_file.to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let stdout = collect(child.stdout.take().unwrap());
    wait_until("the banner", || {
        let text = stdout.lock().unwrap();
        if text.contains("admin  ") {
            Ok(())
        } else {
            Err(text.clone())
        }
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let text = stdout.lock().unwrap().clone();
    for words in [
        format!("public key  {}\n", key(7).public_key()),
        "listening   127.0.0.1:".to_owned(),
        "listening   [::1]:".to_owned(),
        "engine      ".to_owned(),
        ", busy polling for 50 us)\n".to_owned(),
        "workers     1, on cores 0\n".to_owned(),
        format!(
            "admin       {}\n",
            home.path().join("pinecone.sock").display()
        ),
    ] {
        assert!(text.contains(&words), "{words:?} is missing: {text}");
    }
}

#[test]
fn a_second_daemon_does_not_take_the_socket_of_the_first() {
    let daemon = Daemon::start();
    let home = TempDir::new().unwrap();
    let admin = daemon.admin();
    let shown = admin.to_str().unwrap();
    let output = run(
        home.path(),
        &["run", "--listen", "127.0.0.1:0", "--admin", shown],
    );
    assert_fails(&output, 1, &[shown, "another node", "--admin"]);
    assert_eq!(daemon.status()["public_key"], daemon.key.to_string());
    // No other file is replaced either.
    let file = home.path().join("file");
    fs::write(&file, "mine").unwrap();
    let shown = file.to_str().unwrap();
    let output = run(
        home.path(),
        &["run", "--listen", "127.0.0.1:0", "--admin", shown],
    );
    assert_fails(&output, 2, &[shown, "not a socket"]);
    assert_eq!(fs::read(&file).unwrap(), b"mine");
}

#[test]
fn the_banner_is_not_logged_to_the_same_place() {
    let home = TempDir::new().unwrap();
    let (read, write) = std::io::pipe().unwrap();
    let mut child = program(home.path())
        .args(["run", "--listen", "127.0.0.1:0"])
        .stdout(write.try_clone().unwrap())
        .stderr(write)
        .spawn()
        .unwrap();
    let said = collect(read);
    wait_until("an answer", || {
        let output = run(home.path(), &["status"]);
        if output.status.success() {
            Ok(())
        } else {
            Err("none")
        }
    });
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(id, Signal::TERM).unwrap();
    child.wait().unwrap();
    wait_until("the end of the log", || {
        let said = said.lock().unwrap();
        if said.contains("node closed") {
            Ok(())
        } else {
            Err(said.clone())
        }
    });
    let said = said.lock().unwrap().clone();
    for once in ["127.0.0.1:", "io_uring", "admin  "] {
        let lines = said.lines().filter(|line| line.contains(once)).count();
        assert_eq!(lines, 1, "{once}: {said}");
    }
    assert!(!said.contains("node started"), "{said}");
    // If they differ, each gets a line.
    let daemon = Daemon::start();
    daemon.wait_for_log("node started");
}
