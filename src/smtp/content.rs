//! Message content as it arrives: dots, line ends, and what may not stand in it.
//!
//! Behind the decoder content is always clean: lines end in CRLF, there is no other CR or LF and
//! no NUL. What does not come that way is refused for strangers ([`LineEnds::Strict`]) or made so
//! for trusted clients. Nothing is buffered, so any split of the octets gives the same content.

/// Octets of output that one octet of input can make.
pub const MOST: usize = 3;

/// Which octets end a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineEnds {
    /// CRLF only; bare CR and bare LF are faults.
    Strict,
    /// CRLF; a bare CR or LF is stored as CRLF but ends neither content nor a line with a dot.
    CrLf,
    /// LF, with or without a CR before it; a bare CR is stored as CRLF.
    Lf,
}

/// What makes content unacceptable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A CR without LF behind it.
    BareCr,
    /// An LF without CR before it.
    BareLf,
    /// A NUL (RFC 5321 4.5.2 does not allow it, and 8BITMIME neither).
    Nul,
}

/// What stopped the decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Input or room for output ran out.
    Exhausted,
    /// The line with the lone dot was there (never for BDAT).
    End,
    /// A fault; decoding can go on behind it, to find the end.
    Fault(Fault),
}

/// What one call did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Octets of input that are done with.
    pub consumed: usize,
    /// Octets of output written.
    pub written: usize,
    /// Why it ended.
    pub stop: Stop,
}

/// How the end of content is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// DATA: at a line with one dot; other lines that start with a dot lose it (RFC 5321 4.5.2).
    Dot,
    /// BDAT: after a count of octets that others keep; dots mean nothing (RFC 3030).
    Count,
}

/// Where in a line the decoder stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    LineStart,
    Middle,
    /// Behind a CR that was not passed on yet.
    Cr,
    /// Behind a dot at the start of a line, not passed on.
    Dot,
    /// Behind such a dot and a CR.
    DotCr,
}

/// A streaming decoder for the content of one message.
#[derive(Clone, Copy, Debug)]
pub struct Decoder {
    framing: Framing,
    ends: LineEnds,
    at: At,
}

impl Decoder {
    /// A decoder at the start of content.
    pub fn new(framing: Framing, ends: LineEnds) -> Self {
        Self { framing, ends, at: At::LineStart }
    }

    /// Decodes as much of `input` as there is room for in `output`, at least [`MOST`] octets.
    pub fn decode(&mut self, input: &[u8], output: &mut [u8]) -> Decoded {
        assert!(output.len() >= MOST);
        let mut sink = Sink { octets: output, written: 0 };
        let mut consumed = 0;
        let mut stop = Stop::Exhausted;
        while stop == Stop::Exhausted {
            if self.at == At::Middle {
                consumed += sink.copy_text(&input[consumed..]);
            }
            let Some(&octet) = input.get(consumed).filter(|_| sink.room() >= MOST) else { break };
            consumed += 1;
            (self.at, stop) = self.take(octet, &mut sink);
        }
        Decoded { consumed, written: sink.written, stop }
    }

    /// The end of the last BDAT chunk: gives content that ends inside a line its CRLF, and judges
    /// a CR that nothing followed.
    pub fn finish(&mut self, output: &mut [u8]) -> Decoded {
        let mut sink = Sink { octets: output, written: 0 };
        let stop = match (self.at, self.ends) {
            (At::LineStart, _) => Stop::Exhausted,
            (At::Cr | At::DotCr, LineEnds::Strict) => Stop::Fault(Fault::BareCr),
            (At::Middle | At::Cr | At::Dot | At::DotCr, _) => {
                sink.put(b"\r\n");
                Stop::Exhausted
            }
        };
        self.at = At::LineStart;
        Decoded { consumed: 0, written: sink.written, stop }
    }

    /// One octet: the next place, and what it stops for.
    fn take(&self, octet: u8, sink: &mut Sink<'_>) -> (At, Stop) {
        match (self.at, octet) {
            (_, 0) => (At::Middle, Stop::Fault(Fault::Nul)),

            (At::Cr, b'\n') => self.line_end(sink),
            (At::DotCr, b'\n') => (At::LineStart, Stop::End),
            (At::Dot, b'\n') if self.ends == LineEnds::Lf => (At::LineStart, Stop::End),
            (At::LineStart | At::Middle, b'\n') if self.ends == LineEnds::Lf => self.line_end(sink),
            (At::LineStart | At::Middle | At::Dot, b'\n') => self.bare(Fault::BareLf, sink, At::Middle),

            (At::LineStart | At::Middle, b'\r') => (At::Cr, Stop::Exhausted),
            (At::Dot, b'\r') => (At::DotCr, Stop::Exhausted),
            (At::Cr | At::DotCr, b'\r') => self.bare(Fault::BareCr, sink, At::Cr),

            (At::LineStart, b'.') if self.framing == Framing::Dot => (At::Dot, Stop::Exhausted),
            (At::Cr | At::DotCr, octet) => {
                let (_, stop) = self.bare(Fault::BareCr, sink, At::Middle);
                sink.put(&[octet]);
                (At::Middle, stop)
            }
            (At::LineStart | At::Middle | At::Dot, octet) => {
                sink.put(&[octet]);
                (At::Middle, Stop::Exhausted)
            }
        }
    }

