use proptest::collection::vec as many;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

const KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn peer(text: &str) -> Result<PeerUri, AddressError> {
    PeerUri::read(text)
}

fn listener(text: &str) -> Result<ListenUri, AddressError> {
    ListenUri::read(text)
}

#[test]
fn addresses_are_read_and_written() {
    for text in [
        "example.org:65432",
        "192.0.2.1:1",
        "[2001:db8::1]:65535",
        "[fe80::1%eth0]:9",
        "ws://example.org",
        "ws://example.org:81/public/x",
        "wss://[2001:db8::1]",
        "wss://example.org:444/a?sni=b.org",
        "tls://example.org:443",
    ] {
        assert_eq!(peer(text).unwrap().to_string(), text);
    }
    let all = format!("tcp://a:1?key={KEY}&maxbackoff=1m30s&priority=9&interface=eth0");
    let uri = peer(&all).unwrap();
    assert_eq!(uri.to_string(), all);
    assert_eq!(uri.key().unwrap().to_string(), KEY);
    assert_eq!(uri.max_backoff(), Some(Duration::from_secs(90)));
    assert_eq!((uri.priority(), uri.interface()), (9, Some("eth0")));
    for text in [":0", "127.0.0.1:1", "ws://:8080", "wss://a", "tls://[::]:1"] {
        assert_eq!(listener(text).unwrap().to_string(), text);
    }
    assert_eq!(
        peer("[fe80::1%eth0]:9").unwrap().host,
        Host::Name("fe80::1%eth0".into())
    );
}

#[test]
fn several_spellings_are_one_address() {
    for (text, same) in [
        (" tcp://a:1/ ", "a:1"),
        ("TCP://a:1", "a:1"),
        ("a:1?priority=0", "a:1"),
        ("a:1?maxbackoff=60s", "tcp://a:1?maxbackoff=1m"),
        ("ws://a:80/", "ws://a"),
        ("wss://a:443", "wss://a"),
        ("wss://[::0:1]", "wss://[::1]"),
    ] {
        assert_eq!(peer(text), peer(same), "{text}");
        assert_eq!(peer(text).unwrap().to_string(), same);
    }
    assert_eq!(listener("tcp://:1"), listener(":1"));
    assert_eq!(listener("ws://:80/"), listener("ws://:80"));
    assert_eq!(listener("ws://a").unwrap().port, 80);
}

