//! Hand-made frames, one per rule of the layer files.

use super::*;

#[test]
fn a_runt_has_the_zero_key() {
    assert!(extract(&[0xff; 13]).is_zero());
}
