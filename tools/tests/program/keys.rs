//! Secret keys: files, the command line and standard input.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use tempfile::TempDir;

use crate::daemon::{Daemon, collect, key, program, run, wait_until};
use crate::outcome::{KEY, assert_fails, ended, mode, text};

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
        (&KEY.as_bytes()[1..], "63 bytes"),
        (longer.as_bytes(), "66 bytes"),
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
            // None of them blocks.
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
    // A link names the same file.
    let link = home.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let shown = link.to_str().unwrap();
    let output = run(home.path(), &["run", "--key-file", shown]);
    assert_fails(&output, 1, &["another node", shown]);
    // Its public key can still be printed, and another key can be created next to it.
    let output = run(home.path(), &[&["pubkey"][..], &key_file].concat());
    assert_eq!(text(&output), daemon.key.to_string());
    let other = home.path().join("other");
    text(&run(
        home.path(),
        &["genkey", "--key-file", other.to_str().unwrap()],
    ));
    // A temporary node holds the file as well.
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
    // The default directory is created even if it is given explicitly.
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
        // Uses the default paths, so it does not use `Start`.
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
    // A killed node leaves its socket behind, and the next one replaces it.
    assert!(home.path().join("pinecone.sock").exists());
    assert_eq!(start(), first);
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
