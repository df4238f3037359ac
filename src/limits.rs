//! Every maximum of the program, with its unit and where it comes from.
//!
//! A buffer is sized from here and from nowhere else; the relations that the code relies on are
//! asserted at compile time at the end of the file.

/// Octets of a path with its brackets (RFC 5321 4.5.3.1.3).
pub const PATH_OCTETS: usize = 256;
/// Octets of a local-part as it is written (RFC 5321 4.5.3.1.1 asks for at least 64; quoted and
/// tagged ones in the wild are longer).
pub const LOCAL_PART_OCTETS: usize = 128;
/// Octets of a domain or address literal (RFC 5321 4.5.3.1.2).
pub const DOMAIN_OCTETS: usize = 255;
/// Octets of a command line with its line end: RFC 5321 4.5.3.1.4 asks for 512, MAIL and RCPT
/// grow by SIZE, BODY, SMTPUTF8 and DSN (RFC 3461 4: 500 for ORCPT alone).
pub const COMMAND_LINE_OCTETS: usize = 2048;
/// Octets of a reply line with its line end (RFC 5321 4.5.3.1.5).
pub const REPLY_LINE_OCTETS: usize = 512;
/// Lines of one multi-line reply that are read from a peer before it is taken for endless.
pub const REPLY_LINES: usize = 128;
/// Octets of one reply that are read from a peer before it is taken for endless.
pub const REPLY_OCTETS: usize = REPLY_LINES * REPLY_LINE_OCTETS;
/// Octets of reply text that are kept, logged, shown and put into a bounce.
pub const REPLY_TEXT_OCTETS: usize = 160;
/// Octets of an ENVID or ORCPT value (RFC 3461 4.2: 100 before encoding; 4.4: ORCPT 500).
pub const ENVID_OCTETS: usize = 100;
/// Octets of an ORCPT value, address type included (RFC 3461 4.2).
pub const ORCPT_OCTETS: usize = 500;
/// Octets of a user name that authenticated.
pub const USER_OCTETS: usize = 64;
/// Octets of a password: of our users, and of ours at a next hop.
pub const PASSWORD_OCTETS: usize = 256;
/// Octets of one message of a client in AUTH, base64 undone. RFC 4954 4 lets a line have 12288; names and
/// passwords as long as ours can be need a part of a command line.
pub const SASL_OCTETS: usize = 512;
/// Octets of a client's nonce in SCRAM-SHA-256 (RFC 5802 5.1).
pub const NONCE_OCTETS: usize = 128;
/// Octets of a salt in SCRAM-SHA-256.
pub const SALT_OCTETS: usize = 64;
/// Rounds of PBKDF2, from and to: RFC 7677 4 asks for 4096; at most a few seconds of a small processor.
pub const ITERATIONS: (u32, u32) = (4096, 1_000_000);
/// Octets of a challenge of a next hop in AUTH, base64 undone: what a reply line can hold.
pub const CHALLENGE_OCTETS: usize = 384;
/// Octets of an access token for a next hop.
pub const TOKEN_OCTETS: usize = 2560;
/// Octets of a response to a next hop in AUTH, before base64: a name, a token, and what stands around them.
pub const RESPONSE_OCTETS: usize = 2944;
/// Recipients of one transaction, the most that `limits.recipients` can be set to. Every one
/// takes two bits of the status entry (RFC 5321 4.5.3.1.8 asks for at least 100).
pub const RECIPIENTS: usize = 256;
/// Received lines after which a message is taken to loop (RFC 5321 6.3: at least 100).
pub const RECEIVED_LINES: u32 = 100;
/// Octets of a header field's name; a longer one is taken for text.
pub const FIELD_NAME_OCTETS: usize = 128;
/// Octets of a `From:` field's value that are kept while a sender is rewritten; a longer one is
/// replaced by what is known of it.
pub const FROM_OCTETS: usize = 320;
/// Octets of blanks and comments behind an address without a domain; behind more it stays as it is.
pub const GAP_OCTETS: usize = 128;
/// Octets of a boundary (RFC 2046 5.1.1).
pub const BOUNDARY_OCTETS: usize = 70;
/// Octets of a `Content-Type:` in which a boundary is looked for.
pub const CONTENT_TYPE_OCTETS: usize = 512;
/// Multipart bodies inside of each other; a message with more is not encoded anew.
pub const MIME_DEPTH: usize = 8;
/// Entities (messages and parts) of a message that can be encoded anew; those behind them stay.
pub const MIME_ENTITIES: usize = 256;
/// Octets of header that one added `Received:` field takes at most.
pub const RECEIVED_OCTETS: usize = 1024;
/// Octets that may be added to a message of the largest size: the trace field, missing fields,
/// addresses completed and rewritten.
pub const ADDED_OCTETS: u64 = 64 * 1024;

