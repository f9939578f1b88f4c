//! Flags, keys, exit codes, and what is said when something is wrong.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Output, Stdio};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::daemon::{Daemon, Start, collect, key, program, run, wait_until, write_key};

const KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// The program says one line on standard error and nothing on standard output.
fn assert_fails(output: &Output, code: i32, words: &[&str]) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{error}");
    assert!(output.stdout.is_empty(), "{output:?}");
    // What was logged before goes its own way.
    let lines: Vec<_> = error.lines().filter(|l| !l.contains(" INFO ")).collect();
    assert_eq!(lines.len(), 1, "{error}");
    assert!(lines[0].starts_with("pinecone: "), "{error}");
    for word in words {
        assert!(lines[0].contains(word), "{word:?} is missing: {error}");
    }
}

/// Runs a program that ends by itself, within a deadline.
fn ended(program: &mut std::process::Command) -> Output {
    let program = program.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = program.spawn().unwrap();
    wait_until("the program to end", || {
        child.try_wait().unwrap().ok_or("runs")
    });
    child.wait_with_output().unwrap()
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone())
        .unwrap()
        .trim()
        .to_owned()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

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
fn malformed_keys_end_with_code_2() {
    let home = TempDir::new().unwrap();
    let run = |arguments: &[&str]| run(home.path(), arguments);
    assert_fails(
        &run(&["run", "--secretkey", "12"]),
        2,
        &["--secretkey", "genkey"],
    );
    assert_fails(
        &run(&["pubkey", "--secretkey", "12"]),
        2,
        &["64 hexadecimal digits"],
    );
    assert_fails(&run(&["pubkey"]), 2, &["standard input", "empty"]);
    let path = home.path().join("key");
    let shown = path.to_str().unwrap();
    let longer = format!("{KEY}00");
    for (content, word) in [
        (&b"no key"[..], "64 hexadecimal digits"),
        (b"", "empty"),
        (b" \n", "empty"),
        (b"\xff\xfe\x00\x01", "not text"),
        (&[0xff; 100_000], "longer than 1024 bytes"),
        (&KEY.as_bytes()[1..], "63 characters"),
        (longer.as_bytes(), "66 characters"),
        (&[b'0'; 2_000_000], "longer than 1024 bytes"),
    ] {
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        for command in [
            &["run"][..],
            &["pubkey"],
            &["send", KEY, "--connect", "127.0.0.1:1"],
            &["recv", "--connect", "127.0.0.1:1"],
        ] {
            let arguments = [command, &["--key-file", shown]].concat();
            assert_fails(&run(&arguments), 2, &[shown, "malformed", word]);
        }
        let mut program = program(home.path());
        let input = fs::File::open(&path).unwrap();
        let output = ended(program.arg("pubkey").stdin(input));
        assert_fails(&output, 2, &["standard input", word]);
    }
}

