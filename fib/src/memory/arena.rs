//! An arena for the nodes of a persistent tree. One owner edits it while any number of frozen views
//! read, and no node counts references.
//!
//! Each slot stores the range of versions in which its node is visible. A view has one version, and
//! sees only the nodes that are visible in it. A slot is reused once all views that can see its node are
//! gone, so a view never reads a slot that has been given to another node.
//!
//! Slots are freed with the arena and its last view, not before.

mod chunk;

use std::alloc::Layout;
use std::collections::VecDeque;
use std::fmt;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use self::chunk::Chunk;
use super::prefetch::prefetch;
use super::sync::{Arc, AtomicU32, Mutex, UnsafeCell};

/// The base-2 logarithm of the number of slots in a chunk. Smaller under Miri, for tests of several chunks.
const CHUNK_BITS: u32 = if cfg!(miri) { 7 } else { 15 };
const CHUNK: usize = 1 << CHUNK_BITS;
/// The number of slots that an arena's first chunk starts with. When the chunk is full, it is copied to
/// one that is a quarter larger. loom does not see such a copy, so that it must not be needed in a model.
const SMALLEST: usize = if cfg!(loom) { 16 } else { 2 };
/// The number of slots from which on a chunk has its full size and a mapping of its own. A process is
/// limited to about 65,000 mappings, and a simulator has several arenas for each of its nodes.
const MAPPED: usize = if cfg!(miri) { 12 } else { 256 };
/// The value of [`Slot::died`] while the node is alive.
const ALIVE: u32 = u32::MAX;
/// The version of the owner, which sees all nodes that are alive.
const OWNER: u32 = u32::MAX - 1;
/// The last version that a view can have.
const LAST: u32 = match (cfg!(test), cfg!(miri)) {
    (_, true) => 100,
    (true, false) => 5000,
    (false, false) => u32::MAX - 2,
};

/// The owner of an arena, or, as its clone, a frozen view.
pub(crate) struct Arena<T> {
    table: Arc<Table<T>>,
    version: u32,
    /// The number of slots that have ever been used. Slots after them are not initialised.
    limit: u32,
    /// Prevents reuse of the slots that this view sees.
    _pin: Option<Arc<()>>,
    /// Present in the owner only. The lock lets a view be made from a shared reference; otherwise it is
    /// uncontended.
    owner: Option<Box<Mutex<Owner>>>,
}

/// The chunks of an arena.
struct Table<T> {
    /// The first slot of each chunk.
    bases: Vec<NonNull<Slot<T>>>,
    chunks: Vec<Arc<Chunk>>,
}

// SAFETY: a table gives shared and exclusive references to `T` to other threads, which the bounds
// allow. Its pointers point into its chunks, which live as long as it does.
unsafe impl<T: Send + Sync> Send for Table<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Table<T> {}

/// A slot for a node. It is aligned to cache lines; its version stamps share the first line of the node.
#[repr(C, align(64))]
struct Slot<T> {
    /// The first version in which the node is visible.
    born: AtomicU32,
    /// The first later version in which it is not.
    died: AtomicU32,
    node: UnsafeCell<MaybeUninit<T>>,
}

/// The place of a node, seen from a view.
pub(crate) struct Spot<'a, T> {
    slot: &'a Slot<T>,
    version: u32,
}

#[derive(Default)]
struct Owner {
    /// The version of the next view.
    next: u32,
    /// Set if there have been edits since the last view.
    changed: bool,
    /// Oldest first.
    views: VecDeque<View>,
    /// Slots that no view sees and that may be reused.
    free: Vec<u32>,
    /// The value of `next` when [`Owner::collect`] ran last.
    collected: u32,
}

struct View {
    version: u32,
    /// The pin of this view: the only reference to it once all clones of the view are gone.
    pin: Arc<()>,
    /// Slots of dead nodes that this view may see, but no later view.
    kept: Vec<u32>,
}

impl<T> Arena<T> {
    /// Creates an empty arena. The result is its owner.
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

    /// Reports whether this is the owner and has version numbers left.
    pub(crate) fn can_edit(&mut self) -> bool {
        self.owner().is_some_and(|owner| owner.next <= LAST)
    }

    /// Returns the node at `id`, if this view sees one there.
    #[inline(always)]
    pub(crate) fn get(&self, id: u32) -> Option<&T> {
        self.spot(id)?.get()
    }

