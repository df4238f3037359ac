//! A fixed buffer between a socket and the protocol.

/// Octets in, octets out, at most `N` of them: filled at the back, consumed at the front.
///
/// Nothing is ever allocated. `room` moves what is left to the front when that makes the room
/// larger, so a reader that consumes whole lines never sees a line torn by the buffer's end.
#[derive(Debug)]
pub struct Buffer<const N: usize> {
    octets: [u8; N],
    start: usize,
    end: usize,
}

impl<const N: usize> Default for Buffer<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Buffer<N> {
    /// An empty buffer.
    pub const fn new() -> Self {
        Self { octets: [0; N], start: 0, end: 0 }
    }

    /// What was put in and not yet consumed.
    pub fn filled(&self) -> &[u8] {
        &self.octets[self.start..self.end]
    }

    /// True if nothing waits to be consumed.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Octets that can still be put in.
    pub fn free(&self) -> usize {
        N - (self.end - self.start)
    }

    /// The place to read into; tell [`Buffer::advance`] how much was put there.
    pub fn room(&mut self) -> &mut [u8] {
        self.compact();
        &mut self.octets[self.end..]
    }

    /// Counts `n` octets of [`Buffer::room`] as filled.
    pub fn advance(&mut self, n: usize) {
        assert!(n <= N - self.end);
        self.end += n;
    }

    /// Forgets the first `n` octets.
    pub fn consume(&mut self, n: usize) {
        assert!(n <= self.end - self.start);
        self.start += n;
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.start = 0;
        self.end = 0;
    }

    /// Puts all of `octets` in, or nothing and returns false.
    #[must_use]
    pub fn push(&mut self, octets: &[u8]) -> bool {
        if octets.len() > self.free() {
            return false;
        }
        let room = self.room();
        room[..octets.len()].copy_from_slice(octets);
        self.advance(octets.len());
        true
    }

    fn compact(&mut self) {
        if self.start > 0 {
            self.octets.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
    }
}

impl<const N: usize> core::fmt::Write for Buffer<N> {
    /// All of `text` or, when it does not fit, nothing and an error.
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        if self.push(text.as_bytes()) { Ok(()) } else { Err(core::fmt::Error) }
    }
}

#[cfg(test)]
mod tests {
    use super::Buffer;

    #[test]
    fn fills_at_the_back_and_empties_at_the_front() {
        let mut b = Buffer::<4>::new();
        assert!(b.push(b"abc"));
        assert!(!b.push(b"de"));
        b.consume(2);
        assert!(b.push(b"def"));
        assert_eq!(b.filled(), b"cdef");
        assert_eq!(b.free(), 0);
        b.consume(4);
        assert!(b.is_empty());
        assert_eq!(b.room().len(), 4);
    }
}
