//! WebSocket upgrades and frames (RFC 6455).

use std::net::{IpAddr, Ipv4Addr};

use pinecone_transports::websocket::{
    AcceptOptions, Decoded, Decoder, Role, check_response, respond,
};

/// The key of [`response`] and of the seeds, and its proof (RFC 6455, section 1.3).
pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub(crate) const PROOF: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A request is answered with an upgrade, and the address of the proxy or another one, or refused with a status code
/// for the client's mistakes.
pub fn request(head: &[u8]) {
    let proxy = IpAddr::from(Ipv4Addr::new(10, 0, 0, 1));
    let mut options = AcceptOptions::default();
    options.trusted.add("10.0.0.0/8").unwrap();
    match respond(head, Some(proxy), &options) {
        Ok(upgrade) => {
            assert!(upgrade.response.starts_with(b"HTTP/1.1 101 "));
            assert!(upgrade.response.ends_with(b"\r\n\r\n"));
            let client = upgrade.client.unwrap();
            assert_eq!(client, client.to_canonical());
            // A direct client is never believed.
            let direct = IpAddr::from(Ipv4Addr::new(192, 0, 2, 1));
            let upgrade = respond(head, Some(direct), &options).unwrap();
            assert_eq!(upgrade.client, Some(direct));
        }
        Err(refusal) => assert!((400..500).contains(&refusal.status())),
    }
}

/// A response that is accepted has the proof of the key.
pub fn response(head: &[u8]) {
    if check_response(head, KEY).is_ok() {
        let mut windows = head.windows(PROOF.len());
        assert!(windows.any(|bytes| bytes == PROOF.as_bytes()));
    }
}

/// However a stream of frames is cut, it gives the same payload and the same end.
///
/// The first eight bytes say how long the pieces are, and whether a client or a server receives. The rest is the
/// stream.
pub fn frames(bytes: &[u8]) {
    let Some((sizes, stream)) = bytes.split_first_chunk::<8>() else {
        return;
    };
    let role = match sizes[0] & 1 {
        0 => Role::Client,
        _ => Role::Server,
    };
    let mut at_once = stream.to_vec();
    let mut decoder = Decoder::new(role);
    let Decoded { payload, end } = decoder.decode(&mut at_once);
    at_once.truncate(payload);
    let is_mid_message = decoder.is_mid_message();

    let mut decoder = Decoder::new(role);
    let (mut in_pieces, mut rest, mut ended) = (Vec::new(), stream.to_vec(), None);
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        // A piece is from 1 byte to about 2,000.
        let size = 1 + usize::from(size & 0x7f) * (1 + usize::from(size >> 7) * 15);
        let behind = rest.split_off(size.min(rest.len()));
        let decoded = decoder.decode(&mut rest);
        assert!(ended.is_none() || (decoded.payload, decoded.end) == (0, None));
        in_pieces.extend_from_slice(&rest[..decoded.payload]);
        ended = ended.or(decoded.end);
        rest = behind;
    }
    assert_eq!(in_pieces, at_once);
    assert_eq!(ended, end);
    assert_eq!(decoder.is_mid_message(), is_mid_message);
}
