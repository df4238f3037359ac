//! Content with octets above 127 for a server that takes none (RFC 6152 3: it has no 8BITMIME).
//!
//! Bodies that are sent as they are, 7bit, 8bit or binary, become quoted-printable, each part by its
//! own header. Two passes make that: a [`Survey`] finds out which entities need it and whether the
//! message can be read in one way only; by its [`Plan`] a [`Converter`] changes these and nothing
//! else. Signed parts, what is encoded already, and every message of which the structure is doubtful stay as
//! they are: wrong about themselves, but whole. So do octets above 127 in a header, whose character
//! set nobody knows.

mod content_type;
mod quoted_printable;
mod structure;
#[cfg(test)]
mod tests;

use core::convert::Infallible;

use self::content_type::Encoding;
use self::quoted_printable::Encoder;
use self::structure::{Entity, Event, Shape, Structure};
use crate::limits::{FIELD_NAME_OCTETS, MIME_ENTITIES};

/// The field of a body that was encoded anew.
const QUOTED_PRINTABLE: &[u8] = b"Content-Transfer-Encoding: quoted-printable\r\n";
/// The field of a body of parts, all of which fit into seven bits.
const SEVEN_BIT: &[u8] = b"Content-Transfer-Encoding: 7bit\r\n";
const VERSION: &[u8] = b"MIME-Version: 1.0\r\n";

/// Some of the entities of a message, by their numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Entities([u32; MIME_ENTITIES / 32]);

const _: () = assert!(MIME_ENTITIES.is_multiple_of(32));

impl Entities {
    fn has(&self, number: u16) -> bool {
        self.0.get(usize::from(number / 32)).is_some_and(|bits| bits & 1 << (number % 32) != 0)
    }

    /// False if there is no place for it.
    fn add(&mut self, number: u16) -> bool {
        let bits = self.0.get_mut(usize::from(number / 32));
        bits.map(|bits| *bits |= 1 << (number % 32)).is_some()
    }
}

/// What has to be done with a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Their bodies become quoted-printable.
    encoded: Entities,
    /// Their bodies are entities that said 8bit, and say 7bit then.
    relabelled: Entities,
    /// Octets that the message grows by, at most.
    growth: u64,
    /// Fields, or what stands between parts, have octets above 127, and keep them.
    wide_frame: bool,
}

impl Plan {
    /// Nothing.
    pub const NOTHING: Self = Self {
        encoded: Entities([0; MIME_ENTITIES / 32]),
        relabelled: Entities([0; MIME_ENTITIES / 32]),
        growth: 0,
        wide_frame: false,
    };

    /// True if the content can go as it is, or has to.
    pub fn is_nothing(&self) -> bool {
        self.encoded == Entities::default()
    }

    /// Octets that the content grows by, at most.
    pub fn growth(&self) -> u64 {
        self.growth
    }

    /// True if a header field may have octets above 127: the message is an internationalized one (RFC 6532 3).
    pub fn is_international(&self) -> bool {
        self.wide_frame
    }
}

/// Finds out what has to be done with a message.
#[derive(Debug, Default)]
pub struct Survey {
    structure: Structure,
    plan: Plan,
    body: Option<Body>,
    /// Something has octets above 127 and will keep them.
    stays: bool,
}

/// The body that is being read.
#[derive(Debug)]
struct Body {
    number: u16,
    /// It has octets above 127.
    eight_bit: bool,
    /// As it would be sent; `None` if it may not be encoded anew.
    encoder: Option<Encoder>,
    octets: u64,
    encoded_octets: u64,
}

impl Survey {
    /// Takes content, split anywhere.
    pub fn read(&mut self, octets: &[u8]) {
        let Self { structure, plan, body, stays } = self;
        let Ok(()) = structure.read(octets, &mut |event| {
            note(plan, body, stays, event);
            Ok::<(), Infallible>(())
        });
    }

    /// The content is complete.
    pub fn finish(mut self) -> Plan {
        let Self { structure, plan, body, stays } = &mut self;
        let Ok(()) = structure.finish(&mut |event| {
            note(plan, body, stays, event);
            Ok::<(), Infallible>(())
        });
        if structure.is_faulty() || plan.encoded == Entities::default() {
            return Plan { wide_frame: plan.wide_frame, ..Plan::NOTHING };
        }
        if *stays || plan.wide_frame {
            plan.relabelled = Entities::default();
        }
        plan.growth += (QUOTED_PRINTABLE.len() + VERSION.len()) as u64;
        self.plan
    }
}