/// Octets of an inbound slot's input buffer.
pub const INPUT_OCTETS: usize = 4096;
/// Octets of an inbound slot's output buffer: the whole EHLO reply and then some.
pub const OUTPUT_OCTETS: usize = 2048;
/// Octets of an outbound slot's input buffer.
pub const REPLY_INPUT_OCTETS: usize = 1024;
/// Octets of an outbound slot's output buffer.
pub const DELIVERY_OUTPUT_OCTETS: usize = 4096;
/// Octets of a TLS slot's buffer of records from the wire: a whole one with all that may be around it
/// (RFC 5246 6.2.3), and a little, so that one that is too large is seen to be.
pub const TLS_INPUT_OCTETS: usize = 16 * 1024 + 2048 + 256;
/// Octets of a TLS record that we send.
pub const TLS_RECORD_OCTETS: usize = 4096;
/// Octets of a TLS slot's buffer of records to the wire: two of ours.
pub const TLS_OUTPUT_OCTETS: usize = 2 * (TLS_RECORD_OCTETS + 256);
/// Octets of heap that rustls takes for a session with a client, from its beginning.
pub const TLS_SERVER_HEAP_OCTETS: usize = 5 * 1024;
/// Octets of heap that rustls takes for a session with a server, whose certificates it keeps.
pub const TLS_CLIENT_HEAP_OCTETS: usize = 24 * 1024;
/// Octets of heap that come and go while a record or a handshake message is worked on.
pub const TLS_PASSING_OCTETS: usize = 64 * 1024;
/// Seconds that a TLS handshake may take.
pub const TLS_HANDSHAKE_TIMEOUT_S: u32 = 30;
/// Octets of a file with certificates or a key.
pub const CERTIFICATE_FILE_OCTETS: u64 = 1024 * 1024;
/// Certificates that we show: ours and those between it and its authority.
pub const CERTIFICATE_CHAIN: usize = 8;
/// Octets of the scratch buffer that the loop shares between slots.
pub const SCRATCH_OCTETS: usize = 64 * 1024;

/// Seconds a client waits for the greeting (RFC 5321 4.5.3.2.1).
pub const GREETING_TIMEOUT_S: u32 = 300;
/// Seconds a client waits for the reply to a command, MAIL and RCPT too (RFC 5321 4.5.3.2.2, .3).
pub const COMMAND_TIMEOUT_S: u32 = 300;
/// Seconds a client waits for the reply to DATA (RFC 5321 4.5.3.2.4).
pub const DATA_TIMEOUT_S: u32 = 120;
/// Seconds in which a part of the content must leave (RFC 5321 4.5.3.2.5).
pub const CONTENT_TIMEOUT_S: u32 = 180;
/// Seconds a client waits for the reply to the last dot (RFC 5321 4.5.3.2.6).
pub const DOT_TIMEOUT_S: u32 = 600;
/// Seconds a client waits for the reply to QUIT, which nothing depends on.
pub const QUIT_TIMEOUT_S: u32 = 5;

/// Octets of a spool block, at least; the page and the file system's block can make it larger.
pub const BLOCK_OCTETS: usize = 4096;
/// Octets of a status entry.
pub const STATUS_OCTETS: usize = 256;
/// A message over this many octets gets a file of its own.
pub const LARGE_OCTETS: u64 = 256 * 1024;
/// Messages that one batch commits at most.
pub const BATCH_MESSAGES: usize = 256;
/// How long an outcome may wait for the next sync, in seconds.
pub const STATUS_SYNC_S: u64 = 10;

/// Inbound slots that can be configured.
pub const SESSIONS: usize = 1024;
/// Outbound slots that can be configured.
pub const DELIVERIES: usize = 128;
/// Destinations whose state is remembered.
pub const DESTINATIONS: usize = 256;
/// Seconds to wait for a connection to one address, as Postfix does.
pub const CONNECT_TIMEOUT_S: u32 = 30;
/// Seconds that an outbound connection is kept with nothing to send.
pub const IDLE_CONNECTION_S: u32 = 10;
/// Addresses of one host that are tried.
pub const ADDRESSES: usize = 8;
/// Octets of a host's name with what is needed to dial it.
pub const HOST_OCTETS: usize = 255;
/// Octets of a domain name as text, without its trailing dot (RFC 1035 3.1: 255 as it is sent).
pub const DNS_NAME_OCTETS: usize = 253;
/// Octets of one label of a domain name (RFC 1035 3.1).
pub const LABEL_OCTETS: usize = 63;
/// Octets of a DNS query with the longest name.
pub const DNS_QUERY_OCTETS: usize = 288;
/// Octets of a response that servers may send over UDP (RFC 6891 6.2.5: what is not fragmented anywhere).
pub const DNS_UDP_OCTETS: usize = 1232;
/// Octets of a response over TCP; a larger one is no answer.
pub const DNS_TCP_OCTETS: usize = 16 * 1024;
/// Mail exchangers of a domain; the least wanted ones beyond are never tried.
pub const EXCHANGERS: usize = 16;
/// Octets that the names of a domain's mail exchangers take together, with 3 more each.
pub const EXCHANGERS_OCTETS: usize = 2048;
/// Aliases (CNAME) that lead from one name to another.
pub const ALIASES: usize = 16;
/// Names whose addresses are remembered, each family by itself.
pub const CACHED_ADDRESSES: usize = 128;
/// Domains whose mail exchangers are remembered.
pub const CACHED_EXCHANGERS: usize = 32;
/// Octets of the name of a mailbox's folder.
pub const MAILBOX_PATH_OCTETS: usize = 512;
/// Listening sockets that can be configured.
pub const LISTENERS: usize = 16;