    fn line_end(&self, sink: &mut Sink<'_>) -> (At, Stop) {
        sink.put(b"\r\n");
        (At::LineStart, Stop::Exhausted)
    }

    /// A CR or LF that ends no line. It becomes a CRLF in what is stored, but what follows is not
    /// the start of a line to the dot rules: a dot there may not end content (RFC 5321 4.1.1.4).
    fn bare(&self, fault: Fault, sink: &mut Sink<'_>, next: At) -> (At, Stop) {
        if self.ends == LineEnds::Strict {
            return (next, Stop::Fault(fault));
        }
        sink.put(b"\r\n");
        match (self.framing, next) {
            (Framing::Count, At::Middle) => (At::LineStart, Stop::Exhausted),
            _ => (next, Stop::Exhausted),
        }
    }
}

/// The output with its fill.
struct Sink<'a> {
    octets: &'a mut [u8],
    written: usize,
}

impl Sink<'_> {
    fn room(&self) -> usize {
        self.octets.len() - self.written
    }

    fn put(&mut self, octets: &[u8]) {
        self.octets[self.written..][..octets.len()].copy_from_slice(octets);
        self.written += octets.len();
    }

    /// Copies octets up to the next one that means something; returns how many.
    fn copy_text(&mut self, input: &[u8]) -> usize {
        let most = &input[..input.len().min(self.room())];
        let n = most.iter().position(|octet| matches!(octet, b'\r' | b'\n' | 0)).unwrap_or(most.len());
        self.put(&most[..n]);
        n
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::{Decoder, Fault, Framing, LineEnds, MOST, Stop};

    #[derive(Debug, PartialEq)]
    struct Outcome {
        content: Vec<u8>,
        faults: Vec<Fault>,
        /// Octets up to the end, if it was found.
        end: Option<usize>,
    }

    fn decode(framing: Framing, ends: LineEnds, input: &[u8], piece: usize, room: usize) -> Outcome {
        let mut decoder = Decoder::new(framing, ends);
        let mut outcome = Outcome { content: Vec::new(), faults: Vec::new(), end: None };
        let mut output = std::vec![0; room];
        let (mut start, mut filled) = (0, 0);
        while filled < input.len() {
            filled = (filled + piece).min(input.len());
            while start < filled {
                let decoded = decoder.decode(&input[start..filled], &mut output);
                start += decoded.consumed;
                outcome.content.extend(&output[..decoded.written]);
                match decoded.stop {
                    Stop::Exhausted => assert!(decoded.consumed > 0),
                    Stop::Fault(fault) => outcome.faults.push(fault),
                    Stop::End => {
                        outcome.end = Some(start);
                        return outcome;
                    }
                }
            }
        }
        if framing == Framing::Count {
            let decoded = decoder.finish(&mut output);
            outcome.content.extend(&output[..decoded.written]);
            if let Stop::Fault(fault) = decoded.stop {
                outcome.faults.push(fault);
            }
        }
        outcome
    }

    fn data(ends: LineEnds, input: &[u8]) -> Outcome {
        decode(Framing::Dot, ends, input, input.len(), 4096)
    }

    #[test]
    fn dots_are_taken_off() {
        let outcome = data(LineEnds::Strict, b"..a\r\n.b\r\n\r\n...\r\nc.\r\n.\r\nQUIT\r\n");
        assert_eq!(outcome.content, b".a\r\nb\r\n\r\n..\r\nc.\r\n");
        assert_eq!((outcome.faults.len(), outcome.end), (0, Some(23)));
        assert_eq!(data(LineEnds::Strict, b".\r\n").end, Some(3));
    }

    #[test]
    fn nothing_but_crlf_dot_crlf_ends_content() {
        let endings: [&[u8]; 12] = [
            b"\n.\n",
            b"\r\n.\n",
            b"\n.\r\n",
            b"\r.\r",
            b"\r.\r\n",
            b"\r\n.\r",
            b"\r\n.\r\r\n",
            b"\n.\r",
            b"\r.\n",
            b"\r\r\n.\n",
            b"\0\r\n.\0\r\n",
            b"\r\n.\0\r\n",
        ];
        for ending in endings {
            let mut input = b"a".to_vec();
            input.extend(ending);
            input.extend(b"MAIL FROM:<a@b>\r\n");
            for ends in [LineEnds::Strict, LineEnds::CrLf] {
                assert_eq!(data(ends, &input).end, None, "{ends:?} {ending:?}");
            }
            assert!(!data(LineEnds::Strict, &input).faults.is_empty());
        }
    }

    #[test]
    fn a_trusted_client_gets_clean_lines() {
        let input = b"a\nb\rc\r\n\n.\r\nd\r\n.\r\n";
        assert_eq!(data(LineEnds::CrLf, input).content, b"a\r\nb\r\nc\r\n\r\n.\r\nd\r\n");
        let input = b"a\nb\rc\r\n..d\n\n.\nQUIT";
        let outcome = data(LineEnds::Lf, input);
        assert_eq!(outcome.content, b"a\r\nb\r\nc\r\n.d\r\n\r\n");
        assert_eq!(outcome.end, Some(input.len() - 4));
        assert_eq!(data(LineEnds::Lf, b"a\r\n.\r\n").end, Some(6));
        assert_eq!(data(LineEnds::Lf, b"\0\n.\n").faults, [Fault::Nul]);
    }

    #[test]
    fn counted_content_keeps_its_dots_and_ends_in_crlf() {
        let count = |ends, input: &[u8]| decode(Framing::Count, ends, input, input.len(), 4096);
        assert_eq!(count(LineEnds::Strict, b"..\r\n.\r\nx").content, b"..\r\n.\r\nx\r\n");
        assert_eq!(count(LineEnds::Strict, b"x\r\n").content, b"x\r\n");
        assert_eq!(count(LineEnds::Strict, b"").content, b"");
        assert_eq!(count(LineEnds::Strict, b"x\r").faults, [Fault::BareCr]);
        assert_eq!(count(LineEnds::Lf, b"x\n").content, b"x\r\n");
        assert_eq!(count(LineEnds::CrLf, b"x\ry\r").content, b"x\r\ny\r\n");
    }

    fn octets() -> impl Strategy<Value = Vec<u8>> {
        let octet = prop_oneof![4 => Just(b'\r'), 4 => Just(b'\n'), 4 => Just(b'.'), 3 => Just(b'x'), 1 => any::<u8>()];
        prop::collection::vec(octet, 0..60)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn pieces_and_room_do_not_matter(input in octets(), piece in 1usize..9, room in MOST..9) {
            for framing in [Framing::Dot, Framing::Count] {
                for ends in [LineEnds::Strict, LineEnds::CrLf, LineEnds::Lf] {
                    let whole = decode(framing, ends, &input, input.len().max(1), 4096);
                    prop_assert_eq!(decode(framing, ends, &input, piece, room), whole);
                }
            }
        }

        #[test]
        fn what_comes_out_is_clean(input in octets()) {
            for framing in [Framing::Dot, Framing::Count] {
                for ends in [LineEnds::Strict, LineEnds::CrLf, LineEnds::Lf] {
                    let outcome = decode(framing, ends, &input, input.len().max(1), 4096);
                    if outcome.faults.is_empty() {
                        let text: Vec<u8> = outcome.content;
                        let lone = text.split(|&o| o == b'\n').rev().skip(1).any(|line| !line.ends_with(b"\r"));
                        prop_assert!(!lone, "bare LF");
                        let crs = text.iter().filter(|&&o| o == b'\r').count();
                        prop_assert_eq!(crs, text.windows(2).filter(|w| w == b"\r\n").count());
                        prop_assert!(!text.contains(&0));
                        if framing == Framing::Count || outcome.end.is_some() {
                            prop_assert!(text.is_empty() || text.ends_with(b"\r\n"));
                        }
                    }
                }
            }
        }

        #[test]
        fn the_end_is_the_first_crlf_dot_crlf(input in octets()) {
            let mut with_line_start = b"\r\n".to_vec();
            with_line_start.extend(&input);
            let expected = with_line_start.windows(5).position(|w| w == b"\r\n.\r\n").map(|at| at + 3);
            prop_assert_eq!(data(LineEnds::Strict, &input).end, expected);
            prop_assert_eq!(data(LineEnds::CrLf, &input).end, expected);
        }

        #[test]
        fn stuffed_content_comes_back(lines in prop::collection::vec("[.ax]{0,4}", 0..12)) {
            let (mut plain, mut stuffed) = (Vec::new(), Vec::new());
            for line in &lines {
                plain.extend(line.bytes().chain(*b"\r\n"));
                stuffed.extend(line.starts_with('.').then_some(b'.'));
                stuffed.extend(line.bytes().chain(*b"\r\n"));
            }
            stuffed.extend(b".\r\n");
            for ends in [LineEnds::Strict, LineEnds::CrLf, LineEnds::Lf] {
                let outcome = data(ends, &stuffed);
                prop_assert_eq!(&outcome.content, &plain);
                prop_assert_eq!(outcome.end, Some(stuffed.len()));
            }
        }
    }
}
