//! Code compiled for several processors, of which one version is chosen at run time.

/// Work that is worth compiling several times: a batch, not a single step.
pub(crate) trait Work {
    /// Does the work. This and all that gains from it must be `#[inline(always)]`.
    fn run(self);
}

/// Does the work, compiled for the vector and bit instructions that this processor has.
#[inline(always)]
pub(crate) fn run(work: impl Work) {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("bmi2") && is_x86_feature_detected!("lzcnt") {
            if is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512vl") {
                // SAFETY: the processor reports the features that the function is compiled for; every
                // processor with AVX-512BW, BMI2 and LZCNT has those that they build upon.
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
