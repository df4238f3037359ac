//! Reading one section, collecting mistakes.
