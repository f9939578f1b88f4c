use pinecone_dataplane::pin_to_core;

use crate::StartError;

/// Pins the calling thread, named in the error, to a core if one is given.
pub(crate) fn pin_to(thread: &str, core: Option<usize>) -> Result<(), StartError> {
    let Some(core) = core else { return Ok(()) };
    pin_to_core(core).map_err(|source| StartError::System {
        what: format!("pin the {thread} thread to core {core}"),
        source,
    })
}
