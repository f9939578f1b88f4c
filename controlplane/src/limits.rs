//! The bounds of a [`Config`], by name.

use std::time::Duration;

use crate::Config;

/// The maximum of a countable limit.
const MOST: u64 = u32::MAX as u64;
/// The maximum of a time limit in seconds: ten years.
const LONGEST: u64 = 10 * 365 * 24 * 60 * 60;

/// The reason why a limit cannot be set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitError {
    /// The name is not that of a limit.
    #[error("no limit is called {name}; the limits are {}", known.join(", "))]
    Unknown {
        /// The unknown name.
        name: String,
        /// The names of all limits.
        known: Vec<&'static str>,
    },
    /// The value is out of range.
    #[error("{name} takes a number from {least} to {most}")]
    Range {
        /// The name of the limit.
        name: String,
        /// The smallest allowed value.
        least: u64,
        /// The largest allowed value.
        most: u64,
    },
}

enum Limit<'a> {
    Count(&'a mut usize),
    Seconds(&'a mut Duration),
}

impl Config {
    /// Returns the names of the limits, for configuration files and command lines. They are the fields' names with
    /// hyphens.
    #[must_use]
    pub fn limit_names() -> Vec<&'static str> {
        let mut config = Self::default();
        config.limits().into_iter().map(|(name, _)| name).collect()
    }

    /// Returns all limits with their values. Times are in seconds.
    #[must_use]
    pub fn limit_values(&self) -> Vec<(&'static str, u64)> {
        let mut config = self.clone();
        let limits = config.limits().into_iter();
        limits
            .map(|(name, limit)| match limit {
                Limit::Count(count) => (name, *count as u64),
                Limit::Seconds(time) => (name, time.as_secs()),
            })
            .collect()
    }

    /// Lowers the limits on state that peers can create, so that all of it takes less than half of `bytes` of memory,
    /// even if every peer sends a long announcement. Limits that are lower already stay. Small minimums apply.
    pub fn fit_memory(&mut self, bytes: u64) {
        let fit = |limit: &mut usize, share: u64, each: u64, least: usize| {
            let most = usize::try_from(bytes / share / each).unwrap_or(usize::MAX);
            *limit = (*limit).min(most.max(least));
        };
        // 64 KiB is the longest unfinished frame. A long announcement takes up to 192 KiB more.
        fit(&mut self.max_peers, 4, 256 << 10, 16);
        fit(&mut self.max_routes, 16, 400, 1000);
        fit(&mut self.max_remembered_sequences, 32, 80, 1000);
        fit(&mut self.max_cached_coordinates, 32, 560, 100);
        fit(&mut self.max_cached_keys, 64, 300, 100);
        fit(&mut self.max_cached_signatures, 64, 150, 100);
        fit(&mut self.max_broadcast_keys, 64, 150, 100);
        self.max_routes_per_peer = self.max_routes_per_peer.min(self.max_routes);
        self.max_broadcast_keys_per_peer = self
            .max_broadcast_keys_per_peer
            .min(self.max_broadcast_keys);
    }

    /// Sets a limit by its name. Times are in seconds.
    ///
    /// # Errors
    /// [`LimitError`] if there is no such limit or the value is out of range. Nothing is changed then.
    pub fn set_limit(&mut self, name: &str, value: u64) -> Result<(), LimitError> {
        let found = self.limits().into_iter().find(|(known, _)| *known == name);
        let Some((_, limit)) = found else {
            return Err(LimitError::Unknown {
                name: name.to_owned(),
                known: Self::limit_names(),
            });
        };
        let most = match &limit {
            Limit::Count(_) => MOST,
            Limit::Seconds(_) => LONGEST,
        };
        if !(1..=most).contains(&value) {
            return Err(LimitError::Range {
                name: name.to_owned(),
                least: 1,
                most,
            });
        }
        match limit {
            Limit::Count(count) => *count = value as usize,
            Limit::Seconds(time) => *time = Duration::from_secs(value),
        }
        Ok(())
    }

    fn limits(&mut self) -> [(&'static str, Limit<'_>); 22] {
        // Lists every field, so that a new one cannot be forgotten here.
        let Self {
            wakeup_broadcasts: _,
            wakeup_hops: _,
            wakeup_phase: _,
            max_broadcasts_forwarded,
            correct_paths: _,
            max_break_notices,
            max_peers,
            announce_within,
            max_routes,
            max_routes_per_peer,
            max_sequence_lead,
            sequence_memory,
            max_remembered_sequences,
            max_broadcast_keys,
            max_broadcast_keys_per_peer,
            max_offences,
            offence_window,
            max_root_changes,
            root_change_window,
            root_change_delay,
            max_root_flaps,
            root_flap_window,
            root_flap_hold,
            max_cached_keys,
            max_cached_signatures,
            max_cached_coordinates,
        } = self;
        [
            (
                "max-broadcasts-forwarded",
                Limit::Count(max_broadcasts_forwarded),
            ),
            ("max-break-notices", Limit::Count(max_break_notices)),
            ("max-peers", Limit::Count(max_peers)),
            ("announce-within", Limit::Seconds(announce_within)),
            ("max-routes", Limit::Count(max_routes)),
            ("max-routes-per-peer", Limit::Count(max_routes_per_peer)),
            ("max-sequence-lead", Limit::Seconds(max_sequence_lead)),
            ("sequence-memory", Limit::Seconds(sequence_memory)),
            (
                "max-remembered-sequences",
                Limit::Count(max_remembered_sequences),
            ),
            ("max-broadcast-keys", Limit::Count(max_broadcast_keys)),
            (
                "max-broadcast-keys-per-peer",
                Limit::Count(max_broadcast_keys_per_peer),
            ),
            ("max-offences", Limit::Count(max_offences)),
            ("offence-window", Limit::Seconds(offence_window)),
            ("max-root-changes", Limit::Count(max_root_changes)),
            ("root-change-window", Limit::Seconds(root_change_window)),
            ("root-change-delay", Limit::Seconds(root_change_delay)),
            ("max-root-flaps", Limit::Count(max_root_flaps)),
            ("root-flap-window", Limit::Seconds(root_flap_window)),
            ("root-flap-hold", Limit::Seconds(root_flap_hold)),
            ("max-cached-keys", Limit::Count(max_cached_keys)),
            ("max-cached-signatures", Limit::Count(max_cached_signatures)),
            (
                "max-cached-coordinates",
                Limit::Count(max_cached_coordinates),
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_follow_the_memory() {
        let mut config = Config::default();
        config.fit_memory(64 << 30);
        assert_eq!(config.max_routes, Config::default().max_routes);
        assert_eq!(config.max_peers, Config::default().max_peers);
        config.fit_memory(32 << 20);
        assert_eq!(config.max_peers, 32);
        assert_eq!(config.max_routes, 5242);
        assert_eq!(config.max_routes_per_peer, 5242);
        assert_eq!(config.max_cached_coordinates, 1872);
        config.fit_memory(0);
        assert_eq!(config.max_peers, 16);
        let lower = config.max_routes;
        config.fit_memory(64 << 30);
        assert_eq!(config.max_routes, lower);
    }

    #[test]
    fn every_limit_can_be_set_and_no_other_changes() {
        let names = Config::limit_names();
        for name in &names {
            let mut config = Config::default();
            config.set_limit(name, 7).unwrap();
            let before = Config::default().limit_values();
            for ((known, before), (_, after)) in before.into_iter().zip(config.limit_values()) {
                let expected = if known == *name { 7 } else { before };
                assert_eq!(after, expected, "{known} where {name} is set");
            }
        }
    }

    #[test]
    fn invalid_limits_are_refused_with_the_valid_ones() {
        let mut config = Config::default();
        let unknown = config.set_limit("max-rutes", 1).unwrap_err().to_string();
        assert!(unknown.contains("max-routes,"), "{unknown}");
        for (name, value) in [
            ("max-routes", 0),
            ("max-routes", 1 << 32),
            ("sequence-memory", u64::MAX),
        ] {
            let error = config.set_limit(name, value).unwrap_err().to_string();
            assert!(error.contains("from 1 to"), "{error}");
        }
        assert_eq!(config, Config::default());
    }
}
