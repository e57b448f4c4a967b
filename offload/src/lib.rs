//! The engine that places megaflows, its runtime and the megaflow command.