/// Octets of a users file.
pub const USERS_FILE_OCTETS: u64 = 32 * 1024;
/// Octets of an aliases file.
pub const ALIASES_OCTETS: u64 = 64 * 1024;
/// Aliases in it.
pub const ALIAS_ENTRIES: usize = 2048;
/// Recipients that one alias can lead to.
pub const ALIAS_TARGETS: usize = 100;
/// How many aliases can lead to one another.
pub const ALIAS_DEPTH: u8 = 10;
/// Names that are looked at on the way to an alias's recipients.
pub const ALIAS_NAMES: usize = 256;

/// Octets of a configuration file.
pub const CONFIG_OCTETS: u64 = 1024 * 1024;
/// Octets a message may have, the most that `limits.message_size` can be set to.
pub const MESSAGE_OCTETS: u64 = 1024 * 1024 * 1024;
/// Octets that `limits.message_size` cannot be set below (RFC 5321 4.5.3.1.7).
pub const MESSAGE_OCTETS_MIN: u64 = 64 * 1024;
/// Octets of all messages, the most that `spool.max_size` can be set to.
pub const SPOOL_OCTETS: u64 = 1024 * 1024 * 1024 * 1024;
/// Messages in the spool, the most that `spool.max_messages` can be set to.
pub const MESSAGES: u32 = 100_000;
/// Octets that `spool.cells_size` can be set to, from and to.
pub const CELLS_OCTETS: (u64, u64) = (64 * 1024, 4 * 1024 * 1024 * 1024);
/// Routes, and sections for clients, that can be configured.
pub const ROUTES: usize = 64;
/// Networks, patterns or domains in one list of the configuration.
pub const LIST: usize = 64;
/// Next hops of one route.
pub const HOSTS: usize = 8;
/// Waits in `queue.retry`.
pub const RETRY_WAITS: usize = 16;

const _: () = assert!(COMMAND_LINE_OCTETS <= INPUT_OCTETS);
const _: () = assert!(REPLY_LINE_OCTETS <= REPLY_INPUT_OCTETS, "a reply line is read whole");
const _: () = assert!(2 * USER_OCTETS + 2 + PASSWORD_OCTETS <= SASL_OCTETS);
const _: () = assert!(SASL_OCTETS.div_ceil(3) * 4 + 64 <= COMMAND_LINE_OCTETS);
const _: () = assert!(CHALLENGE_OCTETS / 3 * 4 <= REPLY_LINE_OCTETS);
const _: () = assert!(PASSWORD_OCTETS + TOKEN_OCTETS + 64 <= RESPONSE_OCTETS);
const _: () = assert!(RESPONSE_OCTETS.div_ceil(3) * 4 + 32 <= DELIVERY_OUTPUT_OCTETS);
const _: () = assert!(INPUT_OCTETS + OUTPUT_OCTETS + 1664 <= 8 * 1024, "a plain slot is at most 8 KiB");
const _: () = assert!(
    TLS_INPUT_OCTETS + TLS_OUTPUT_OCTETS + TLS_SERVER_HEAP_OCTETS <= 32 * 1024,
    "a TLS slot is at most 32 KiB more"
);
const _: () = assert!(BLOCK_OCTETS.is_power_of_two() && BLOCK_OCTETS.is_multiple_of(STATUS_OCTETS));
const _: () = assert!(RECIPIENTS / 4 < STATUS_OCTETS / 2);
const _: () = assert!(ORCPT_OCTETS + PATH_OCTETS + 128 <= COMMAND_LINE_OCTETS);
const _: () = assert!(DNS_UDP_OCTETS <= DNS_TCP_OCTETS, "one buffer holds either");
const _: () = assert!(DNS_NAME_OCTETS <= HOST_OCTETS);
