//! Nodes of a persistent tree, in memory of their own: one owner edits, any number of frozen views
//! read meanwhile, and no node counts its references.
//!
//! A slot says from which version on it holds a node and from which on no more. A view is of one
//! version and is refused every other node, so that the slots that it may be reading are exactly
//! those that have not been given to another node since: a slot is reused when every view of the
//! versions that it served is gone.
//!
//! Slots are never given back before the arena goes, with its last view.

mod chunk;

use std::alloc::Layout;
use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::fmt;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use self::chunk::Chunk;
use super::prefetch::prefetch;

/// Slots of a chunk, as a power of two.
const CHUNK_BITS: u32 = 15;
const CHUNK: usize = 1 << CHUNK_BITS;
/// An arena's first chunk begins with room for so many slots, and is copied to one a quarter
/// larger when it is full.
const SMALLEST: usize = 2;
/// From so many slots on a chunk is a mapping of its own and has its full size. A process may have
/// some 65,000 mappings, and a simulator has several arenas for each of its nodes.
const MAPPED: usize = 256;
/// The version that a node dies at while it lives.
const ALIVE: u32 = u32::MAX;
/// The version that the owner looks from: it sees what lives.
const OWNER: u32 = u32::MAX - 1;
/// The last version that a view may have.
const LAST: u32 = if cfg!(test) { 5000 } else { u32::MAX - 2 };

/// The owner's arena, or, as its clone, a frozen view of it.
pub(crate) struct Arena<T> {
    table: Arc<Table<T>>,
    version: u32,
    /// How many slots have ever been used: those behind are not initialised.
    limit: u32,
    /// Keeps the slots that this view sees from being reused.
    _pin: Option<Arc<()>>,
    /// Of the owner only. A lock because a view is made from a shared reference; else uncontended.
    owner: Option<Box<Mutex<Owner>>>,
}

/// Where the chunks are.
struct Table<T> {
    bases: Vec<NonNull<Slot<T>>>,
    chunks: Vec<Arc<Chunk>>,
}

// SAFETY: a table gives away shared and exclusive references to `T` to other threads, which is
// what the bounds are for; the chunks that its pointers lead to live as long as it does.
unsafe impl<T: Send + Sync> Send for Table<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Table<T> {}

/// Aligned to cache lines, and the stamps are in the node's first.
#[repr(C, align(64))]
struct Slot<T> {
    /// The first version that sees the node.
    born: AtomicU32,
    /// The first later version that does not.
    died: AtomicU32,
    node: UnsafeCell<MaybeUninit<T>>,
}

/// Where a node of a view is.
pub(crate) struct Spot<'a, T> {
    slot: &'a Slot<T>,
    version: u32,
}

#[derive(Default)]
struct Owner {
    /// The version of the next view.
    next: u32,
    /// Whether there are edits since the last.
    changed: bool,
    /// Oldest first.
    views: VecDeque<View>,
    /// Slots that no view sees.
    free: Vec<u32>,
    /// The `next` for which [`Owner::collect`] has run.
    collected: u32,
}

struct View {
    version: u32,
    /// Nobody else has it once all clones of the view are gone.
    pin: Arc<()>,
    /// Slots of dead nodes that no later view sees.
    kept: Vec<u32>,
}

impl<T> Arena<T> {
    /// An arena without nodes, and its owner.
    pub(crate) fn new() -> Self {
        const {
            assert!(
                !std::mem::needs_drop::<T>(),
                "nodes are forgotten, not dropped"
            )
        };
        Self {
            table: Arc::new(Table {
                bases: Vec::new(),
                chunks: Vec::new(),
            }),
            version: OWNER,
            limit: 0,
            _pin: None,
            owner: Some(Box::default()),
        }
    }

    /// Whether this is the owner and can still number its versions.
    pub(crate) fn can_edit(&mut self) -> bool {
        self.owner().is_some_and(|owner| owner.next <= LAST)
    }

    /// The node at `id`, if this view has one there.
    #[inline(always)]
    pub(crate) fn get(&self, id: u32) -> Option<&T> {
        self.spot(id)?.get()
    }

