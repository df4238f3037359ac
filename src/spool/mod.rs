//! Keeps messages safe on disk.
//!
//! After [`Store::poll`] has said that a message is committed, no power cut, full disk or dead
//! clock loses it. A message comes in through its slot's staging file; a batch of them is copied
//! into a file of pre-written cells and made durable by one sync; there it stays, in place, until
//! every recipient is delivered or failed. What is too large for the cells becomes a file of its
//! own. The format, octet by octet, is in the manual's `spool.md`.
//!
//! | module | what it does |
//! |---|---|
//! | `disk`, `real_disk` | what is asked of the machine, and how Linux does it |
//! | `layout`, `status` | superblock, head, status entry as octets |
//! | `envelope` | the envelope as text |
//! | `id` | queue ids |
//! | `cells` | which blocks are taken |
//! | `gather` | puts small writes together |
//! | `staging` | a message while it comes in |
//! | `reader` | reads what is in the spool, with or without the lock |
//! | `recover` | the scan at start |
//! | `large` | one file a message; what is set aside |
//! | `batch` | many messages, one sync |
//! | `outcome` | what became of a message; freeing its room |
//! | `survey` | looks through the spool without the lock |
//! | `store` | all of it together: the face of the spool |

mod batch;
mod cells;
mod disk;
mod envelope;
mod gather;
mod id;
mod large;
mod layout;
mod outcome;
mod reader;
mod real_disk;
mod recover;
mod replies;
mod rest;
mod staging;
mod status;
mod store;
mod survey;

pub use disk::{Disk, Folder, Kind, Name, Target, Ticket};
pub use envelope::{Cursor, Line, Origin, Share};
pub use id::Id;
pub use layout::{ContentSum, Head};
pub use reader::{Damage, Reader};
pub use real_disk::RealDisk;
pub use recover::{Found, default_cells_octets};
pub use staging::{Refusal, StagingIndex};
pub use status::{RecipientState, Status};
pub use store::{Committed, Mark, Message, OpenError, Place, Progress, Settings, Store, Usage};
