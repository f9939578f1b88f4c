//! Signals to the daemon and to waiting commands.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::daemon::{Daemon, program, wait_until};

const KEY: &str = "4242424242424242424242424242424242424242424242424242424242424242";

fn kill(daemon: &Daemon, signal: Signal) {
    let id = Pid::from_raw(daemon.process_id() as i32).unwrap();
    kill_process(id, signal).unwrap();
}

#[test]
fn hangups_and_user_signals_are_logged_and_nothing_more() {
    let mut daemon = Daemon::start();
    kill(&daemon, Signal::HUP);
    daemon.wait_for_log("nothing to reload");
    for (signal, name) in [(Signal::USR1, "SIGUSR1"), (Signal::USR2, "SIGUSR2")] {
        kill(&daemon, signal);
        daemon.wait_for_log(name);
    }
    assert!(daemon.is_running());
    assert_eq!(daemon.status()["reply"], "status");
}

#[test]
fn two_signals_at_once_are_one() {
    for (first, second) in [
        (Signal::TERM, Signal::INT),
        (Signal::INT, Signal::TERM),
        (Signal::TERM, Signal::TERM),
    ] {
        for _ in 0..5 {
            let daemon = Daemon::start();
            kill(&daemon, first);
            let (status, log) = daemon.end(second);
            assert_eq!(status.code(), Some(0), "{log}");
        }
    }
}

/// Starts a command and sends the signal when `arrived` returns.
fn stop(arguments: &[&str], signal: Signal, arrived: impl FnOnce()) -> Output {
    let home = TempDir::new().unwrap();
    let mut child: Child = program(home.path())
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    arrived();
    kill_process(Pid::from_child(&child), signal).unwrap();
    wait_until("the command to end", || {
        child.try_wait().unwrap().ok_or("runs")
    });
    child.wait_with_output().unwrap()
}

#[test]
fn commands_that_wait_for_a_peering_end_on_signals() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    for (signal, name) in [(Signal::TERM, "SIGTERM"), (Signal::INT, "SIGINT")] {
        for command in [&["ping", KEY][..], &["send", KEY], &["recv"]] {
            let arguments = [command, &["--connect", &address]].concat();
            let mut stream = None;
            // The command waits for a handshake that never arrives.
            let output = stop(&arguments, signal, || stream = listener.accept().ok());
            assert!(stream.is_some());
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{command:?}: {said}");
            assert!(
                said.contains(&format!("stopped by {name}")),
                "{command:?}: {said}"
            );
        }
    }
    // The command does not handle signals while it connects, and SIGINT may be ignored here.
    let mut stream = None;
    let output = stop(&["bench", "--through", &address], Signal::TERM, || {
        stream = listener.accept().ok();
    });
    assert_eq!(
        output.status.signal(),
        Some(Signal::TERM.as_raw()),
        "{output:?}"
    );
}

#[test]
fn commands_that_wait_for_the_running_node_end_on_signals() {
    let home = TempDir::new().unwrap();
    let path = home.path().join("silent.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let path = path.to_str().unwrap();
    for command in [&["status"][..], &["peers"], &["disconnect", "1"]] {
        let arguments = [command, &["--admin", path]].concat();
        let mut stream = None;
        let output = stop(&arguments, Signal::TERM, || stream = listener.accept().ok());
        let ended_by = output.status.signal();
        assert_eq!(ended_by, Some(Signal::TERM.as_raw()), "{output:?}");
    }
    let arguments = ["ping", KEY, "--admin", path];
    let mut stream = None;
    let output = stop(&arguments, Signal::INT, || {
        let mut request = BufReader::new(listener.accept().unwrap().0);
        request.read_line(&mut String::new()).unwrap();
        stream = Some(request);
    });
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("0 answered"), "{said}");
}
