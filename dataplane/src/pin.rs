use std::io;

use rustix::thread::{CpuSet, sched_setaffinity};

/// Restricts the calling thread, and threads that it starts from now on, to one core.
///
/// # Errors
/// The system has no such core, or this process may not use it.
pub fn pin_to_core(core: usize) -> io::Result<()> {
    if core >= CpuSet::MAX_CPU {
        let most = CpuSet::MAX_CPU - 1;
        return Err(io::Error::other(format!("core numbers go up to {most}")));
    }
    let mut cores = CpuSet::new();
    cores.set(core);
    Ok(sched_setaffinity(None, &cores)?)
}
