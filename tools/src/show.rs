//! `pinecone status`, `pinecone peers` and `pinecone disconnect`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use crate::admin::client::{AdminOptions, Client};
use crate::admin::protocol::{PeerInfo, Reply, Request, StaticPeerInfo, StatusInfo};
use crate::failure::Failure;
use crate::output::print;

/// Prints the status of the node.
pub(crate) async fn status(admin: &AdminOptions, json: bool) -> Result<(), Failure> {
    let mut client = Client::connect(admin).await?;
    match client.ask(&Request::Status {}).await? {
        reply @ Reply::Status(_) if json => print(&to_json(&reply)?),
        Reply::Status(status) => print(&status_text(&status)),
        _ => Err(client.unexpected(&"not a status")),
    }
}

/// Prints the peerings of the node.
pub(crate) async fn peers(admin: &AdminOptions, json: bool, full: bool) -> Result<(), Failure> {
    let mut client = Client::connect(admin).await?;
    match client.ask(&Request::Peers {}).await? {
        reply @ Reply::Peers { .. } if json => print(&to_json(&reply)?),
        Reply::Peers {
            peers,
            static_peers,
        } => {
            let mut text = peers_text(&peers, full);
            for peer in static_peers.iter().filter(|p| p.state != "connected") {
                let _ = writeln!(text, "static peer {}", static_peer(peer));
            }
            print(&text)
        }
        _ => Err(client.unexpected(&"not a list of peers")),
    }
}

/// Closes a peering of the node.
pub(crate) async fn disconnect(admin: &AdminOptions, port: u32) -> Result<(), Failure> {
    let mut client = Client::connect(admin).await?;
    match client.ask(&Request::Disconnect { port }).await? {
        Reply::Done {} => Ok(()),
        _ => Err(client.unexpected(&"another kind of reply")),
    }
}

fn status_text(status: &StatusInfo) -> String {
    let place = match coordinates(&status.coordinates) {
        place if status.parent.is_none() => format!("{place} (this node is the root)"),
        place => place,
    };
    let none = || "none".to_owned();
    let mut rows = vec![
        ("public key", status.public_key.clone()),
        ("version", status.version.clone()),
        ("up for", duration(status.uptime_seconds)),
        (
            "root",
            format!("{}, sequence {}", status.root.key, status.root.sequence),
        ),
        ("parent", status.parent.clone().unwrap_or_else(none)),
        ("coordinates", place),
        ("descending", status.descending.clone().unwrap_or_else(none)),
        ("routes", status.routes.to_string()),
        ("peers", status.peers.len().to_string()),
    ];
    if let Some(seconds) = status.clock_behind_seconds {
        rows.push(("clock", clock(seconds)));
    }
    for address in &status.listeners {
        rows.push(("listening", address.clone()));
    }
    for missing in &status.missing_listeners {
        let text = format!("for {}: {}", missing.address, missing.error);
        rows.push(("waiting", text));
    }
    let elsewhere = &status.own_key_elsewhere;
    if elsewhere.signed_frames > 0 {
        let frames = elsewhere.signed_frames;
        let text = format!(
            "another node uses this node's key: {frames} frames with its signature arrived"
        );
        rows.push(("warning", text));
    }
    if elsewhere.handshakes > 0 {
        let handshakes = elsewhere.handshakes;
        let text = format!(
            "{handshakes} handshakes with our key that are not ours: another node uses the key, or \
             our handshakes were sent back"
        );
        rows.push(("warning", text));
    }
    for peer in &status.static_peers {
        rows.push(("static peer", static_peer(peer)));
    }
    rows.push((
        "engine",
        format!("{} ({})", status.engine.name, status.engine.reason),
    ));
    for worker in &status.workers {
        let core = match worker.core {
            Some(core) => format!("on core {core}"),
            None => "not pinned".to_owned(),
        };
        let stats = counters(&worker.stats);
        rows.push(("worker", format!("{} {core}{stats}", worker.index)));
    }
    let mut text = String::new();
    for (name, value) in rows {
        let _ = writeln!(text, "{name:<12} {value}");
    }
    for (name, value) in status.counters.iter().filter(|(_, value)| **value > 0) {
        let _ = writeln!(text, "{:<12} {name} {value}", "counter");
    }
    text
}

fn clock(behind_seconds: i64) -> String {
    let by = duration(behind_seconds.unsigned_abs() as f64);
    let side = match behind_seconds < 0 {
        true => "ahead of",
        false => "behind",
    };
    format!("{by} {side} the network: set it")
}

