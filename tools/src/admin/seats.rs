//! Limits on the clients of the admin socket.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

/// Number of clients that may stay silent without a time limit.
const KEPT: usize = 16;
/// Number of clients that may be connected.
const MAX: usize = 32;
/// Time that a client may be silent while more than [`KEPT`] are connected.
const SILENCE: Duration = Duration::from_secs(60);

/// The connected clients.
#[derive(Debug, Default)]
pub(crate) struct Seats {
    seats: Vec<Seat>,
    next: u64,
}

/// Identifies a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SeatId(u64);

/// Receives the reason when the client is dismissed.
pub(crate) type Dismissal = oneshot::Receiver<String>;

#[derive(Debug)]
struct Seat {
    id: SeatId,
    /// `None` while a request is answered.
    silent_since: Option<Instant>,
    dismiss: oneshot::Sender<String>,
}

impl Seats {
    /// Adds a client. At the limit, dismisses the client that has been silent the longest.
    ///
    /// # Errors
    /// All clients are being answered. The text is for the new client.
    pub(crate) fn enter(&mut self, now: Instant) -> Result<(SeatId, Dismissal), String> {
        if self.seats.len() >= MAX {
            let Some((index, since)) = self.longest_silent() else {
                return Err(format!(
                    "the node is answering {MAX} clients already: try again later"
                ));
            };
            let seconds = now.saturating_duration_since(since).as_secs();
            self.dismiss(
                index,
                format!("closed after {seconds} s of silence, to make room for another client"),
            );
        }
        let id = SeatId(self.next);
        self.next += 1;
        let (dismiss, dismissal) = oneshot::channel();
        self.seats.push(Seat {
            id,
            silent_since: Some(now),
            dismiss,
        });
        self.sweep(now);
        Ok((id, dismissal))
    }

    /// Records a request of the client. Returns false if the client has been dismissed.
    pub(crate) fn asked(&mut self, id: SeatId) -> bool {
        self.set(id, None)
    }

    /// Records the end of the reply. Returns false if the client has been dismissed.
    pub(crate) fn answered(&mut self, id: SeatId, now: Instant) -> bool {
        self.set(id, Some(now))
    }

    /// Removes a client that has disconnected.
    pub(crate) fn leave(&mut self, id: SeatId) {
        self.seats.retain(|seat| seat.id != id);
    }

    /// Reports whether silent clients must be looked for.
    pub(crate) fn is_crowded(&self) -> bool {
        self.seats.len() > KEPT
    }

    /// Dismisses clients that have been silent for too long, the longest first, until no more than
    /// [`KEPT`] are left.
    pub(crate) fn sweep(&mut self, now: Instant) {
        while self.is_crowded()
            && let Some((index, since)) = self.longest_silent()
            && now.saturating_duration_since(since) >= SILENCE
        {
            let seconds = SILENCE.as_secs();
            self.dismiss(
                index,
                format!("closed after {seconds} s of silence, as more than {KEPT} are connected"),
            );
        }
    }

    fn longest_silent(&self) -> Option<(usize, Instant)> {
        let silent = self.seats.iter().enumerate();
        silent
            .filter_map(|(index, seat)| Some((index, seat.silent_since?)))
            .min_by_key(|(_, since)| *since)
    }

    fn dismiss(&mut self, index: usize, why: String) {
        let seat = self.seats.remove(index);
        // Fails if the client has just disconnected.
        let _ = seat.dismiss.send(why);
    }

    fn set(&mut self, id: SeatId, silent_since: Option<Instant>) -> bool {
        match self.seats.iter_mut().find(|seat| seat.id == id) {
            Some(seat) => {
                seat.silent_since = silent_since;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn dismissed(dismissal: &mut Dismissal) -> Option<String> {
        dismissal.try_recv().ok()
    }

    #[test]
    fn few_clients_may_stay_silent() {
        let (start, mut seats) = (Instant::now(), Seats::default());
        let mut clients: Vec<_> = (0..KEPT).map(|_| seats.enter(start).unwrap()).collect();
        seats.sweep(start + seconds(86_400));
        assert!(clients.iter_mut().all(|(_, d)| dismissed(d).is_none()));
        // One more client: the one that has been silent the longest is dismissed.
        let busy = clients[0].0;
        assert!(seats.asked(busy));
        seats.enter(start + seconds(86_400)).unwrap();
        let gone: Vec<_> = clients.iter_mut().map(|(_, d)| dismissed(d)).collect();
        assert_eq!(gone.iter().flatten().count(), 1);
        assert!(gone[1].as_deref().unwrap().contains("60 s of silence"));
        assert!(!seats.asked(clients[1].0));
        assert!(!seats.is_crowded());
    }

    #[test]
    fn silence_is_counted_from_the_last_answer() {
        let (start, mut seats) = (Instant::now(), Seats::default());
        let mut clients: Vec<_> = (0..=KEPT).map(|_| seats.enter(start).unwrap()).collect();
        assert!(seats.is_crowded());
        for (id, _) in clients.iter().skip(1) {
            assert!(seats.asked(*id) && seats.answered(*id, start + seconds(30)));
        }
        seats.sweep(start + seconds(60) - Duration::from_millis(1));
        assert!(clients.iter_mut().all(|(_, d)| dismissed(d).is_none()));
        seats.sweep(start + seconds(60));
        assert!(dismissed(&mut clients[0].1).is_some());
        seats.sweep(start + seconds(600));
        assert!(
            clients
                .iter_mut()
                .skip(1)
                .all(|(_, d)| dismissed(d).is_none())
        );
    }

    #[test]
    fn at_the_limit_the_longest_silent_gives_way_and_the_busy_stay() {
        let (start, mut seats) = (Instant::now(), Seats::default());
        let mut clients: Vec<_> = (0..MAX as u64)
            .map(|n| seats.enter(start + seconds(n)).unwrap())
            .collect();
        let now = start + seconds(MAX as u64);
        assert!(seats.asked(clients[0].0));
        seats.enter(now).unwrap();
        assert!(dismissed(&mut clients[0].1).is_none());
        assert!(
            dismissed(&mut clients[1].1)
                .unwrap()
                .contains("31 s of silence")
        );
        // One more is refused once all are busy.
        let ids: Vec<_> = seats.seats.iter().map(|seat| seat.id).collect();
        assert!(ids.iter().all(|id| seats.asked(*id)));
        assert!(seats.enter(now).unwrap_err().contains("try again later"));
        seats.leave(ids[5]);
        seats.enter(now).unwrap();
        assert_eq!(seats.seats.len(), MAX);
    }
}