    /// Returns the place of the node at `id`, if there can be one, without reading any of it.
    #[inline(always)]
    pub(crate) fn spot(&self, id: u32) -> Option<Spot<'_, T>> {
        let (slot, version) = (self.slot(id)?, self.version);
        Some(Spot { slot, version })
    }

    /// Starts fetching all cache lines of the node at `id`.
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
        // SAFETY: `id` is below `limit`. The chunks of this table have room for `limit` slots, and the
        // stamps of all of these are initialised. Every field of a slot allows changes through a shared
        // reference.
        Some(unsafe { base.add(id as usize % CHUNK).as_ref() })
    }

    fn owner(&mut self) -> Option<&mut Owner> {
        let owner = self.owner.as_mut()?;
        Some(owner.get_mut().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts `node` into a free slot. Returns `None` in a view, which cannot be edited.
    pub(crate) fn alloc(&mut self, node: T) -> Option<u32> {
        let (id, next) = self.reserve()?;
        let slot = self.slot(id)?;
        // SAFETY: no view sees this slot, as `reserve` has checked, and `&mut self` rules out other
        // references by the owner.
        slot.node.with_mut(|place| unsafe {
            (*place).write(node);
        });
        slot.revive(next);
        Some(id)
    }

    /// Returns a slot that no view sees, and the first version in which its node will be visible.
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

    /// Adds a slot after the last. It is visible in no version.
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
        // SAFETY: the chunk has room for the slot, and the limit of every view excludes it.
        unsafe {
            let slot = slot.add(at).as_ptr();
            ptr::write(&raw mut (*slot).born, AtomicU32::new(0));
            ptr::write(&raw mut (*slot).died, AtomicU32::new(0));
            let empty = UnsafeCell::new(MaybeUninit::uninit());
            ptr::write(&raw mut (*slot).node, empty);
        }
        self.limit = id.checked_add(1)?;
        Some(id)
    }

    /// Enlarges a chunk that has `room` slots, all in use, or adds it.
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
            // Older views keep the old chunk with their table. It is never written to again, so they see
            // in it what they would have seen without the move.
            // SAFETY: both chunks have room for `room` slots and do not overlap. Only the owner writes to
            // slots, and `&mut self` is the owner.
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

    /// Returns the node at `id` for changes in place. Returns `None` in a view, and for a node that a view
    /// may see.
    pub(crate) fn get_mut(&mut self, id: u32) -> Option<&mut T> {
        let next = self.owner()?.next;
        let slot = self.slot(id)?;
        if !slot.is_fresh(next) {
            return None;
        }
        let node = slot.node.with_mut(|node| {
            // SAFETY: the node is alive, so it is initialised. It was born in a version that has no view yet,
            // so no view has given out a reference to it, and `&mut self` is the only access by the owner.
            unsafe { (*node).assume_init_mut() }
        });
        Some(node)
    }

    /// Ends the life of the node at `id`. Later views do not see it.
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

    /// Returns the size in bytes of all slots that have ever been used.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.limit as usize * size_of::<Slot<T>>()
    }
}

impl<'a, T> Spot<'a, T> {
    /// Returns the node, if the view sees one here.
    #[inline(always)]
    pub(crate) fn get(self) -> Option<&'a T> {
        let Self { slot, version } = self;
        // The loads are in the reverse order of the stores in `revive`: a view that sees a new node as alive
        // also sees its birth.
        let died = slot.died.load(Ordering::Acquire);
        let born = slot.born.load(Ordering::Relaxed);
        if version < born || version >= died {
            return None;
        }
        // Only the owner writes to a slot: to its node (`get_mut`) before any view sees it, and to put
        // another node there once no view sees it any more. `collect` learns that from the pin of the
        // view, which is borrowed for `'a` by this spot. The owner itself writes through `&mut Arena` only.
        // SAFETY: the node is visible in `version`, so it is initialised, and it is not written to while
        // this reference lives.
        Some(slot.node.with(|node| unsafe { (*node).assume_init_ref() }))
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
    /// Returns the node at `id` for editing. If a view may see the node, it is copied, and `id` becomes that
    /// of the copy.
    pub(crate) fn edit(&mut self, id: &mut u32) -> Option<&mut T> {
        let next = self.owner()?.next;
        if !self.slot(*id)?.is_fresh(next) {
            self.get(*id)?;
            let (copy, next) = self.reserve()?;
            let (from, to) = (self.get(*id)?, self.slot(copy)?);
            // SAFETY: as in `alloc`. `from` is the node of another slot, which is alive.
            to.node.with_mut(|place| unsafe {
                (*place).write(from.clone());
            });
            to.revive(next);
            self.retire(*id);
            *id = copy;
        }
        self.get_mut(*id)
    }
}

impl<T> Slot<T> {
    /// Makes the node visible from the version `next` on.
    #[inline]
    fn revive(&self, next: u32) {
        self.born.store(next, Ordering::Relaxed);
        self.died.store(ALIVE, Ordering::Release);
    }

    /// Reports whether the node is alive and no view sees it yet.
    #[inline]
    fn is_fresh(&self, next: u32) -> bool {
        self.born.load(Ordering::Relaxed) == next && self.died.load(Ordering::Relaxed) == ALIVE
    }
}

impl Owner {
    /// Creates a view of the present state. Returns the last view again if nothing has changed since.
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

    /// Frees the slots that were seen only by views that are gone. Slots that an older view sees as well are kept by
    /// that view.
    fn collect<T>(&mut self, table: &Table<T>) {
        let born = |id: u32| {
            let base = table.bases.get((id >> CHUNK_BITS) as usize);
            // SAFETY: the slot was retired, so it is below the limit, as in `slot`.
            base.map(|base| unsafe { &base.add(id as usize % CHUNK).as_ref().born })
                .map_or(0, |born| born.load(Ordering::Relaxed))
        };
        for at in (0..self.views.len()).rev() {
            // Acquires the accesses of the last holder before it dropped its pin.
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

/// Creates a frozen view of the present state.
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

#[cfg(all(test, loom))]
mod model;
#[cfg(test)]
mod tests;