    /// Where the node at `id` is, if there can be one; reads nothing of it.
    #[inline(always)]
    pub(crate) fn spot(&self, id: u32) -> Option<Spot<'_, T>> {
        let (slot, version) = (self.slot(id)?, self.version);
        Some(Spot { slot, version })
    }

    /// Starts fetching the node at `id`.
    pub(crate) fn prefetch_all(&self, id: u32) {
        if let Some(spot) = self.spot(id) {
            for offset in (0..size_of::<T>()).step_by(64) {
                spot.prefetch(offset);
            }
        }
    }

    #[inline(always)]
    fn slot(&self, id: u32) -> Option<&Slot<T>> {
        if id >= self.limit {
            return None;
        }
        let base = self.table.bases.get((id >> CHUNK_BITS) as usize)?;
        // SAFETY: this table's chunks have room for the `limit` slots that there were when it was
        // made or last extended, and the stamps of all of them are initialised. All that is in a
        // slot may change behind a shared reference.
        Some(unsafe { base.add(id as usize % CHUNK).as_ref() })
    }

    fn owner(&mut self) -> Option<&mut Owner> {
        let owner = self.owner.as_mut()?;
        Some(owner.get_mut().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts `node` into a free slot. A view cannot be edited: it puts it nowhere.
    pub(crate) fn alloc(&mut self, node: T) -> Option<u32> {
        let (id, next) = self.reserve()?;
        let slot = self.slot(id)?;
        // SAFETY: `reserve` found that no view sees this slot, and `&mut self` that nobody else
        // refers to it.
        unsafe { (*slot.node.get()).write(node) };
        slot.revive(next);
        Some(id)
    }

    /// A slot that nobody sees, and the version from which on somebody may.
    fn reserve(&mut self) -> Option<(u32, u32)> {
        let table = Arc::clone(&self.table);
        let owner = self.owner()?;
        let next = owner.next;
        if next > LAST {
            return None;
        }
        owner.changed = true;
        if owner.free.is_empty() && owner.collected != next {
            owner.collected = next;
            owner.collect(&table);
        }
        let id = match owner.free.pop() {
            Some(id) => id,
            None => self.extend()?,
        };
        Some((id, next))
    }

    /// One more slot behind the last, dead before all time.
    #[cold]
    fn extend(&mut self) -> Option<u32> {
        let id = self.limit;
        let (chunk, at) = ((id >> CHUNK_BITS) as usize, id as usize % CHUNK);
        let room = self.table.chunks.get(chunk).map_or(0, |chunk| chunk.slots);
        if at == room {
            self.grow(chunk, room);
        }
        let size = size_of::<Slot<T>>();
        self.table.chunks.get(chunk)?.touch(at * size, size, chunk);
        let slot = self.table.bases.get(chunk)?;
        // SAFETY: the chunk has room for the slot, and no view's limit lets it look here.
        unsafe {
            let slot = slot.add(at).as_ptr();
            ptr::write(&raw mut (*slot).born, AtomicU32::new(0));
            ptr::write(&raw mut (*slot).died, AtomicU32::new(0));
        }
        self.limit = id.checked_add(1)?;
        Some(id)
    }

    /// Makes room behind the `room` slots, all in use, that the chunk has.
    fn grow(&mut self, chunk: usize, room: usize) {
        let slots = match chunk {
            0 => (room + room / 4).max(room + SMALLEST),
            _ => CHUNK,
        };
        let new = match slots {
            ..MAPPED => Chunk::on_heap(Layout::new::<Slot<T>>(), slots),
            _ => Chunk::mapped(Layout::new::<Slot<T>>(), CHUNK),
        };
        let base: NonNull<Slot<T>> = new.base().cast();
        if let Some(old) = self.table.bases.get(chunk) {
            // Views made before now keep the old chunk with their table: nobody writes to it any
            // more, so they see in it what they would have seen without the move.
            // SAFETY: both have room for `room` slots, and they are different memory. Only the
            // owner, which `&mut self` is, writes to slots.
            unsafe { ptr::copy_nonoverlapping(old.as_ptr(), base.as_ptr(), room) };
        }
        let mut bases = self.table.bases.clone();
        let mut chunks = self.table.chunks.clone();
        bases.truncate(chunk);
        chunks.truncate(chunk);
        bases.push(base);
        chunks.push(Arc::new(new));
        self.table = Arc::new(Table { bases, chunks });
    }

    /// The node at `id`, to be changed in place: only the owner's, and only one that no view sees.
    pub(crate) fn get_mut(&mut self, id: u32) -> Option<&mut T> {
        let next = self.owner()?.next;
        let slot = self.slot(id)?;
        if !slot.is_fresh(next) {
            return None;
        }
        // SAFETY: alive, so initialised; born in a version that has no view yet, so that no view
        // gives away a reference to it; and `&mut self` is the owner's only access.
        Some(unsafe { (*slot.node.get()).assume_init_mut() })
    }

    /// Ends the life of the node at `id`: views from now on do not see it.
    pub(crate) fn retire(&mut self, id: u32) {
        let Some(next) = self.owner().map(|owner| owner.next) else {
            return;
        };
        let Some(slot) = self.slot(id).filter(|_| next <= LAST) else {
            return;
        };
        if slot.died.load(Ordering::Relaxed) != ALIVE {
            return;
        }
        let fresh = slot.is_fresh(next);
        let born = slot.born.load(Ordering::Relaxed);
        slot.died.store(next, Ordering::Release);
        let Some(owner) = self.owner() else {
            return;
        };
        owner.changed = true;
        match owner.views.back_mut() {
            Some(view) if !fresh && view.version >= born => view.kept.push(id),
            _ => owner.free.push(id),
        }
    }

    /// How many bytes of slots have ever been used.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.limit as usize * size_of::<Slot<T>>()
    }
}

