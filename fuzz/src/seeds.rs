//! Seeds: valid and invalid input of every kind, from the recorded vectors and the shipped scenarios.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::websocket::{KEY, PROOF};

/// Requests as a client writes them, and replies as the node does.
const ADMIN: &[&str] = &[
    r#"{"request":"status"}"#,
    r#"{"request":"peers"}"#,
    r#"{"request":"disconnect","port":3}"#,
    r#"{"request":"ping","key":"ab","size":8,"interval_ms":1000,"timeout_ms":5000}"#,
    r#"{"request":"ping","key":"ab","count":1,"size":8,"interval_ms":1,"timeout_ms":5,"report_sent":true}"#,
    r#"{"reply":"ping","seq":1,"bytes":75,"hops":2,"rtt_ms":1.5}"#,
    r#"{"reply":"ping","seq":2,"bytes":75,"error":"no answer in time"}"#,
    r#"{"reply":"peers","peers":[],"static_peers":[{"address":"a:1","state":"waiting","failures":1,"next_dial_seconds":0.5}]}"#,
    r#"{"reply":"sent","seq":1}"#,
    r#"{"reply":"done"}"#,
];

const ADDRESSES: &[&str] = &[
    "example.org:65432",
    "192.0.2.1:1",
    "[2001:db8::1]:65535",
    "[fe80::1%eth0]:9",
    " b:1, a:2 ,,b:1,[::1]:3,",
    "wss://a/",
    "tcp://example.org:65432?maxbackoff=1m30s&priority=9&interface=eth0",
    "tcp://:65432?key=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    "wss://example.org:444/public/%20x?sni=other.example",
    "tls://[2001:db8::1]:1?priority=256",
    "http://a:1?color=red",
    "::1:65432",
    ":65432",
];

const TOPOLOGIES: &[&str] = &[
    "a b\n# nothing\n\nb c d a # a path\nb b c a\ne\n",
    "a b\r\nb c\r\nb\r\n",
    "a b\nb b\n",
    "a b\nc d\n",
];

/// Returns the seeds of a target.
///
/// # Panics
/// The vectors or scenarios of this repository cannot be read.
#[must_use]
pub fn of(target: &str) -> Vec<Vec<u8>> {
    let texts = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    let frames = || [vectors("frames", "hex"), vectors("frames_negative", "hex")].concat();
    match target {
        "admin_request" => texts(ADMIN),
        "announcement" => vectors("announcements", "payload"),
        "coordinates" => vectors("coords", "hex"),
        "encrypted_link" => encrypted_links(),
        "forwarding" => forwarding(),
        "frame" => frames(),
        "handshake" => {
            let mut seeds = vectors("handshake", "hex");
            seeds.push((0..37).collect());
            seeds
        }
        "peer_address" => texts(ADDRESSES),
        "peering_proof" => peering_proofs(),
        "ping" => pings(),
        "scenario" => scenarios(),
        "secret_key" => ["seed", "private_key", "public_key"]
            .iter()
            .flat_map(|field| strings("keys", field))
            .map(String::into_bytes)
            .collect(),
        "signed_body" => vectors("signed_bodies", "payload"),
        "splitter" => {
            let frames = frames();
            let pairs = frames.windows(2).map(|pair| pair.concat());
            let sizes = [1, 5, 9, 12, 0x7f, 0x80, 0x83, 0xff];
            let streams = pairs.chain([frames.concat()]);
            streams.map(|s| [&sizes[..], &s].concat()).collect()
        }
        "topology" => texts(TOPOLOGIES),
        "varu64" => vectors("varint", "hex"),
        "websocket_frames" => websocket_frames(),
        "websocket_request" => websocket_requests(),
        "websocket_response" => websocket_responses(),
        _ => Vec::new(),
    }
}

/// Tables with a near key, a route, an expired route, a parent and coordinates, and one frame for each.
fn forwarding() -> Vec<Vec<u8>> {
    let tables = [
        &[
            8, 0, 0x90, 1, 2, 0xa0, 2, 0x41, 2, 0xb0, 3, 1, 4, 0xb0, 6, 0xff, 4,
        ][..],
        &[7, 5, 2, 1, 2, 0, 8, 1, 1, 9],
    ]
    .concat();
    let frame = |to: u8, coordinates: &[u8], watermark: &[u8]| {
        let coordinates = [&[coordinates.len() as u8], coordinates].concat();
        [&[1, to, 0x11], &coordinates[..], watermark, &[2, 0, 2, 0]].concat()
    };
    let frames = [
        frame(0x90, &[], &[0]),
        frame(0xa0, &[], &[1, 0xa0, 0x41]),
        frame(0xb0, &[], &[1, 0xb0, 1]),
        frame(0xc0, &[], &[0]),
        frame(0x85, &[1, 2, 3], &[0]),
        frame(0x80, &[1], &[0]),
        frame(0x10, &[9, 9], &[0]),
    ];
    let mut seeds: Vec<_> = frames.iter().map(|f| [&tables[..], f].concat()).collect();
    seeds.push([&tables[..], &frames.concat()].concat());
    seeds
}

