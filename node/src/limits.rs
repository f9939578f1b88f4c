//! Bounds of both planes by their names.

use crate::{Builder, DataPlaneOptions, LimitError, MemoryLimit};

/// The longest frame, which every queue must take.
const LEAST: u64 = 65_536;
const MOST: u64 = u32::MAX as u64;

/// The part of the memory for frames that wait for the control plane: one in so many bytes.
const PENDING_SHARE: u64 = 16;

impl Builder {
    /// Lowers the limits on state that peers can create, for a machine or a container with little memory.
    /// Limits set later, by [`Self::limit`] or [`Self::control`], are taken as they are.
    pub fn fit_memory(mut self, memory: MemoryLimit) -> Self {
        self.0.control.fit_memory(memory.bytes);
        let most = (memory.bytes / PENDING_SHARE).max(LEAST);
        let pending = &mut self.0.dataplane.pending_bytes;
        *pending = (*pending).min(usize::try_from(most).unwrap_or(usize::MAX));
        self
    }

    /// The bounds that [`Self::limit`] sets, as they are.
    #[must_use]
    pub fn limit_values(&self) -> Vec<(&'static str, u64)> {
        let mut values = self.0.control.limit_values();
        let mut dataplane = self.0.dataplane.clone();
        let waiting = waiting(&mut dataplane);
        values.extend(waiting.map(|(name, bytes)| (name, *bytes as u64)));
        values
    }

    /// Sets a bound by its name, for configuration files and command lines: those of the
    /// [control plane](crate::ControlConfig::limit_names), and bytes of protocol frames that may wait,
    /// `max-pending-bytes` and `max-pending-bytes-per-peer` for the control plane and
    /// `max-protocol-bytes-per-peer` for one peer that does not take them.
    ///
    /// # Errors
    /// [`LimitError`].
    pub fn limit(mut self, name: &str, value: u64) -> Result<Self, LimitError> {
        let waiting = waiting(&mut self.0.dataplane);
        let names = waiting.each_ref().map(|(name, _)| *name);
        match waiting.into_iter().find(|(known, _)| *known == name) {
            Some((_, bytes)) if (LEAST..=MOST).contains(&value) => *bytes = value as usize,
            Some(_) => {
                return Err(LimitError::Range {
                    name: name.to_owned(),
                    least: LEAST,
                    most: MOST,
                });
            }
            None => match self.0.control.set_limit(name, value) {
                Err(LimitError::Unknown { name, mut known }) => {
                    known.extend(names);
                    return Err(LimitError::Unknown { name, known });
                }
                result => result?,
            },
        }
        Ok(self)
    }
}

fn waiting(options: &mut DataPlaneOptions) -> [(&'static str, &mut usize); 3] {
    [
        ("max-pending-bytes", &mut options.pending_bytes),
        (
            "max-pending-bytes-per-peer",
            &mut options.port_pending_bytes,
        ),
        (
            "max-protocol-bytes-per-peer",
            &mut options.port_protocol_bytes,
        ),
    ]
}

#[cfg(test)]
mod tests {
    use crate::{MemoryLimit, Node};

    #[test]
    fn both_planes_fit_the_memory_and_limits_given_later_stand() {
        let memory = |bytes| MemoryLimit {
            bytes,
            is_cgroup: true,
        };
        let small = Node::builder().fit_memory(memory(32 << 20));
        assert_eq!(small.0.dataplane.pending_bytes, 2 << 20);
        assert_eq!(small.0.control.max_peers, 32);
        let values = small.limit_values();
        assert!(values.contains(&("max-peers", 32)), "{values:?}");
        assert!(
            values.contains(&("max-pending-bytes", 2 << 20)),
            "{values:?}"
        );
        let given = small.limit("max-peers", 1000).unwrap();
        assert_eq!(given.0.control.max_peers, 1000);
        let tiny = Node::builder().fit_memory(memory(1 << 10));
        assert_eq!(tiny.0.dataplane.pending_bytes, 65_536);
        let large = Node::builder().fit_memory(memory(64 << 30));
        assert_eq!(large.0.dataplane.pending_bytes, 64 << 20);
    }

    #[test]
    fn both_planes_bounds_are_set_by_name() {
        let builder = Node::builder()
            .limit("max-pending-bytes", 70_000)
            .and_then(|b| b.limit("max-pending-bytes-per-peer", 65_536))
            .and_then(|b| b.limit("max-protocol-bytes-per-peer", 80_000))
            .and_then(|b| b.limit("max-cached-coordinates", 9))
            .unwrap();
        let options = &builder.0.dataplane;
        assert_eq!(options.pending_bytes, 70_000);
        assert_eq!(options.port_pending_bytes, 65_536);
        assert_eq!(options.port_protocol_bytes, 80_000);
        assert_eq!(builder.0.control.max_cached_coordinates, 9);
        let refused = |name, value| {
            let result = Node::builder().limit(name, value);
            result.err().unwrap().to_string()
        };
        assert!(refused("max-pending-bytes", 65_535).contains("from 65536 to"));
        assert!(refused("max-rutes", 1).contains("max-routes, "));
        assert!(refused("max-rutes", 1).contains("max-pending-bytes-per-peer"));
    }
}
