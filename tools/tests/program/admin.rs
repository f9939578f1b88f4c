//! The admin socket: what programs and people get, and what strange clients get.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use crate::daemon::{Daemon, PATIENCE, run, wait_until};

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

/// Two daemons that have found each other.
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
    assert_eq!(status["public_key"], low.key.to_string());
    assert_eq!(status["root"]["key"], high.key.to_string());
    assert_eq!(status["parent"], high.key.to_string());
    assert_eq!(status["coordinates"], json!([1]));
    assert_eq!(status["listeners"], json!([low.address()]));
    assert_eq!(status["peers"].as_array().unwrap().len(), 1);
    assert_eq!(status["workers"].as_array().unwrap().len(), 1);
    assert!(status["engine"]["name"].is_string() && status["engine"]["reason"].is_string());
    // The low node's bootstrap makes a route at the high one, and makes it the descending node.
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
}

#[test]
fn peers_are_listed_for_people_and_programs() {
    let (a, b) = pair();
    let (code, text, _) = command(&b, &["peers", "--json"]);
    assert_eq!(code, Some(0));
    let reply: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(reply["static_peers"][0]["state"], "connected");
    let peer = &reply["peers"][0];
    assert_eq!(peer["port"], 1);
    assert_eq!(peer["key"], a.key.to_string());
    assert_eq!(peer["remote"], a.address());
    assert_eq!(
        (&peer["direction"], &peer["link"]),
        (&json!("outbound"), &json!("remote"))
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
        words[..5],
        ["1", &a.key.short(), a.address(), "out", "remote"]
    );
    // Columns stand under their heads.
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
    assert_eq!(next(), json!({ "reply": "peers", "peers": [] }));
    // A line without end: an error, then the connection is over.
    client.write_all(&[b'x'; 5000]).unwrap();
    let reply = next();
    assert!(reply["error"].as_str().unwrap().contains("4096"), "{reply}");
    assert!(replies.next().is_none_or(|line| line.is_err()));
    assert_eq!(daemon.status()["reply"], "status");
}

#[test]
fn clients_are_served_side_by_side_up_to_a_limit() {
    let daemon = Daemon::start();
    let connect = || UnixStream::connect(daemon.admin()).unwrap();
    // One that never asks, one that hung up half-way, one that pings for ever.
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

    let many: Vec<_> = (0..20).map(|_| connect()).collect();
    let refused = wait_until("a refusal", || {
        let mut last = many.last().unwrap();
        let mut text = String::new();
        last.set_read_timeout(Some(PATIENCE)).unwrap();
        last.read_to_string(&mut text).map(|_| text)
    });
    assert!(refused.contains("try again later"), "{refused}");
    drop((many, silent, endless));
    wait_until("room for clients", || {
        let reply = daemon
            .try_ask(&json!({ "request": "status" }))
            .map_err(|e| e.to_string())?;
        if reply["reply"] == "status" {
            Ok(())
        } else {
            Err(reply.to_string())
        }
    });
}
