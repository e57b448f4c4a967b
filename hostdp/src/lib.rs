//! The host datapath: what forwards every packet that hardware does not.