/// Notes what an event tells.
fn note(plan: &mut Plan, body: &mut Option<Body>, stays: &mut bool, event: Event<'_>) {
    match event {
        Event::Header(entity) => {
            if entity.shape == Shape::Entities {
                if entity.encoding == Encoding::EightBit {
                    plan.relabelled.add(entity.number);
                }
            } else {
                let (octets, encoded_octets) = (0, 0);
                let encoder = encoder(&entity);
                *body =
                    Some(Body { number: entity.number, eight_bit: false, encoder, octets, encoded_octets });
            }
        }
        Event::Body(octets) => {
            if let Some(body) = body {
                body.eight_bit |= !octets.is_ascii();
                body.octets += octets.len() as u64;
                let Body { encoder: Some(encoder), encoded_octets, .. } = body else { return };
                let Ok(()) = encoder.write(octets, &mut |encoded| {
                    *encoded_octets += encoded.len() as u64;
                    Ok::<(), Infallible>(())
                });
            }
        }
        Event::End => {
            let Some(Body { number, eight_bit: true, encoder, octets, encoded_octets }) = body.take() else {
                return;
            };
            if encoder.is_some() && plan.encoded.add(number) {
                // What may still be held back is one octet, or a line end.
                let fields = (QUOTED_PRINTABLE.len() + VERSION.len()) as u64;
                plan.growth += (encoded_octets + 8).saturating_sub(octets) + fields;
            } else {
                *stays = true;
            }
        }
        Event::Frame(octets) | Event::Encoding(_, octets) => plan.wide_frame |= !octets.is_ascii(),
    }
}

/// What encodes the body of an entity, if that may be done.
fn encoder(entity: &Entity) -> Option<Encoder> {
    match (entity.shape, entity.encoding) {
        (Shape::Text, Encoding::SevenBit | Encoding::EightBit) => Some(Encoder::new(true)),
        (Shape::Octets, Encoding::SevenBit | Encoding::EightBit) => Some(Encoder::new(false)),
        _ => None,
    }
}

/// Does with a message what has to be done.
#[derive(Debug)]
pub struct Converter {
    structure: Structure,
    plan: Plan,
    /// Of the body that is being encoded.
    encoder: Option<Encoder>,
}

impl Converter {
    /// Octets that come out more than [`Converter::RATIO`] says at most: what was held back, and what
    /// an entity's header gets.
    pub const GROWTH: usize =
        FIELD_NAME_OCTETS + Structure::HELD + QUOTED_PRINTABLE.len() + VERSION.len() + 16;
    /// So many octets at most become of one. The shortest part that is encoded has ten octets with
    /// its delimiter.
    pub const RATIO: usize = 8;

    /// Before the first octet of the message that the plan was made for.
    pub fn new(plan: Plan) -> Self {
        Self { structure: Structure::default(), plan, encoder: None }
    }

    /// Takes content, split anywhere, and gives what it becomes to `sink`.
    ///
    /// # Errors
    /// Those of `sink`.
    pub fn write<E>(
        &mut self,
        octets: &[u8],
        sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let Self { structure, plan, encoder } = self;
        structure.read(octets, &mut |event| convert(plan, encoder, event, sink))
    }

    /// The content is complete.
    ///
    /// # Errors
    /// Those of `sink`.
    pub fn finish<E>(&mut self, sink: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let Self { structure, plan, encoder } = self;
        structure.finish(&mut |event| convert(plan, encoder, event, sink))
    }
}

fn convert<E>(
    plan: &Plan,
    body: &mut Option<Encoder>,
    event: Event<'_>,
    sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    match event {
        Event::Encoding(number, _) if plan.encoded.has(number) || plan.relabelled.has(number) => Ok(()),
        Event::Frame(octets) | Event::Encoding(_, octets) => sink(octets),
        Event::Header(entity) => {
            *body = encoder(&entity).filter(|_| plan.encoded.has(entity.number));
            // Only the message itself says that there is MIME in it.
            if entity.lacks_version && (body.is_some() || entity.number == 0 && !plan.is_nothing()) {
                sink(VERSION)?;
            }
            if body.is_some() {
                sink(QUOTED_PRINTABLE)
            } else if plan.relabelled.has(entity.number) {
                sink(SEVEN_BIT)
            } else {
                Ok(())
            }
        }
        Event::Body(octets) => match body {
            Some(encoder) => encoder.write(octets, sink),
            None => sink(octets),
        },
        Event::End => body.take().map_or(Ok(()), |mut encoder| encoder.finish(sink)),
    }
}