#[test]
fn what_is_no_key_file_ends_with_code_2() {
    let home = TempDir::new().unwrap();
    let fifo = home.path().join("fifo");
    let status = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(status.unwrap().success());
    let socket = home.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let missing = home.path().join("missing/key");
    let beneath_a_file = socket.join("key");
    for (path, word) in [
        (fifo.as_path(), "is a FIFO"),
        (&socket, "is a socket"),
        (home.path(), "is a directory"),
        (Path::new("/dev/tty"), "is a device"),
        (&missing, "missing"),
        (&beneath_a_file, "socket/key"),
    ] {
        let shown = path.to_str().unwrap();
        for command in [
            &["run"][..],
            &["pubkey"],
            &["send", KEY, "--connect", "127.0.0.1:1"],
            &["recv", "--connect", "127.0.0.1:1"],
        ] {
            // None of them waits.
            let mut program = program(home.path());
            program.args(command).args(["--key-file", shown]);
            let output = ended(program.stdin(Stdio::null()));
            assert_fails(&output, 2, &[shown, word, "--key-file"]);
        }
    }
    // A mistyped path does not become a new identity.
    let shown = missing.to_str().unwrap();
    let advice = "does not exist: create it, or correct the path";
    let output = run(home.path(), &["run", "--key-file", shown]);
    assert_fails(&output, 2, &[shown, advice]);
    let output = run(home.path(), &["genkey", "--key-file", shown]);
    assert_fails(&output, 2, &[shown, advice]);
    assert!(!missing.parent().unwrap().exists());
    let shown = home.path().to_str().unwrap();
    let output = run(home.path(), &["genkey", "--key-file", shown]);
    assert_fails(&output, 2, &[shown, "is a directory"]);
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
fn keys_that_cannot_be_read_end_with_code_1() {
    let home = TempDir::new().unwrap();
    let path = home.path().join("key");
    let shown = path.to_str().unwrap();
    fs::write(&path, KEY).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let advice = format!("run chmod 600 {shown}");
    assert_fails(
        &run(home.path(), &["run", "--key-file", shown]),
        1,
        &["mode 0644", &advice],
    );
}

#[test]
fn a_key_is_for_one_node_at_a_time() {
    let daemon = Daemon::start();
    let home = TempDir::new().unwrap();
    let path = daemon.key_file();
    let shown = path.to_str().unwrap();
    let key_file = ["--key-file", shown];
    for command in [
        &["run", "--listen", "127.0.0.1:0"][..],
        &["send", KEY, "--connect", daemon.address()],
        &["recv", "--connect", daemon.address()],
    ] {
        let output = run(home.path(), &[command, &key_file].concat());
        assert_fails(&output, 1, &["another node", shown, "--key-file"]);
    }
    assert!(!home.path().join("pinecone.sock").exists());
    // By another name it is the same file.
    let link = home.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let shown = link.to_str().unwrap();
    let output = run(home.path(), &["run", "--key-file", shown]);
    assert_fails(&output, 1, &["another node", shown]);
    // Its public key may be asked for, and another key may be made beside it.
    let output = run(home.path(), &[&["pubkey"][..], &key_file].concat());
    assert_eq!(text(&output), daemon.key.to_string());
    let other = home.path().join("other");
    text(&run(
        home.path(),
        &["genkey", "--key-file", other.to_str().unwrap()],
    ));
    // Whoever holds it: a node for the moment does as well.
    let idle = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = idle.local_addr().unwrap().to_string();
    let mut receiver = program(home.path())
        .args(["recv", "--connect", &address, "--key-file"])
        .arg(&other)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    idle.accept().unwrap();
    let shown = other.to_str().unwrap();
    let output = run(home.path(), &["run", "--key-file", shown]);
    receiver.kill().unwrap();
    receiver.wait().unwrap();
    assert_fails(&output, 1, &["another node", shown]);
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
fn what_keeps_a_node_from_starting_is_said_with_the_remedy() {
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
fn a_port_in_use_is_said() {
    let home = TempDir::new().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run(home.path(), &["run", "--listen", &address]);
    assert_fails(&output, 1, &[&address, "in use", "--listen"]);
    assert!(!home.path().join("pinecone.sock").exists());
}

#[test]
fn keys_go_round() {
    let home = TempDir::new().unwrap();
    let secret = text(&run(home.path(), &["genkey"]));
    assert_eq!(secret.len(), 64);
    assert_ne!(secret, text(&run(home.path(), &["genkey"])));
    let public = text(&run(home.path(), &["pubkey", "--secretkey", &secret]));
    assert_eq!(
        public,
        secret
            .parse::<pinecone_wire::SecretKey>()
            .unwrap()
            .public_key()
            .to_string()
    );

    let mut child = program(home.path())
        .arg("pubkey")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(child.stdin.take().unwrap(), "{secret}").unwrap();
    assert_eq!(text(&child.wait_with_output().unwrap()), public);

    let path = home.path().join("key");
    let shown = path.to_str().unwrap();
    let public = text(&run(home.path(), &["genkey", "--key-file", shown]));
    assert_eq!(mode(&path), 0o600);
    assert_eq!(
        text(&run(home.path(), &["pubkey", "--key-file", shown])),
        public
    );
    // The default directory is made whoever names it.
    let default = home.path().join("state/pinecone/key");
    text(&run(
        home.path(),
        &["genkey", "--key-file", default.to_str().unwrap()],
    ));
    assert_eq!(mode(default.parent().unwrap()), 0o700);
    let again = run(home.path(), &["genkey", "--key-file", shown]);
    assert_fails(&again, 1, &[shown, "exists"]);
    assert_eq!(
        text(&run(home.path(), &["pubkey", "--key-file", shown])),
        public
    );
}

#[test]
fn the_first_start_makes_a_key_that_later_ones_keep() {
    let home = TempDir::new().unwrap();
    let start = || {
        // The default paths, so not by `Start`.
        let mut child = program(home.path())
            .args(["--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut banner = std::io::BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        std::io::BufRead::read_line(&mut banner, &mut line).unwrap();
        wait_until("the admin socket", || {
            run(home.path(), &["status"])
                .status
                .success()
                .then_some(())
                .ok_or("no answer")
        });
        let file = home.path().join("state/pinecone/key");
        assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
        assert_eq!(mode(&home.path().join("pinecone.sock")), 0o600);
        child.kill().unwrap();
        child.wait().unwrap();
        line
    };
    let first = start();
    assert!(first.starts_with("public key  "), "{first}");
    // Killed, it leaves its socket behind, and the next one takes it over.
    assert!(home.path().join("pinecone.sock").exists());
    assert_eq!(start(), first);
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
fn a_secret_key_on_the_command_line_works_with_a_warning() {
    let directory = TempDir::new().unwrap();
    let admin = directory.path().join("a.sock");
    let secret = hex::encode([9; 32]);
    let mut child = program(directory.path())
        .args([
            "run",
            "--listen",
            "127.0.0.1:0",
            "--secretkey",
            &secret,
            "--admin",
        ])
        .arg(&admin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = collect(child.stdout.take().unwrap());
    let stderr = collect(child.stderr.take().unwrap());
    let public = key(9).public_key().to_string();
    wait_until("the banner", || {
        let text = stdout.lock().unwrap();
        if text.contains(&public) {
            Ok(())
        } else {
            Err(text.clone())
        }
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let log = stderr.lock().unwrap().clone();
    assert!(
        log.contains("WARN") && log.contains("process list"),
        "{log}"
    );
    assert!(!log.contains(&secret), "the key itself is never logged");
    assert!(
        !directory.path().join("state").exists(),
        "no key file is made"
    );
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
    // Nor any other file.
    let file = home.path().join("file");
    fs::write(&file, "mine").unwrap();
    let shown = file.to_str().unwrap();
    let output = run(
        home.path(),
        &["run", "--listen", "127.0.0.1:0", "--admin", shown],
    );
    assert_fails(&output, 2, &[shown, "no socket"]);
    assert_eq!(fs::read(&file).unwrap(), b"mine");
}

#[test]
fn the_version_is_the_programs() {
    let home = TempDir::new().unwrap();
    let version = concat!("pinecone ", env!("CARGO_PKG_VERSION"));
    assert_eq!(text(&run(home.path(), &["--version"])), version);
}

#[test]
fn what_goes_to_one_place_is_said_there_once() {
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
    // Two places get a line each.
    let daemon = Daemon::start();
    daemon.wait_for_log("node started");
}

#[test]
fn the_cause_of_a_wait_is_said_at_once_and_at_the_end() {
    let home = TempDir::new().unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap().to_string();
    drop(closed);
    // A peer that never says a word.
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
