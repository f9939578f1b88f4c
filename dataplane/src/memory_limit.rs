//! The memory that this process may use: the limit of its cgroup, or the memory of the system.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// The maximum memory for waiting traffic by default, and its share of all memory.
const QUEUE_MAX: u64 = 256 << 20;
const QUEUE_SHARE: u64 = 8;

/// An amount of memory, and the source of the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLimit {
    /// The amount in bytes.
    pub bytes: u64,
    /// True if a cgroup sets this limit, rather than the size of the machine.
    pub is_cgroup: bool,
}

impl MemoryLimit {
    /// Reads the limit of this process. Returns `None` if the system does not provide it.
    #[must_use]
    pub fn read() -> Option<Self> {
        Self::below(Path::new("/"))
    }

    /// Returns the default of `DataPlaneOptions::queue_bytes`: an eighth of the memory, and at most 256
    /// MiB.
    #[must_use]
    pub fn default_queue_bytes(limit: Option<Self>) -> usize {
        let share = limit.map_or(QUEUE_MAX, |limit| limit.bytes / QUEUE_SHARE);
        share.min(QUEUE_MAX) as usize
    }

    /// Reads the limit below another root directory.
    fn below(root: &Path) -> Option<Self> {
        let cgroup = cgroup_limit(root);
        let system = system_memory(root);
        match (cgroup, system) {
            (Some(bytes), system) if system.is_none_or(|system| bytes < system) => Some(Self {
                bytes,
                is_cgroup: true,
            }),
            (_, system) => system.map(|bytes| Self {
                bytes,
                is_cgroup: false,
            }),
        }
    }
}

impl fmt::Display for MemoryLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose = match self.is_cgroup {
            true => "the cgroup's limit",
            false => "the system's memory",
        };
        write!(f, "{whose} of {} MiB", self.bytes >> 20)
    }
}

/// A mounted cgroup hierarchy that may limit memory.
struct Hierarchy {
    /// The path of the cgroup that is mounted, and the mount point.
    root: PathBuf,
    at: PathBuf,
    is_v2: bool,
}

/// Returns the lowest limit of the process's cgroup and of all cgroups above it, in both versions.
fn cgroup_limit(root: &Path) -> Option<u64> {
    let cgroups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let mounts = fs::read_to_string(root.join("proc/self/mountinfo")).ok()?;
    let limits = mounts.lines().filter_map(hierarchy).filter_map(|mounted| {
        let own = cgroups.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            let is_it = match mounted.is_v2 {
                true => controllers.is_empty(),
                false => controllers.split(',').any(|c| c == "memory"),
            };
            is_it.then_some(Path::new(path))
        })?;
        // A container sees its own cgroup as the root, or a path that is not mounted there.
        let inner = own.strip_prefix(&mounted.root).unwrap_or(Path::new(""));
        let file = match mounted.is_v2 {
            true => "memory.max",
            false => "memory.limit_in_bytes",
        };
        let read = |inner: &Path| {
            let directory = root.join(mounted.at.strip_prefix("/").ok()?).join(inner);
            let text = fs::read_to_string(directory.join(file)).ok()?;
            // "max" is no limit, nor is a number that is larger than any machine.
            text.trim().parse::<u64>().ok()
        };
        inner.ancestors().filter_map(read).min()
    });
    limits.min()
}

/// Reads a line of `/proc/self/mountinfo`.
fn hierarchy(line: &str) -> Option<Hierarchy> {
    let (mount, file_system) = line.split_once(" - ")?;
    let mut mount = mount.split(' ').skip(3);
    let (root, at) = (mount.next()?, mount.next()?);
    let mut file_system = file_system.split(' ');
    let is_v2 = match file_system.next()? {
        "cgroup2" => true,
        "cgroup" if file_system.nth(1)?.split(',').any(|o| o == "memory") => false,
        _ => return None,
    };
    Some(Hierarchy {
        root: root.into(),
        at: at.into(),
        is_v2,
    })
}

fn system_memory(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "35 31 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      36 31 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n";
    const V2: &str = "41 31 0:38 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";

    /// Returns the limit with these files, on a machine of 8 GiB.
    fn limit(files: &[(&str, &str)]) -> Option<MemoryLimit> {
        let root = tempfile::tempdir().unwrap();
        let meminfo = (
            "proc/meminfo",
            "MemTotal:        8388608 kB\nMemFree: 1 kB\n",
        );
        for (path, text) in files.iter().chain([&meminfo]) {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        MemoryLimit::below(root.path())
    }

    fn mib(limit: Option<MemoryLimit>) -> (u64, bool) {
        let limit = limit.unwrap();
        (limit.bytes >> 20, limit.is_cgroup)
    }

    #[test]
    fn without_a_cgroup_it_is_the_systems() {
        assert_eq!(mib(limit(&[])), (8192, false));
        let unlimited = limit(&[
            ("proc/self/mountinfo", V2),
            ("proc/self/cgroup", "0::/a\n"),
            ("sys/fs/cgroup/a/memory.max", "max\n"),
        ]);
        assert_eq!(mib(unlimited), (8192, false));
        let unlimited = limit(&[
            ("proc/self/mountinfo", V1),
            ("proc/self/cgroup", "4:memory:/\n"),
            (
                "sys/fs/cgroup/memory/memory.limit_in_bytes",
                "9223372036854771712\n",
            ),
        ]);
        assert_eq!(mib(unlimited), (8192, false));
    }

    #[test]
    fn the_least_limit_on_the_way_up_counts() {
        let v2 = limit(&[
            ("proc/self/mountinfo", V2),
            ("proc/self/cgroup", "0::/a/b/c\n"),
            ("sys/fs/cgroup/a/memory.max", "33554432\n"),
            ("sys/fs/cgroup/a/b/memory.max", "max\n"),
            ("sys/fs/cgroup/a/b/c/memory.max", "67108864\n"),
        ]);
        assert_eq!(mib(v2), (32, true));
        let v1 = limit(&[
            ("proc/self/mountinfo", V1),
            ("proc/self/cgroup", "7:cpu:/x\n4:memory:/a/b\n0::/\n"),
            ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "50331648\n"),
            (
                "sys/fs/cgroup/memory/a/b/memory.limit_in_bytes",
                "9223372036854771712\n",
            ),
        ]);
        assert_eq!(mib(v1), (48, true));
    }

    /// The path in `/proc/self/cgroup` may be the host's.
    #[test]
    fn a_container_finds_its_own_limit() {
        let mount = "41 31 0:38 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n";
        for path in ["0::/docker/abc\n", "0::/\n", "0::/elsewhere\n"] {
            let limit = limit(&[
                ("proc/self/mountinfo", mount),
                ("proc/self/cgroup", path),
                ("sys/fs/cgroup/memory.max", "33554432\n"),
            ]);
            assert_eq!(mib(limit), (32, true), "{path}");
        }
    }

    #[test]
    fn the_queue_gets_an_eighth_up_to_a_bound() {
        let of = |bytes| {
            MemoryLimit::default_queue_bytes(Some(MemoryLimit {
                bytes,
                is_cgroup: true,
            }))
        };
        assert_eq!(
            (of(32 << 20), of(1 << 30), of(1 << 40)),
            (4 << 20, 128 << 20, 256 << 20)
        );
        assert_eq!(MemoryLimit::default_queue_bytes(None), 256 << 20);
        assert!(MemoryLimit::read().is_some(), "this machine tells nothing");
    }
}
