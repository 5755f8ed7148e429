//! How much memory one input may take: a multiple of its length, whatever it claims to be.

use peak_alloc::PeakAlloc;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// What any input may take: keys, tables, a parsed pack.
const FLOOR: usize = 4 * 1024 * 1024;
/// What each byte of an input may take beyond that. A JSON value of two bytes becomes one of 32, in a list that doubles.
const PER_BYTE: usize = 512;

/// Attacks with `data`, and looks how much memory that took at its peak.
///
/// # Panics
/// When it is too much, or when the attack finds something.
pub fn bounded(data: &[u8], attack: fn(&[u8])) {
    HEAP.reset_peak_usage();
    let before = HEAP.current_usage();
    attack(data);
    let taken = HEAP.peak_usage().saturating_sub(before);
    let most = FLOOR + PER_BYTE * data.len() + allowance();
    assert!(taken <= most, "{} bytes of input took {taken} bytes of memory; at most {most} may be", data.len());
}

thread_local! {
    static ALLOWANCE: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

fn allowance() -> usize {
    ALLOWANCE.replace(0)
}

/// Lets the present input take that much more, for what a format may unpack to.
pub fn allow(bytes: usize) {
    ALLOWANCE.set(bytes);
}
