//! Flow text: the ODP form of OVS, parsed and printed.
