//! The limits of a node by name, as set with `--limit`.

use pinecone::{DataPlaneOptions, LimitError, NodeOptions};

/// The least value, as every queue must hold the longest frame.
const LEAST: u64 = 65_536;
const MOST: u64 = u32::MAX as u64;

/// Returns all limits with their values.
pub(crate) fn values(options: &NodeOptions) -> Vec<(&'static str, u64)> {
    let mut values = options.control.limit_values();
    let mut dataplane = options.dataplane.clone();
    let queues = queues(&mut dataplane);
    values.extend(queues.map(|(name, bytes)| (name, *bytes as u64)));
    values
}

/// Sets a limit of the control plane or of the queues of protocol frames.
pub(crate) fn set(options: &mut NodeOptions, name: &str, value: u64) -> Result<(), LimitError> {
    let queues = queues(&mut options.dataplane);
    let names = queues.each_ref().map(|(name, _)| *name);
    match queues.into_iter().find(|(known, _)| *known == name) {
        Some((_, bytes)) if (LEAST..=MOST).contains(&value) => {
            *bytes = value as usize;
            Ok(())
        }
        Some(_) => Err(LimitError::Range {
            name: name.to_owned(),
            least: LEAST,
            most: MOST,
        }),
        None => options.control.set_limit(name, value).map_err(|error| {
            let LimitError::Unknown { name, mut known } = error else {
                return error;
            };
            known.extend(names);
            LimitError::Unknown { name, known }
        }),
    }
}

/// Parses `NAME=NUMBER` and checks that the limit can be set to the number.
pub(crate) fn parse(text: &str) -> Result<(String, u64), String> {
    let (name, value) = text
        .split_once('=')
        .and_then(|(name, value)| Some((name, value.parse().ok()?)))
        .ok_or_else(|| "expected a name and a number, as in max-routes=500000".to_owned())?;
    match set(&mut NodeOptions::default(), name, value) {
        Ok(()) => Ok((name.to_owned(), value)),
        Err(error) => Err(error.to_string()),
    }
}

fn queues(options: &mut DataPlaneOptions) -> [(&'static str, &mut usize); 3] {
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
    use super::*;

    #[test]
    fn limits_of_both_planes_are_set_by_name() {
        let mut options = NodeOptions::default();
        for (name, value) in [
            ("max-pending-bytes", 70_000),
            ("max-pending-bytes-per-peer", 65_536),
            ("max-protocol-bytes-per-peer", 80_000),
            ("max-cached-coordinates", 9),
        ] {
            set(&mut options, name, value).unwrap();
            assert!(values(&options).contains(&(name, value)), "{name}");
        }
        assert_eq!(options.dataplane.pending_bytes, 70_000);
        assert_eq!(options.dataplane.port_pending_bytes, 65_536);
        assert_eq!(options.dataplane.port_protocol_bytes, 80_000);
        assert_eq!(options.control.max_cached_coordinates, 9);
        let refused = |text| parse(text).unwrap_err();
        assert!(refused("max-pending-bytes=65535").contains("from 65536 to"));
        assert!(refused("max-rutes=1").contains("max-routes, "));
        assert!(refused("max-rutes=1").contains("max-pending-bytes-per-peer"));
    }
}