fn peers_text(peers: &[PeerInfo], full: bool) -> String {
    let heads = [
        "PORT", "KEY", "ADDRESS", "DIR", "LINK", "VIA", "UP", "COORDS", "RX", "TX", "QUEUED",
        "DROPS",
    ];
    let mut rows = vec![heads.map(str::to_owned)];
    for peer in peers {
        let key = match peer.key.get(..8) {
            Some(short) if !full => short.to_owned(),
            _ => peer.key.clone(),
        };
        rows.push([
            peer.port.to_string(),
            key,
            peer.remote.clone(),
            match peer.direction.as_str() {
                "inbound" => "in".to_owned(),
                "outbound" => "out".to_owned(),
                other => other.to_owned(),
            },
            peer.link.clone(),
            via(peer),
            duration(peer.connected_seconds),
            peer.coordinates
                .as_deref()
                .map_or_else(|| "-".to_owned(), coordinates),
            bytes(peer.traffic.rx_traffic_bytes + peer.traffic.rx_protocol_bytes),
            bytes(peer.traffic.tx_traffic_bytes + peer.traffic.tx_protocol_bytes),
            bytes(peer.queued_bytes),
            peer.drops.values().sum::<u64>().to_string(),
        ]);
    }
    table(&rows)
}

/// Describes the transport of a peering, and how it stands to others with the same key.
fn via(peer: &PeerInfo) -> String {
    let mut text = peer.transport.clone().unwrap_or_else(|| "-".to_owned());
    if peer.priority > 0 {
        let _ = write!(text, ", priority {}", peer.priority);
    }
    if peer.standby {
        text.push_str(", standby");
    }
    text
}

fn static_peer(peer: &StaticPeerInfo) -> String {
    let mut text = format!("{} {}", peer.address, peer.state);
    match peer.failures {
        0 => {}
        1 => text.push_str(", 1 failure"),
        failures => {
            let _ = write!(text, ", {failures} failures in a row");
        }
    }
    if let Some(seconds) = peer.next_dial_seconds.filter(|_| peer.state == "waiting") {
        let _ = write!(text, ", dialled again in {}", duration(seconds));
    }
    if let Some(error) = &peer.last_error {
        let _ = write!(text, ": {error}");
    }
    text
}

/// Formats a table with aligned columns, two spaces apart.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, "{cell:<width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Lists the counters that are not zero.
fn counters(counters: &BTreeMap<String, u64>) -> String {
    let mut text = String::new();
    for (name, value) in counters.iter().filter(|(_, value)| **value > 0) {
        let _ = write!(text, ", {name} {value}");
    }
    text
}

fn coordinates(ports: &[u64]) -> String {
    let ports: Vec<_> = ports.iter().map(u64::to_string).collect();
    format!("[{}]", ports.join(" "))
}

fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    match (
        whole / 86400,
        whole / 3600 % 24,
        whole / 60 % 60,
        whole % 60,
    ) {
        (0, 0, 0, _) => format!("{seconds:.1}s"),
        (0, 0, minutes, seconds) => format!("{minutes}m{seconds:02}s"),
        (0, hours, minutes, _) => format!("{hours}h{minutes:02}m"),
        (days, hours, ..) => format!("{days}d{hours:02}h"),
    }
}

fn bytes(count: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut value = count as f64;
    let mut unit = "B";
    for larger in units {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    if unit == "B" {
        format!("{count} B")
    } else {
        format!("{value:.1} {unit}")
    }
}

fn to_json(value: &impl Serialize) -> Result<String, Failure> {
    let mut text = serde_json::to_string_pretty(value).map_err(Failure::runtime)?;
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(u64::MAX), "16.0 EiB");
        assert_eq!(duration(59.94), "59.9s");
        assert_eq!(duration(61.0), "1m01s");
        assert_eq!(duration(7261.0), "2h01m");
        assert_eq!(duration(90000.0), "1d01h");
        assert_eq!(coordinates(&[]), "[]");
        assert_eq!(coordinates(&[1, 22]), "[1 22]");
    }

    #[test]
    fn a_static_peer_is_shown_with_its_error_and_next_dial() {
        let mut peer = StaticPeerInfo {
            address: "a:1".to_owned(),
            state: "waiting".to_owned(),
            failures: 2,
            last_error: Some("no answer".to_owned()),
            next_dial_seconds: Some(3.25),
        };
        let text = "a:1 waiting, 2 failures in a row, dialled again in 3.2s: no answer";
        assert_eq!(static_peer(&peer), text);
        peer.failures = 1;
        assert!(static_peer(&peer).contains("1 failure, "));
        let connected = StaticPeerInfo {
            state: "connected".to_owned(),
            failures: 0,
            last_error: None,
            next_dial_seconds: None,
            ..peer
        };
        assert_eq!(static_peer(&connected), "a:1 connected");
    }

    #[test]
    fn columns_are_aligned() {
        let rows =
            [["PORT", "KEY"], ["1", "abc"], ["12345", "d"]].map(|row| row.map(str::to_owned));
        assert_eq!(table(&rows), "PORT   KEY\n1      abc\n12345  d\n");
    }
}
