//! Commands whose node does not run or does not answer.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::daemon::{Daemon, program, run, wait_until};

#[test]
fn a_missing_node_is_told_from_a_wrong_path() {
    let home = TempDir::new().unwrap();
    let ask = |path: &Path| {
        let shown = path.to_str().unwrap();
        let texts: Vec<_> = [
            &["status"][..],
            &["peers", "--json"],
            &["disconnect", "1"],
            &["ping", "00", "--json"],
        ]
        .iter()
        .map(|command| {
            let key = "00".repeat(32);
            let words = command
                .iter()
                .map(|word| if *word == "00" { &*key } else { word });
            let arguments: Vec<_> = words.chain(["--admin", shown]).collect();
            let output = run(home.path(), &arguments);
            assert!(output.stdout.is_empty(), "{output:?}");
            let text = String::from_utf8(output.stderr).unwrap();
            assert_eq!(text.lines().count(), 1, "{text}");
            assert!(text.contains(shown), "{text}");
            (output.status.code().unwrap(), text)
        })
        .collect();
        assert!(texts.iter().all(|text| *text == texts[0]), "{texts:?}");
        texts[0].clone()
    };
    let says = |path: &Path, code: i32, words: &str| {
        let (found, text) = ask(path);
        assert!(text.contains(words), "{text}");
        assert_eq!(found, code, "{text}");
    };
    let absent = home.path().join("absent.sock");
    says(&absent, 1, ": start one with `pinecone run`");
    says(Path::new("/etc/passwd"), 2, "is not a socket");
    says(Path::new("/etc/passwd/x"), 2, "cannot be a socket");
    says(home.path(), 2, "is not a socket");
    let stale = home.path().join("stale.sock");
    drop(UnixListener::bind(&stale).unwrap());
    says(&stale, 1, "no node listens");

    // A node whose socket file was removed still runs. It does not remove a later file at the same path.
    let mut first = Daemon::start();
    let path = first.admin();
    std::fs::remove_file(&path).unwrap();
    says(&path, 1, "the socket file has been removed");
    let listener = UnixListener::bind(&path).unwrap();
    let id = Pid::from_raw(first.process_id().cast_signed()).unwrap();
    kill_process(id, Signal::TERM).unwrap();
    wait_until("the node to end", || match first.is_running() {
        true => Err("runs"),
        false => Ok(()),
    });
    assert!(path.exists(), "not the node's own file");
    drop(listener);
}

#[test]
fn a_stopped_node_is_reported_in_one_line() {
    let daemon = Daemon::start();
    let key = daemon.key.to_string();
    let ping = ["ping", &key, "-W", "1", "-i", "0.1"];
    let commands = [
        (&["status"][..], "5 s"),
        (&["peers"], "5 s"),
        (&["ping", &key], "5 s"),
        (&["ping", &key, "-W", "60"], "5 s"),
        (&ping, "1 s"),
    ];
    let start = |arguments: &[&str]| {
        let home = tempfile::TempDir::new().unwrap();
        program(home.path())
            .args(arguments)
            .arg("--admin")
            .arg(daemon.admin())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let fails = |mut child: Child, limit: &str| {
        let code = wait_until("the end", || child.try_wait().unwrap().ok_or("runs"));
        let error = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
        assert_eq!(code.code(), Some(1), "{error}");
        let expected = format!("has not answered within {limit}: is it stopped?");
        assert!(error.contains(&expected), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    };
    // This series has begun when the node is stopped.
    let mut begun = start(&ping);
    let mut lines = BufReader::new(begun.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("seq=1")));
    daemon.signal(Signal::STOP);
    let started: Vec<_> = commands
        .map(|(arguments, limit)| (start(arguments), limit))
        .into();
    started
        .into_iter()
        .for_each(|(child, limit)| fails(child, limit));
    fails(begun, "2 s");
    daemon.signal(Signal::CONT);
}
