//! The admin socket: replies for people and programs, and the handling of misbehaving clients.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::daemon::{Daemon, PATIENCE, collect, program, run, wait_at_most, wait_until};

fn command(daemon: &Daemon, arguments: &[&str]) -> (Option<i32>, String, String) {
    let admin = daemon.admin();
    let arguments = [arguments, &["--admin", admin.to_str().unwrap()]].concat();
    let output = run(admin.parent().unwrap(), &arguments);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// Starts two daemons that are peers.
fn pair() -> (Daemon, Daemon) {
    let a = Daemon::start();
    let b = a.start_peer();
    a.wait_for_ping(&b.key);
    b.wait_for_ping(&a.key);
    (a, b)
}

#[test]
fn status_says_where_the_node_stands() {
    let (a, b) = pair();
    let (low, high) = if a.key < b.key { (&a, &b) } else { (&b, &a) };
    let (code, text, _) = command(low, &["status", "--json"]);
    assert_eq!(code, Some(0));
    let status: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(status["reply"], "status");
    assert_eq!(status["public_key"], low.key.to_string());
    assert_eq!(status["root"]["key"], high.key.to_string());
    assert_eq!(status["parent"], high.key.to_string());
    assert_eq!(status["coordinates"], json!([1]));
    assert_eq!(status["listeners"], json!([low.address()]));
    assert_eq!(status["peers"].as_array().unwrap().len(), 1);
    assert_eq!(status["workers"].as_array().unwrap().len(), 1);
    assert!(status["engine"]["name"].is_string() && status["engine"]["reason"].is_string());
    // The bootstrap of the low node creates a route at the high one, whose descending node it becomes.
    wait_until("the low node's bootstrap", || {
        let status = high.status();
        let done = status["descending"] == low.key.to_string() && status["routes"] == 1;
        if done { Ok(()) } else { Err(status) }
    });
    assert_eq!(high.status()["parent"], Value::Null);
    assert_eq!(b.status()["static_peers"][0]["state"], "connected");
    assert_eq!(a.status()["static_peers"], json!([]));

    let (code, text, _) = command(high, &["status"]);
    assert_eq!(code, Some(0));
    for words in [
        format!("public key   {}", high.key),
        "coordinates  [] (this node is the root)".to_owned(),
        format!("descending   {}", low.key),
        "routes       1".to_owned(),
        format!("listening    {}", high.address()),
    ] {
        assert!(text.contains(&words), "{words:?} is missing: {text}");
    }
    // Counters that are zero are omitted.
    let counters = text
        .lines()
        .filter(|line| line.starts_with("worker") || line.starts_with("counter"));
    for counter in
        counters.flat_map(|line| line.split(", ").skip(usize::from(line.starts_with("w"))))
    {
        assert!(!counter.ends_with(" 0"), "{counter:?}: {text}");
    }
}

#[test]
fn peers_are_listed_for_people_and_programs() {
    let (a, b) = pair();
    let (code, text, _) = command(&b, &["peers", "--json"]);
    assert_eq!(code, Some(0));
    // JSON is the reply object of the socket.
    let reply: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(reply["reply"], "peers");
    assert_eq!(reply["static_peers"][0]["state"], "connected");
    let peer = &reply["peers"][0];
    assert_eq!(peer["port"], 1);
    assert_eq!(peer["key"], a.key.to_string());
    assert_eq!(peer["remote"], a.address());
    assert_eq!(
        (&peer["direction"], &peer["link"]),
        (&json!("outbound"), &json!("remote"))
    );
    assert_eq!(
        (&peer["transport"], &peer["priority"], &peer["standby"]),
        (&json!("tcp"), &json!(0), &json!(false))
    );
    assert_eq!(a.peer(&b.key).unwrap()["direction"], "inbound");
    for counter in [
        "rx_protocol_bytes",
        "tx_protocol_bytes",
        "rx_traffic_frames",
        "tx_traffic_bytes",
    ] {
        assert!(peer[counter].as_u64().unwrap() > 0, "{counter}: {peer}");
    }

    let (_, text, _) = command(&b, &["peers"]);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    let words: Vec<_> = lines[1].split_whitespace().collect();
    assert_eq!(
        words[..6],
        ["1", &a.key.short(), a.address(), "out", "remote", "tcp"]
    );
    // Columns are aligned with their headings.
    assert_eq!(lines[0].find("ADDRESS"), lines[1].find(a.address()));
    let (_, text, _) = command(&b, &["peers", "--full"]);
    assert!(text.contains(&a.key.to_string()), "{text}");
}

#[test]
fn ping_prints_as_ping_does() {
    let (a, b) = pair();
    let key = b.key.to_string();
    let (code, text, _) = command(&a, &["ping", &key, "-c", "3", "-i", "0.05", "-s", "100"]);
    assert_eq!(code, Some(0), "{text}");
    for seq in 1..=3 {
        let line = format!("175 bytes from {key}: seq={seq} hops=0 time=");
        assert!(text.contains(&line), "{text}");
    }
    assert!(text.contains("3 pings sent, 3 answered, 0% loss"), "{text}");
    assert!(text.contains("rtt min/avg/max/mdev = "), "{text}");

    let nobody = "00".repeat(32);
    let (code, text, _) = command(&a, &["ping", &nobody, "-c", "2", "-i", "0.05", "-W", "0.2"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("2 pings sent, 0 answered, 100% loss"),
        "{text}"
    );
}

#[test]
fn a_peering_can_be_closed_and_a_static_one_comes_back() {
    let (a, b) = pair();
    assert_eq!(command(&b, &["disconnect", "1"]).0, Some(0));
    let (code, _, error) = command(&b, &["disconnect", "77"]);
    assert_eq!(code, Some(1));
    assert!(error.contains("no peering on port 77"), "{error}");
    b.wait_for_log("peering down");
    b.wait_for_ping(&a.key);
}

#[test]
fn malformed_requests_get_an_error_and_do_no_harm() {
    let daemon = Daemon::start();
    let mut client = UnixStream::connect(daemon.admin()).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut replies = BufReader::new(client.try_clone().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&replies.next().unwrap().unwrap()).unwrap() };
    let ping =
        json!({ "request": "ping", "key": "x", "size": 8, "interval_ms": 1, "timeout_ms": 1 });
    for wrong in [
        "",
        "{",
        "null",
        r#"{"request":"reboot"}"#,
        "\u{0}\u{1}",
        &ping.to_string(),
    ] {
        writeln!(client, "{wrong}").unwrap();
        let reply = next();
        assert_eq!(reply["reply"], "error", "{wrong:?}: {reply}");
    }
    // The same connection still works.
    writeln!(client, r#"{{"request":"peers"}}"#).unwrap();
    assert_eq!(
        next(),
        json!({ "reply": "peers", "peers": [], "static_peers": [] })
    );
    // An endless line is answered with an error, and the connection is closed.
    client.write_all(&[b'x'; 5000]).unwrap();
    let reply = next();
    assert!(reply["error"].as_str().unwrap().contains("4096"), "{reply}");
    assert!(replies.next().is_none_or(|line| line.is_err()));
    assert_eq!(daemon.status()["reply"], "status");
}

/// Reads one line, then the end of the stream.
fn last_line(client: &UnixStream) -> Value {
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut text = String::new();
    let mut client = client;
    client.read_to_string(&mut text).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_request_without_a_newline_is_served_at_the_end() {
    let daemon = Daemon::start();
    for (request, reply) in [
        (r#"{"request":"peers"}"#, "peers"),
        (r#"{"request":"pe"#, "malformed request"),
    ] {
        let mut client = UnixStream::connect(daemon.admin()).unwrap();
        client.write_all(request.as_bytes()).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let line = last_line(&client).to_string();
        assert!(line.contains(reply), "{line}");
    }
}

#[test]
fn idle_clients_lock_nobody_out() {
    let daemon = Daemon::start();
    let connect = || UnixStream::connect(daemon.admin()).unwrap();
    // A silent client, a client that disconnected within a request, and a client that pings for ever.
    let silent = connect();
    let mut half = connect();
    half.write_all(b"{\"request\":").unwrap();
    half.shutdown(Shutdown::Both).unwrap();
    let mut endless = connect();
    let request = json!({
        "request": "ping", "key": daemon.key.to_string(), "size": 8,
        "interval_ms": 1, "timeout_ms": 1000,
    });
    writeln!(endless, "{request}").unwrap();
    assert_eq!(daemon.status()["reply"], "status");

    // Many silent clients.
    let many: Vec<_> = (0..200).map(|_| connect()).collect();
    assert_eq!(daemon.status()["reply"], "status");
    let (code, _, error) = command(&daemon, &["peers"]);
    assert_eq!(code, Some(0), "{error}");
    // The oldest are told the reason and closed.
    let reply = last_line(&silent);
    assert!(
        reply["error"].as_str().unwrap().contains("s of silence"),
        "{reply}"
    );
    // The newest are still served.
    let mut last = many.last().unwrap();
    writeln!(last, r#"{{"request":"peers"}}"#).unwrap();
    let mut line = String::new();
    last.set_read_timeout(Some(PATIENCE)).unwrap();
    BufReader::new(last).read_line(&mut line).unwrap();
    assert!(line.contains(r#""reply":"peers""#), "{line}");
}

#[test]
fn one_too_many_is_told_so() {
    let daemon = Daemon::start();
    // Busy clients, some of which never read.
    let key = "00".repeat(32);
    let busy: Vec<_> = (0..32)
        .map(|n| {
            let mut client = UnixStream::connect(daemon.admin()).unwrap();
            let request = json!({
                "request": "ping", "key": key, "size": 8,
                "interval_ms": if n % 2 == 0 { 86_400_000 } else { 5 }, "timeout_ms": 86_400_000,
                "report_sent": true,
            });
            writeln!(client, "{request}").unwrap();
            // The client counts as busy from its first reply on.
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            client.read_exact(&mut [0]).unwrap();
            client
        })
        .collect();
    let words = "32 clients already: try again later";
    wait_until("a refusal", || {
        let reply = daemon.try_ask(&json!({ "request": "status" }));
        let reply = reply.map_err(|e| e.to_string())?.to_string();
        if reply.contains(words) {
            Ok(())
        } else {
            Err(reply)
        }
    });
    for _ in 0..20 {
        let (code, _, error) = command(&daemon, &["status"]);
        assert_eq!(code, Some(1), "{error}");
        assert!(error.contains(words), "{error}");
    }
    // Clients that disconnect make room, even while they wait for a reply.
    drop(busy);
    wait_until("room for clients", || {
        let (code, _, error) = command(&daemon, &["status"]);
        if code == Some(0) { Ok(()) } else { Err(error) }
    });
}

#[test]
fn silent_clients_go_after_a_minute_when_there_are_many() {
    let daemon = Daemon::start();
    let connect = || UnixStream::connect(daemon.admin()).unwrap();
    let start = Instant::now();
    let first = connect();
    let others: Vec<_> = (0..16).map(|_| connect()).collect();
    assert_eq!(daemon.status()["reply"], "status");
    // Clients that send a request now and then stay.
    let ask_all = || {
        for client in &others {
            let mut client = client;
            writeln!(client, r#"{{"request":"peers"}}"#).unwrap();
        }
    };
    first
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let mut lines = BufReader::new(&first);
    let mut line = String::new();
    wait_at_most(Duration::from_secs(90), "the silent client's end", || {
        ask_all();
        lines.read_line(&mut line).map(drop)
    });
    let elapsed = start.elapsed();
    assert!(line.contains("60 s of silence"), "{line}");
    assert!(elapsed >= Duration::from_secs(60), "{elapsed:?}");
    for mut client in &others {
        writeln!(client, r#"{{"request":"status"}}"#).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let found = BufReader::new(client)
            .lines()
            .map_while(Result::ok)
            .any(|line| line.contains(r#""reply":"status""#));
        assert!(found);
    }
}

#[test]
fn pings_are_printed_as_json() {
    let (a, b) = pair();
    let key = b.key.to_string();
    let lines = |text: &str| -> Vec<Value> {
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let (code, text, _) = command(&a, &["ping", &key, "-c", "3", "-i", "0.05", "--json"]);
    assert_eq!(code, Some(0), "{text}");
    let objects = lines(&text);
    assert_eq!(objects.len(), 4, "{text}");
    for (object, seq) in objects.iter().zip(1..=3) {
        assert_eq!(
            (&object["reply"], &object["seq"]),
            (&json!("ping"), &json!(seq))
        );
        assert!(object["rtt_ms"].is_number(), "{object}");
    }
    let done = &objects[3];
    assert_eq!((&done["reply"], &done["sent"]), (&json!("done"), &json!(3)));
    assert_eq!(done["answered"], 3);
    assert!(done["rtt_ms"]["avg"].is_number(), "{done}");
}

#[test]
fn an_interrupted_ping_has_counted_what_it_sent() {
    let daemon = Daemon::start();
    let home = TempDir::new().unwrap();
    let (nobody, somebody) = ("00".repeat(32), daemon.key.to_string());
    let admin = daemon.admin();
    let ways: [&[&str]; 2] = [
        &["--admin", admin.to_str().unwrap()],
        &["--connect", daemon.address()],
    ];
    for (way, json) in ways.into_iter().flat_map(|way| [(way, false), (way, true)]) {
        let before = daemon.counter("unreachable");
        let unanswered = way[0] == "--admin";
        let key = if unanswered { &nobody } else { &somebody };
        let mut child = program(home.path())
            .args(["ping", key, "-i", "0.05", "-W", "300"])
            .args(way)
            .args(json.then_some("--json"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let id = Pid::from_child(&child);
        let stdout = collect(child.stdout.take().unwrap());
        wait_until("pings to be sent", || {
            let sent = match unanswered {
                // The only check is that the daemon survives.
                true => daemon.counter("unreachable") - before,
                false => stdout.lock().unwrap().matches("seq").count() as u64,
            };
            if sent >= 3 { Ok(()) } else { Err(sent) }
        });
        kill_process(id, Signal::INT).unwrap();
        let status = wait_until("ping to end", || child.try_wait().unwrap().ok_or("runs"));
        assert_eq!(status.code(), Some(i32::from(unanswered)));
        let text = stdout.lock().unwrap().clone();
        let last = text.lines().last().unwrap().to_owned();
        let (sent, rest) = if json {
            let done: Value = serde_json::from_str(&last).unwrap();
            (
                done["sent"].as_u64().unwrap(),
                (done["answered"] == 0) == unanswered,
            )
        } else {
            let line = text
                .lines()
                .find(|line| line.contains("pings sent"))
                .unwrap();
            let sent = line.split(' ').next().unwrap();
            (
                sent.parse().unwrap(),
                text.contains("pings sent, 0 answered, 100% loss") == unanswered,
            )
        };
        assert!(sent >= 2 && rest, "{text}");
    }
}
