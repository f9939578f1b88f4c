//! Compiling one piece of work for several processors, and choosing at run time.

/// What is worth compiling more than once: a batch, not a single step.
pub(crate) trait Work {
    /// Must be `#[inline(always)]`, as all that it is to gain for.
    fn run(self);
}

/// Runs `work`, compiled for the vector and bit instructions that this processor has.
#[inline(always)]
pub(crate) fn run(work: impl Work) {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("bmi2") && is_x86_feature_detected!("lzcnt") {
            if is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512vl") {
                // SAFETY: the processor has what the function is compiled for, as it says itself;
                // every one with AVX-512BW, BMI2 and LZCNT has what these build upon.
                return unsafe { with_avx512(work) };
            }
            if is_x86_feature_detected!("avx2") {
                // SAFETY: as above.
                return unsafe { with_avx2(work) };
            }
        }
    }
    work.run();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,bmi2,lzcnt,popcnt")]
fn with_avx512(work: impl Work) {
    work.run();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi2,lzcnt,popcnt")]
fn with_avx2(work: impl Work) {
    work.run();
}
