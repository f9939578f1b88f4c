//! Ends the bench, with a word on where it was, if something hangs.

use std::sync::{Mutex, Once};
use std::time::{Duration, Instant};

static DUE: Mutex<Option<(Instant, String)>> = Mutex::new(None);

/// From now on until the next call, or until it is dropped, `what` may take `limit`.
pub fn watch(limit: Duration, what: impl Into<String>) -> Watch {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| drop(std::thread::spawn(look)));
    *DUE.lock().expect("lock") = Some((Instant::now() + limit, what.into()));
    Watch
}

pub struct Watch;

impl Drop for Watch {
    fn drop(&mut self) {
        *DUE.lock().expect("lock") = None;
    }
}

fn look() {
    loop {
        std::thread::sleep(Duration::from_millis(500));
        let due = DUE.lock().expect("lock");
        if let Some((due, what)) = &*due
            && Instant::now() > *due
        {
            eprintln!("error: {what} hangs; the bench is given up");
            std::process::exit(1);
        }
    }
}
