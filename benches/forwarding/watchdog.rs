//! A watchdog, which ends the bench with an error if a measurement hangs.

use std::sync::{Mutex, Once};
use std::time::{Duration, Instant};

static DUE: Mutex<Option<(Instant, String)>> = Mutex::new(None);

/// Allows `what` to take `limit`, until the next call or until the returned value is dropped.
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
            eprintln!("error: {what} hangs; the bench ends here");
            std::process::exit(1);
        }
    }
}
