//! Helper threads: what can only be done by blocking, away from the loop.
//!
//! Each kind of work has one thread and two fixed queues, so that no kind waits for another; the
//! loop is woken when answers are there. A helper never touches a slot: it gets questions with a
//! ticket and gives answers with the same ticket.

use std::io;
use std::thread::{Builder, Thread};

use heapless::spsc::{Consumer, Producer, Queue};

use crate::limits::DELIVERIES;

/// Questions under way at most: one a delivery; a ring of `n` places holds `n - 1`.
pub const DEPTH: usize = DELIVERIES + 1;
/// A helper's stack: a list of mail exchangers is looked through on it.
const STACK_OCTETS: usize = 256 * 1024;

/// The loop's end of a helper with room for `N - 1` questions.
pub struct Helper<Q: 'static, A: 'static, const N: usize = DEPTH> {
    questions: Producer<'static, Q>,
    answers: Consumer<'static, A>,
    thread: Thread,
}

/// The helper's end: what it is asked and where it answers.
pub struct Desk<Q: 'static, A: 'static> {
    questions: Consumer<'static, Q>,
    answers: Producer<'static, A>,
    wake: Box<dyn Fn() + Send>,
}

impl<Q: Send, A: Send, const N: usize> Helper<Q, A, N> {
    /// Octets of heap and stack that a helper takes.
    pub const OCTETS: usize = size_of::<Queue<Q, N>>() + size_of::<Queue<A, N>>() + STACK_OCTETS;

    /// Starts a helper. `wake` is called after each answer. `work` is called whenever questions wait
    /// and takes as many as it likes; what it leaves is offered again.
    ///
    /// The queues live as long as the program, which is why they are leaked, once.
    pub fn start(
        name: &str,
        wake: impl Fn() + Send + 'static,
        mut work: impl FnMut(&mut Desk<Q, A>) + Send + 'static,
    ) -> io::Result<Self> {
        let (questions, asked) = Box::leak(Box::new(Queue::<Q, N>::new())).split();
        let (given, answers) = Box::leak(Box::new(Queue::<A, N>::new())).split();
        let mut desk = Desk { questions: asked, answers: given, wake: Box::new(wake) };
        let handle = Builder::new().name(name.to_owned()).stack_size(STACK_OCTETS).spawn(move || {
            loop {
                if desk.questions.ready() { work(&mut desk) } else { std::thread::park() }
            }
        })?;
        Ok(Self { questions, answers, thread: handle.thread().clone() })
    }

    /// Asks; false, and nothing is asked, if as many questions wait as there may be.
    #[must_use]
    pub fn ask(&mut self, question: Q) -> bool {
        let asked = self.questions.enqueue(question).is_ok();
        self.thread.unpark();
        asked
    }

    /// True if [`Helper::ask`] would be taken now.
    pub fn has_room(&self) -> bool {
        self.questions.ready()
    }

    /// The next answer that waits.
    pub fn answer(&mut self) -> Option<A> {
        self.answers.dequeue()
    }
}

impl<Q, A, const N: usize> std::fmt::Debug for Helper<Q, A, N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Helper").field("thread", &self.thread).finish_non_exhaustive()
    }
}

impl<Q, A> Desk<Q, A> {
    /// The next question.
    pub fn question(&mut self) -> Option<Q> {
        self.questions.dequeue()
    }

    /// Gives an answer and wakes the loop. The loop takes answers out each turn; should it be
    /// late, the helper waits for room.
    pub fn answer(&mut self, answer: A) {
        let mut waits = Some(answer);
        while let Some(answer) = waits.take() {
            waits = self.answers.enqueue(answer).err();
            (self.wake)();
            if waits.is_some() {
                std::thread::yield_now();
            }
        }
    }
}