#[test]
fn malformed_addresses_say_what_to_write() {
    let error = |text: &str| peer(text).unwrap_err();
    for text in [
        "",
        "host",
        "host:",
        "host:+1",
        "host:65536",
        "host:0",
        "host:-1",
        "tcp://a",
        "tls://a",
        "ws://a:",
        "ws://a:0",
        "tcp://",
        "ws://",
        "tcp:///x",
    ] {
        assert_eq!(error(text), AddressError::Port(text.into()), "{text:?}");
    }
    for text in [
        ":1", "a b:1", "a/b:1", "a@b:1", "a#b:1", "ws://a,b", "ws://:1", "a,b:1",
    ] {
        assert_eq!(error(text), AddressError::Host(text.into()), "{text:?}");
    }
    for text in [
        "::1:65432",
        "[::1:65432",
        "[name]:1",
        "[::1%]:1",
        "::1]:1",
        "ws://::1",
        "ws://[::1",
        "ws://[a]",
    ] {
        assert_eq!(error(text), AddressError::Brackets(text.into()), "{text:?}");
    }
    for (text, part) in [
        (
            "http://a:1",
            "unknown scheme \"http\": write tcp://, tls://, ws:// or wss://",
        ),
        ("tcp://a:1/x", "only ws:// and wss:// have a path"),
        ("ws://a/ü", "write it with letters"),
        ("a:1?", "unknown option \"\": write key=, maxbackoff="),
        ("a:1?color=red", "unknown option \"color\""),
        ("a:1?Key=1", "unknown option \"Key\""),
        (
            "a:1?key=12",
            "key=12 is malformed: write a public key of 64 hexadecimal digits",
        ),
        ("a:1?key", "key= is malformed"),
        (
            "a:1?maxbackoff=30",
            "maxbackoff=30 is malformed: write a time from 10ms",
        ),
        ("a:1?maxbackoff=1ms", "from 10ms to 365days"),
        ("a:1?maxbackoff=400days", "from 10ms to 365days"),
        ("a:1?maxbackoff=1m%2030s", "malformed"),
        ("a:1?priority=256", "write a number from 0 to 255"),
        ("a:1?priority=+1", "write a number from 0 to 255"),
        ("a:1?interface=", "write the name of a network interface"),
        ("a:1?interface=a/b", "write the name of a network interface"),
        ("a:1?interface=sixteen-letters-", "malformed"),
        ("wss://a?sni=a..b", "write a DNS name"),
        (
            "a:1?sni=b",
            "sni= applies to tls:// and wss:// only: omit it",
        ),
        (
            "ws://a?sni=b",
            "sni= applies to tls:// and wss:// only: omit it",
        ),
        ("a:1?priority=1&priority=1", "priority= is given twice"),
    ] {
        let error = error(text).to_string();
        assert!(error.contains(part), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
    for (text, part) in [
        (
            ":1?maxbackoff=1s",
            "maxbackoff= applies to peers that are dialled only",
        ),
        (
            "tls://:1?sni=a",
            "sni= applies to peers that are dialled only",
        ),
        (":1?x=1", "write key=, priority= or interface="),
        ("ws://:1/x", "from --ws-path"),
        ("tcp://:1/x", "only ws:// and wss:// have a path"),
    ] {
        let error = listener(text).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_number_is_no_host() {
    for text in ["ws://8080", "8080:1"] {
        let error = text.parse::<ListenUri>().unwrap_err().to_string();
        assert!(error.contains("has no valid host"), "{error}");
        assert_eq!(text.parse::<PeerUri>().unwrap_err().to_string(), error);
    }
}

#[test]
fn the_header_host_has_the_port_unless_it_is_the_default() {
    for (text, authority) in [
        ("ws://a.example", "a.example"),
        ("ws://a.example:443/ws", "a.example:443"),
        ("wss://a.example:443/ws?sni=b.example", "a.example"),
        ("wss://192.0.2.1:80", "192.0.2.1:80"),
        ("ws://[2001:db8::1]:80", "[2001:db8::1]"),
        ("ws://[fe80::1%eth0]:8080", "[fe80::1]:8080"),
    ] {
        assert_eq!(text.parse::<PeerUri>().unwrap().authority(), authority);
    }
}

#[test]
fn static_peer_lists_keep_order_and_drop_repeats() {
    let list = parse_static_peers(" b:1, a:2?priority=1 ,,tcp://b:1,[::1]:3,").unwrap();
    let list: Vec<_> = list.iter().map(ToString::to_string).collect();
    assert_eq!(list, ["b:1", "tcp://a:2?priority=1", "[::1]:3"]);
    assert_eq!(parse_static_peers("").unwrap(), []);
    assert!(parse_static_peers("a:1,http://b").is_err());
}

fn hosts() -> impl Strategy<Value = Host> {
    prop_oneof![
        any::<IpAddr>().prop_map(Host::Ip),
        "[a-zA-Z][a-zA-Z0-9._-]{0,20}".prop_map(Host::Name),
        "fe80::[1-9a-f]{1,4}%[a-z0-9]{1,8}".prop_map(Host::Name),
    ]
}

prop_compose! {
    fn options(is_peer: bool, scheme: Scheme)(
        key in of(any::<[u8; 32]>()),
        max_backoff in of(10..86_400_000u64),
        priority in any::<u8>(),
        sni in of("[a-z]{1,9}(\\.[a-z0-9-]{1,9}){0,3}"),
        interface in of("[a-z]{1,9}[0-9.@:]{0,5}"),
    ) -> Options {
        Options {
            key: key.map(PublicKey),
            max_backoff: max_backoff.filter(|_| is_peer).map(Duration::from_millis),
            priority,
            sni: sni.filter(|_| is_peer && scheme.has_tls()),
            interface,
        }
    }
}

fn peers() -> impl Strategy<Value = PeerUri> {
    select(&Scheme::ALL).prop_flat_map(|scheme| {
        let path = "(/[a-zA-Z0-9._~!$&'()*+;=:@%-]{0,9}){1,3}";
        (hosts(), 1..=u16::MAX, path, options(true, scheme)).prop_map(
            move |(host, port, path, options)| PeerUri {
                scheme,
                host,
                port,
                path: if scheme.has_path() {
                    path
                } else {
                    ROOT.to_owned()
                },
                options,
            },
        )
    })
}

fn listeners() -> impl Strategy<Value = ListenUri> {
    select(&Scheme::ALL).prop_flat_map(|scheme| {
        (of(hosts()), any::<u16>(), options(false, scheme)).prop_map(
            move |(host, port, options)| ListenUri {
                scheme,
                host,
                port,
                options,
            },
        )
    })
}

proptest! {
    #[test]
    fn peers_are_read_as_written(uri in peers()) {
        prop_assert_eq!(peer(&uri.to_string()), Ok(uri));
    }

    #[test]
    fn listeners_are_read_as_written(uri in listeners()) {
        prop_assert_eq!(listener(&uri.to_string()), Ok(uri));
    }

    #[test]
    fn no_uri_has_a_comma(uris in many(peers(), 1..5)) {
        let texts: Vec<_> = uris.iter().map(ToString::to_string).collect();
        let list = texts.join(",");
        let again: Vec<_> = list.split(',').map(|text| peer(text).unwrap()).collect();
        prop_assert_eq!(again, uris);
    }

    #[test]
    fn what_is_read_is_written_and_read_again(
        text in "((tcp|tls|ws|wss|x)://)?[a-z:.0-9\\[\\]%@,]{0,12}(:[0-9]{0,6})?(/[a-z,?/]{0,4})?\
                 (\\?((key|maxbackoff|priority|sni|interface|x)=[0-9a-z.]{0,8}&?){0,3})?",
    ) {
        if let Ok(uri) = peer(&text) {
            prop_assert_eq!(peer(&uri.to_string()), Ok(uri));
        }
        if let Ok(uri) = listener(&text) {
            prop_assert_eq!(listener(&uri.to_string()), Ok(uri));
        }
    }
}