impl<'a, T> Spot<'a, T> {
    /// The node, if the view has one here.
    #[inline(always)]
    pub(crate) fn get(self) -> Option<&'a T> {
        let Self { slot, version } = self;
        // The other way round than `revive` writes them: who sees a new node alive sees its birth.
        let died = slot.died.load(Ordering::Acquire);
        let born = slot.born.load(Ordering::Relaxed);
        if version < born || version >= died {
            return None;
        }
        // A node is written to only by the owner: in place (`get_mut`) while no view is in its life
        // yet, and as another node when no view is in its life any more, which `collect` learns from
        // the pin that the view holds that made this spot and that is borrowed for `'a`. The owner
        // itself writes by way of `&mut Arena` only.
        // SAFETY: `version` is in the node's life, so it is initialised, and nothing is written to
        // it while this reference lives.
        Some(unsafe { (*slot.node.get()).assume_init_ref() })
    }

    /// Starts fetching the cache line `offset` bytes into the node.
    #[inline(always)]
    pub(crate) fn prefetch(self, offset: usize) {
        let node = std::mem::offset_of!(Slot<T>, node);
        let slot: *const Slot<T> = self.slot;
        prefetch(slot.cast::<u8>().wrapping_add(node + offset));
    }
}

impl<T> Clone for Spot<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Spot<'_, T> {}

impl<T: Clone> Arena<T> {
    /// The node at `id`, to be changed: in place where no view sees it, else a copy, whose `id`
    /// takes the place of the one given.
    pub(crate) fn edit(&mut self, id: &mut u32) -> Option<&mut T> {
        let next = self.owner()?.next;
        if !self.slot(*id)?.is_fresh(next) {
            self.get(*id)?;
            let (copy, next) = self.reserve()?;
            let (from, to) = (self.get(*id)?, self.slot(copy)?);
            // SAFETY: as in `alloc`; and `from` is another slot, which lives.
            unsafe { (*to.node.get()).write(from.clone()) };
            to.revive(next);
            self.retire(*id);
            *id = copy;
        }
        self.get_mut(*id)
    }
}

impl<T> Slot<T> {
    /// From `next` on there is a node.
    #[inline]
    fn revive(&self, next: u32) {
        self.born.store(next, Ordering::Relaxed);
        self.died.store(ALIVE, Ordering::Release);
    }

    /// Whether it lives and no view sees it yet.
    #[inline]
    fn is_fresh(&self, next: u32) -> bool {
        self.born.load(Ordering::Relaxed) == next && self.died.load(Ordering::Relaxed) == ALIVE
    }
}

impl Owner {
    /// A view of what is now; the last one if nothing has changed since.
    fn freeze(&mut self) -> (u32, Arc<()>) {
        match self.views.back() {
            Some(view) if !self.changed => (view.version, Arc::clone(&view.pin)),
            _ => {
                let (version, pin) = (self.next, Arc::new(()));
                self.views.push_back(View {
                    version,
                    pin: Arc::clone(&pin),
                    kept: Vec::new(),
                });
                self.next += 1;
                self.changed = false;
                (version, pin)
            }
        }
    }

    /// Frees the slots that only views that are gone saw. What an older view sees, too, it keeps.
    fn collect<T>(&mut self, table: &Table<T>) {
        let born = |id: u32| {
            let base = table.bases.get((id >> CHUNK_BITS) as usize);
            // SAFETY: retired slots are below the limit, as in `slot`.
            base.map(|base| unsafe { &base.add(id as usize % CHUNK).as_ref().born })
                .map_or(0, |born| born.load(Ordering::Relaxed))
        };
        for at in (0..self.views.len()).rev() {
            // Acquires what the last holder did before it let go.
            let gone = (self.views.get_mut(at)).is_some_and(|v| Arc::get_mut(&mut v.pin).is_some());
            let Some(view) = gone.then(|| self.views.remove(at)).flatten() else {
                continue;
            };
            let older = at.checked_sub(1).and_then(|at| self.views.get_mut(at));
            match older {
                None => self.free.extend(view.kept),
                Some(older) => {
                    for id in view.kept {
                        if older.version >= born(id) {
                            older.kept.push(id);
                        } else {
                            self.free.push(id);
                        }
                    }
                }
            }
        }
    }
}

/// A frozen view of what the arena holds now.
impl<T> Clone for Arena<T> {
    fn clone(&self) -> Self {
        let (version, pin) = match &self.owner {
            None => (self.version, self._pin.clone()),
            Some(owner) => {
                let mut owner = owner.lock().unwrap_or_else(PoisonError::into_inner);
                let (version, pin) = owner.freeze();
                (version, Some(pin))
            }
        };
        Self {
            table: Arc::clone(&self.table),
            version,
            limit: self.limit,
            _pin: pin,
            owner: None,
        }
    }
}

impl<T> fmt::Debug for Arena<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arena")
            .field("version", &self.version)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