/// Bytes behind a number of good records: a record, a record that is too short, and a message of the handshake.
fn encrypted_links() -> Vec<Vec<u8>> {
    let record = [&[0, 20][..], &[7; 20]].concat();
    vec![
        vec![0],
        [&[3][..], &record].concat(),
        [&[1][..], &[0, 16], &[0; 16]].concat(),
        vec![2, 0, 3, 1, 2, 3],
        vec![1, 0xff, 0xff, 9],
        [&[0x80][..], &[9; 32], &record].concat(),
        [&[0x81][..], &[9; 48]].concat(),
    ]
}

/// The messages of the sides of the vectors, to a node without and with a password, and a change of an honest proof.
fn peering_proofs() -> Vec<Vec<u8>> {
    let path = repository().join("wire/vectors/peering_proof.json");
    let text = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let file: Value = serde_json::from_slice(&text).unwrap();
    let mut seeds = Vec::new();
    for case in file["cases"].as_array().unwrap() {
        for side in ["a", "b"] {
            let [challenge, proof] = ["challenge", "proof"]
                .map(|field| hex::decode(case[side][field].as_str().unwrap()).unwrap());
            let has_password = [challenge[2]];
            seeds.push([&has_password[..], &challenge, &proof].concat());
        }
    }
    seeds.extend([vec![0, 40, 3], vec![1, 70, 0], vec![3, 99, 7]]);
    seeds
}

/// The payload of a ping each way, with and without filler.
fn pings() -> Vec<Vec<u8>> {
    let ping = |kind: u8, filler: &[u8]| {
        let keys = [[1; 32], [2; 32]].concat();
        [b"pineping", &[kind, 0, 3][..], &keys, filler].concat()
    };
    vec![ping(0, b""), ping(1, b""), ping(0, b"filler"), ping(2, b"")]
}

fn scenarios() -> Vec<Vec<u8>> {
    let folder = repository().join("tools/scenarios");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "toml"))
        .collect();
    files.sort();
    let read = |path: &PathBuf| std::fs::read(path).unwrap();
    files.iter().map(read).collect()
}

/// Fragmented and whole messages with control frames between them, and what must be refused, in pieces for either side.
fn websocket_frames() -> Vec<Vec<u8>> {
    const CLIENT: [u8; 8] = [0, 1, 4, 2, 0, 3, 5, 20];
    const SERVER: [u8; 8] = [1, 0, 0, 6, 2, 3, 0, 20];
    let streams = [
        "0203aabbcc8905 68656c6c6f 8002ddee 8a00 8802 03e8",
        "827e0080 00",
        "827f0000000000020001 00",
        "8105 68656c6c6f",
        "c201ff",
        "0201ff 8201ff",
        "8804 03e8ffff",
        "8a7e007e",
    ];
    let masked =
        "0283 37fa213d 0102 03 8985 37fa213d 7f9f4d5158 8082 37fa213d 0909 8882 37fa213d 3412";
    let bytes = |text: &str| hex::decode(text.replace(' ', "")).unwrap();
    let mut seeds: Vec<_> = streams
        .iter()
        .map(|text| [&CLIENT[..], &bytes(text)].concat())
        .collect();
    seeds.push([&SERVER[..], &bytes(masked)].concat());
    seeds
}

fn websocket_requests() -> Vec<Vec<u8>> {
    let headers = [
        "X-Forwarded-For: 203.0.113.1, 198.51.100.1:80, 10.0.0.2",
        "Forwarded: for=\"[2001:db8::1]:4711\";proto=https, For=10.0.0.2",
        "Forwarded: for=192.0.2.1\r\nX-Forwarded-For: 192.0.2.2",
        "Sec-WebSocket-Extensions: permessage-deflate",
        "Content-Length: 1",
    ];
    let request = |header: &&str| {
        format!(
            "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{header}\r\n\r\n"
        )
        .into_bytes()
    };
    headers.iter().map(request).collect()
}

fn websocket_responses() -> Vec<Vec<u8>> {
    let status = ["101 Switching Protocols", "404 Not Found"];
    let response = |status: &&str| {
        format!(
            "HTTP/1.1 {status}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {PROOF}\r\n\r\n"
        )
        .into_bytes()
    };
    status.iter().map(response).collect()
}

/// The bytes in a field of all cases of `wire/vectors/<file>.json`.
fn vectors(file: &str, field: &str) -> Vec<Vec<u8>> {
    let texts = strings(file, field);
    texts.iter().map(|hex| hex::decode(hex).unwrap()).collect()
}

fn strings(file: &str, field: &str) -> Vec<String> {
    let path = repository().join(format!("wire/vectors/{file}.json"));
    let text = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let file: Value = serde_json::from_slice(&text).unwrap();
    let cases = file.get("cases").unwrap_or(&file).as_array().unwrap();
    let texts = cases.iter().filter_map(|case| case[field].as_str());
    texts.map(str::to_owned).collect()
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
