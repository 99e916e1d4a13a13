//! Asks for memory before it is needed. The one module with unsafe code.
//!
//! A load in its place makes everything behind it wait once the processor has no room for more unfinished instructions: with
//! a million identities a heartbeat takes a third longer then (`cargo bench --bench ratios apply`).

/// Brings the line of the processor's cache in which a value begins. Where the processor can't be asked to, the value is read.
#[inline]
#[cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "there is no safe call for it"))]
pub(super) fn prefetch<T: Copy>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the instruction is part of SSE, which every x86-64 processor has. It is a hint: it reads, writes and faults on
    // nothing, whatever the address ("Intel 64 and IA-32 Architectures Software Developer's Manual", volume 2, PREFETCHh); and
    // this one is a reference's.
    unsafe {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    std::hint::black_box(*value);
}

#[cfg(test)]
mod tests {
    use super::prefetch;

    #[test]
    fn asking_for_a_value_leaves_it_as_it_is_whatever_its_size_and_place() {
        let (bytes, wide) = ([1_u8, 2, 3], [7_u64; 1_000]);
        bytes.iter().for_each(prefetch);
        wide.iter().for_each(prefetch);
        prefetch(&());
        prefetch(&[0_u8; 0]);
        prefetch(&wide);
        assert_eq!((bytes, wide), ([1, 2, 3], [7; 1_000]));
    }
}
