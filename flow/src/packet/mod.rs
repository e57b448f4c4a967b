//! Bytes and keys: what a frame's key is, and how actions change its bytes.
