//! Lists of cores, such as `1,2,4-7`.

use std::str::FromStr;

use crate::failure::Failure;

/// The highest core number that is accepted. Every core of a range is stored.
const MAX_CORE: usize = 4095;

/// Cores in the order of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CoreList(pub(crate) Vec<usize>);

impl FromStr for CoreList {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let mut cores = Vec::new();
        for part in s.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| {
                text.trim()
                    .parse()
                    .ok()
                    .filter(|core| *core <= MAX_CORE)
                    .ok_or_else(|| format!("{part:?} is not a core or a range such as 4-7"))
            };
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(format!("the range {part} is empty"));
            }
            for core in first..=last {
                if cores.contains(&core) {
                    return Err(format!("core {core} is in the list twice"));
                }
                cores.push(core);
            }
        }
        Ok(Self(cores))
    }
}

/// Fails if this process may not run on one of the cores.
pub(crate) fn check(cores: &[usize]) -> Result<(), Failure> {
    let allowed = rustix::thread::sched_getaffinity(None)
        .map_err(|e| Failure::runtime(format!("cannot read the CPU affinity: {e}")))?;
    let usable = |core: usize| core < rustix::thread::CpuSet::MAX_CPU && allowed.is_set(core);
    match cores.iter().find(|core| !usable(**core)) {
        None => Ok(()),
        Some(core) => {
            let list: Vec<_> = (0..rustix::thread::CpuSet::MAX_CPU)
                .filter(|core| usable(*core))
                .map(|core| core.to_string())
                .collect();
            Err(Failure::usage(format!(
                "core {core} cannot be used; this process may use: {}",
                list.join(",")
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_ranges() {
        let cores = |s: &str| s.parse::<CoreList>().map(|list| list.0);
        assert_eq!(cores("3"), Ok(vec![3]));
        assert_eq!(cores("1,2,4-7"), Ok(vec![1, 2, 4, 5, 6, 7]));
        assert_eq!(cores("5, 0-1"), Ok(vec![5, 0, 1]));
        for wrong in [
            "",
            ",",
            "1,",
            "x",
            "-1",
            "3-1",
            "1,1",
            "0-2,1",
            "0-99999999",
            "1-2-3",
        ] {
            assert!(cores(wrong).is_err(), "{wrong:?}");
        }
    }
}
