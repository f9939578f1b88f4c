use rustix::thread::{CpuSet, sched_setaffinity};

use crate::StartError;

/// Pins the calling thread to a core, if one is given.
pub(crate) fn pin_to(thread: &str, core: Option<usize>) -> Result<(), StartError> {
    let Some(core) = core else {
        return Ok(());
    };
    let failed = |source| StartError::System {
        what: format!("pin the {thread} thread to core {core}"),
        source,
    };
    if core >= CpuSet::MAX_CPU {
        let most = CpuSet::MAX_CPU - 1;
        let source = std::io::Error::other(format!("core numbers go up to {most}"));
        return Err(failed(source));
    }
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).map_err(|errno| failed(errno.into()))
}
