//! Megaflows as Linux tc-flower filters on switchdev NICs.
