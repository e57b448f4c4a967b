//! The clients that answer upcalls.
