//! The process at the other end of a local connection, and its CPU time.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

/// The unit of `/proc/PID/stat`, the same on all architectures that Rust supports.
const TICK: Duration = Duration::from_millis(10);

const ESTABLISHED: &str = "01";
const LISTENING: &str = "0A";

/// A process on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) id: u32,
    pub(crate) name: String,
}

/// The reason why no process was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// The process is on another machine or in another network namespace.
    Remote,
    /// The process belongs to another user or is hidden.
    Hidden,
}

impl Process {
    /// Finds the process that listens at `remote`, which `local` is connected to.
    pub(crate) fn listening(local: SocketAddr, remote: SocketAddr) -> Result<Self, Unknown> {
        let sockets: Vec<_> = ["/proc/net/tcp", "/proc/net/tcp6"]
            .iter()
            .filter_map(|path| fs::read_to_string(path).ok())
            .flat_map(|text| text.lines().filter_map(Socket::parse).collect::<Vec<_>>())
            .collect();
        let inode = listener(&sockets, plain(local), plain(remote)).ok_or(Unknown::Remote)?;
        let wanted = format!("socket:[{inode}]");
        let processes = fs::read_dir("/proc").map_err(|_| Unknown::Hidden)?;
        for process in processes.flatten() {
            let id = process
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok());
            let (Some(id), Ok(files)) = (id, fs::read_dir(process.path().join("fd"))) else {
                continue;
            };
            let is_wanted =
                |path: &Path| fs::read_link(path).is_ok_and(|to| to.as_os_str() == wanted.as_str());
            if files.flatten().any(|file| is_wanted(&file.path())) {
                let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
                return Ok(Self {
                    id,
                    name: name.trim().to_owned(),
                });
            }
        }
        Err(Unknown::Hidden)
    }

    /// Returns this process.
    pub(crate) fn own() -> Self {
        Self {
            id: std::process::id(),
            name: String::new(),
        }
    }

    /// Returns its user and system CPU time, or `None` if it has ended.
    pub(crate) fn cpu(&self) -> Option<Duration> {
        ticks(&fs::read_to_string(format!("/proc/{}/stat", self.id)).ok()?)
    }
}

/// A row of `/proc/net/tcp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Socket<'a> {
    local: SocketAddr,
    remote: SocketAddr,
    state: &'a str,
    inode: u64,
}

impl Socket<'_> {
    fn parse(line: &str) -> Option<Socket<'static>> {
        let fields: Vec<_> = line.split_whitespace().collect();
        let state = match *fields.get(3)? {
            ESTABLISHED => ESTABLISHED,
            LISTENING => LISTENING,
            _ => return None,
        };
        Some(Socket {
            local: endpoint(fields.get(1)?)?,
            remote: endpoint(fields.get(2)?)?,
            state,
            inode: fields.get(9)?.parse().ok()?,
        })
    }
}

/// Returns the inode of the socket that listens at `remote`, if its end of the connection is local.
fn listener(sockets: &[Socket<'_>], local: SocketAddr, remote: SocketAddr) -> Option<u64> {
    let is_here =
        |s: &&Socket<'_>| s.state == ESTABLISHED && s.local == remote && s.remote == local;
    sockets.iter().find(is_here)?;
    let serves = |s: &&Socket<'_>| {
        s.state == LISTENING
            && s.local.port() == remote.port()
            && (s.local.ip() == remote.ip() || s.local.ip().is_unspecified())
    };
    // A listener on this address takes precedence over one on all addresses.
    let all = sockets.iter().filter(serves);
    all.min_by_key(|s| s.local.ip().is_unspecified())
        .map(|s| s.inode)
}

/// Parses `0100007F:1F90`: an address in words of native byte order, and a port.
fn endpoint(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let mut bytes = Vec::with_capacity(16);
    for at in (0..address.len()).step_by(8) {
        let word = u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?;
        bytes.extend_from_slice(&word.to_ne_bytes());
    }
    let ip = match bytes.len() {
        4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        _ => return None,
    };
    let port = u16::from_str_radix(port, 16).ok()?;
    Some(plain(SocketAddr::new(ip, port)))
}

/// Converts an IPv4-mapped address to IPv4.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Returns the user and system time in a `/proc/PID/stat`. The process name in it may contain anything.
fn ticks(stat: &str) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u32>().ok();
    Some(TICK * next()?.checked_add(next()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn the_own_process_is_found() {
        for address in ["127.0.0.1:0", "[::]:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let mut to = listener.local_addr().unwrap();
            if to.ip().is_unspecified() {
                to.set_ip(Ipv4Addr::LOCALHOST.into());
            }
            let stream = TcpStream::connect(to).unwrap();
            let _accepted = listener.accept().unwrap();
            let found = Process::listening(stream.local_addr().unwrap(), to).unwrap();
            assert_eq!(found.id, std::process::id());
            assert!(found.cpu().is_some());
            drop(stream);
        }
    }

    #[test]
    fn a_remote_connection_has_no_process() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let from = "127.0.0.1:1".parse().unwrap();
        assert_eq!(Process::listening(from, to), Err(Unknown::Remote));
    }

    #[test]
    fn rows_are_parsed() {
        let line = "   1: 0100007F:1F90 0200007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0";
        let socket = Socket::parse(line).unwrap();
        if cfg!(target_endian = "little") {
            assert_eq!(socket.local, "127.0.0.1:8080".parse().unwrap());
            assert_eq!(socket.remote, "127.0.0.2:50000".parse().unwrap());
        }
        assert_eq!((socket.state, socket.inode), (ESTABLISHED, 4711));
        assert_eq!(Socket::parse("  sl  local_address rem_address   st"), None);
        let stat = "42 (a) b) S 1 42 42 0 -1 4194560 100 0 0 0 150 25 0 0 20 0 1 0";
        assert_eq!(ticks(stat), Some(Duration::from_millis(1750)));
        assert_eq!(ticks("42 (a"), None);
    }
}
