//! Pumps are made at start and lent to connections, so that a session allocates nothing of ours.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use super::pump::{Connection, Pump};
use crate::sys::HEAP;

/// Some pumps, and the limit of the heap beyond which none is lent.
#[derive(Clone)]
pub struct Rooms(Rc<Shared>);

struct Shared {
    #[expect(clippy::vec_box, reason = "a loan takes one out, and a slot has no room for it")]
    free: RefCell<Vec<Box<Pump>>>,
    /// How many there are, lent ones too.
    count: usize,
    /// Octets that the heap may hold, all of the program together, when a pump is lent.
    heap_octets: usize,
}

impl Rooms {
    /// Octets of heap that so many take.
    pub const fn octets(count: usize) -> usize {
        size_of::<Shared>() + count * (Pump::OCTETS + size_of::<Box<Pump>>())
    }

    /// `count` pumps. None is lent while the heap holds more than `heap_octets`: a session that
    /// is not begun costs a client a try, memory that is not there costs everybody all.
    pub fn new(count: usize, heap_octets: usize) -> Self {
        let free = (0..count).map(|_| Box::new(Pump::new())).collect();
        Self(Rc::new(Shared { free: RefCell::new(free), count, heap_octets }))
    }

    /// True if there are any at all.
    pub fn is_made(&self) -> bool {
        self.0.count > 0
    }

    /// True if one could be lent now.
    pub fn has_room(&self) -> bool {
        !self.0.free.borrow().is_empty() && HEAP.heap().live_octets <= self.0.heap_octets
    }

    /// Lends one for a connection; `None`: all are in use, the heap is near its limit, or `connection` is
    /// not to be had.
    pub fn lend<E>(&self, connection: impl FnOnce() -> Result<Connection, E>) -> Option<Loan> {
        if !self.has_room() {
            return None;
        }
        let mut pump = self.0.free.borrow_mut().pop()?;
        match connection() {
            Ok(connection) => pump.start(connection),
            Err(_) => {
                self.0.free.borrow_mut().push(pump);
                return None;
            }
        }
        Some(Loan { pump: Some(pump), rooms: self.clone() })
    }
}

/// A pump in use; it goes back with its value.
pub struct Loan {
    pump: Option<Box<Pump>>,
    rooms: Rooms,
}

/// Why there is always one.
const LENT: &str = "only drop takes it";

impl Deref for Loan {
    type Target = Pump;

    fn deref(&self) -> &Pump {
        self.pump.as_ref().expect(LENT)
    }
}

impl DerefMut for Loan {
    fn deref_mut(&mut self) -> &mut Pump {
        self.pump.as_mut().expect(LENT)
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if let Some(mut pump) = self.pump.take() {
            pump.stop();
            self.rooms.0.free.borrow_mut().push(pump);
        }
    }
}

impl std::fmt::Debug for Loan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loan").field("version", &self.version()).finish_non_exhaustive()
    }
}
